import pytest

from compressor.rerank import match_words, rerank, unread

TOGETHER = "The turbopump of the engine was designed by Katherine Brandt. The first flight ended early."
APART = "Katherine led the office. A turbopump was bought. Somebody else designed the hall. Brandt is a town."
NEITHER = "Pets are welcome if they are quiet."
QUESTION = "Which turbopump was designed by Katherine Brandt?"


def test_words_in_one_sentence_outweigh_the_same_words_in_several():
    together, apart = rerank(QUESTION, [(TOGETHER, 0.7), (APART, 0.72)])
    assert together > apart


def test_neighbours_in_the_query_count_more_when_they_stand_together():
    text, split = "Its port is Vera Cruz, on the gulf.", "Its port is Cruz, says the guide that the captain Vera wrote."
    (_, together), (_, apart) = match_words("Where is Vera Cruz?", [text, split])
    assert together > apart


def test_a_clearly_better_passage_stays_first_without_the_words():
    first, second = rerank(QUESTION, [(NEITHER, 0.95), (TOGETHER, 0.2)])
    assert first > second


def test_a_passage_that_was_not_read_is_never_above_a_read_one_that_was_fused_higher():
    scores = rerank(QUESTION, [(NEITHER, 0.7), (APART, 0.6)])
    assert all(unread(0.6) <= score for score in scores)


def test_scores_stay_between_0_and_1():
    full, none = rerank("turbopump engine", [("turbopump engine", 1.0), (NEITHER, 0.0)])
    assert full == pytest.approx(1)
    assert none == 0


@pytest.mark.parametrize("query", ["", "?", "what is the"])
def test_a_query_without_words_leaves_the_order(query):
    assert rerank(query, [(TOGETHER, 0.4), (APART, 0.8)]) == [unread(0.4), unread(0.8)]


def test_no_passages_give_no_scores():
    assert rerank(QUESTION, []) == []


def test_scripts_without_spaces_are_matched_too():
    fits, other = match_words(
        "坝高是多少米？", ["电站于1987年开始建设。坝高一百五十一米。", "总装机容量为一百二十万千瓦。"]
    )
    assert fits > other


@pytest.mark.parametrize(("between", "expected"), [(0, 1.0), (1, 0.5), (3, 0.5), (4, 0.0), (90, 0.0)])
def test_words_in_either_order_count_by_how_far_they_are_apart(between, expected):
    """Counted in words, across the ends of sentences, the nearest of many; empty words do not count."""
    filler = " ".join(f"The x{number}." for number in range(between))
    for first, second in (("Vera", "Cruz"), ("Cruz", "Vera")):
        text = f"{first}. It was {filler} the {second}."
        assert [near for _, near in match_words("Vera Cruz", [text])] == [expected]
        assert [near for _, near in match_words("Vera Cruz", [f"{second} {'far ' * 9} {text}"])] == [expected]


def test_the_best_sentence_counts_each_word_once():
    (once, _), (often, _), (both, _) = match_words("tide table", ["Tide.", "Tide tide tide.\nTide.", "Tide table."])
    assert once == often < both == pytest.approx(1)
