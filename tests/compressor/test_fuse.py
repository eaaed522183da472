from functools import partial

from compressor import fuse as fusing

fuse = partial(fusing.fuse, pool=2)
line_up = partial(fusing.line_up, pool=2)


def test_a_passage_that_both_rankings_like_comes_first():
    assert fuse([("a", 0.8), ("b", 0.75), ("e", 0.2)], [("c", 9.0), ("b", 8.0), ("d", 1.0)])[0][0] == "b"


def test_how_clear_a_winner_is_counts_and_not_only_its_rank():
    clear = fuse([("a", 0.90), ("b", 0.30)], [("b", 10.0), ("a", 9.5)])
    close = fuse([("a", 0.51), ("b", 0.50)], [("b", 10.0), ("a", 2.0)])
    assert [clear[0][0], close[0][0]] == ["a", "b"]


def test_every_passage_is_listed_once_with_falling_scores():
    fused = fuse([("a", 0.9), ("b", 0.2)], [("b", 3.0), ("c", 1.0)])
    scores = [score for _, score in fused]
    assert sorted(key for key, _ in fused) == ["a", "b", "c"]
    assert scores == sorted(scores, reverse=True)


def test_one_empty_ranking_leaves_the_order_of_the_other():
    assert [key for key, _ in fuse([], [("x", 5.0), ("y", 1.0)])] == ["x", "y"]
    assert [key for key, _ in fuse([("x", 0.4), ("y", 0.1)], [])] == ["x", "y"]
    assert fuse([], []) == []


def test_words_decide_where_the_embedder_does_not_read_the_language():
    by_vector, by_words = [("near", 0.9), ("worded", 0.6)], [("worded", 8.0), ("near", 6.0)]
    assert fuse(by_vector, by_words)[0][0] == "near"
    assert fuse(by_vector, by_words, read=False)[0][0] == "worded"


def test_ties_keep_the_order_of_the_rankings():
    assert [key for key, _ in fuse([("b", 0.5), ("a", 0.5)], [])] == ["b", "a"]


def test_an_id_that_stands_in_one_passage_brings_that_one_to_the_top():
    near = [(f"near {place}", 0.5 - place / 100) for place in range(20)]
    assert fuse(near, [("has it", 6.0)])[0][0] == "has it"
    assert line_up(near, [("has it", 6.0)])["near 0"] == (0.5, 0.0)


def test_what_a_ranking_does_not_list_counts_as_its_last():
    pairs = line_up([("a", 0.9), ("b", 0.4)], [("c", 8.0), ("a", 4.0)])
    assert pairs == {"a": (0.9, 0.5), "b": (0.4, 0.5), "c": (0.4, 1.0)}
