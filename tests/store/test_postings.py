"""Postings and their ranking: the fast ways are the slow way."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.lexical import bm25, postings
from store.lexical.bm25 import Ranker
from store.lexical.cut import Cutter, key_of
from store.lexical.postings import Postings
from store.lexical.saturation import SHARES
from store.lexical.terms import query_terms

CUTTER = Cutter()
WORDS = ["tide", "fog", "pilot", "harbour", "log", "capstan"]
bodies = st.lists(st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join), min_size=1, max_size=40)


def made(texts: list[str], first: int = 1) -> Postings:
    return postings.of_cut(np.arange(first, first + len(texts), dtype=np.int64), CUTTER.cut(texts))


def same(one: Postings, other: Postings) -> bool:
    names = [field.name for field in fields(Postings)]
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


def one_by_one(texts: list[str], query: list[str]) -> dict[int, float]:
    """BM25 as it is written in books, over all passages."""
    split = [text.split() for text in texts]
    average = max(1.0, sum(map(len, split)) / len(split))
    scores = {}
    for number, its in enumerate(split, 1):
        score = 0.0
        for word in dict.fromkeys(query):
            has = sum(word in other for other in split)
            weight = max(1e-6, log((len(split) - has + 0.5) / (has + 0.5)))
            often = its.count(word)
            score += weight * often * 2.2 / (often + 1.2 * (0.25 + 0.75 * len(its) / average))
        if score:
            scores[number] = score
    return scores


def keys_of(*queries: str, cutter: Cutter = CUTTER) -> list[list[int]]:
    """The keys of each query's terms."""
    return cutter.keys([*map(query_terms, queries)])


@settings(deadline=None, max_examples=60)
@given(
    bodies,
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=6),
    st.integers(1, 50),
    st.booleans(),
    st.sampled_from([0, 30]),
    st.sampled_from([0, 1000]),
    st.sampled_from([0, 20_000]),
    st.sampled_from([0, 1 / 64, 100]),
)
def test_the_best_are_those_of_a_full_ranking(
    texts: list[str], query: list[str], k: int, in_parts: bool, walked: int, first: int, few: int, drift: float
) -> None:
    cut = len(texts) // 3
    parts = [made(texts[:cut]), made(texts[cut:], cut + 1)] if in_parts and cut else [made(texts)]
    keys = [key_of(stem) for stem in (CUTTER._occurrences(list(dict.fromkeys(query)))) for stem in stem[:1]]
    scores = one_by_one(texts, query)
    among = np.array(sorted(scores)[::2], np.int64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bm25, "_DRIFT", drift)
        ranker = Ranker(parts)
        patch.setattr(bm25, "_WALKED", walked)
        patch.setattr(bm25, "_WALKED_FIRST", first)
        patch.setattr(bm25, "_FEW", few)
        hits = ranker.best(keys, k)
        kept = ranker.best(keys, k, among)
        assert ranker.best(keys, k) == hits  # nothing is left of a search before
    assert [hit.score for hit in hits] == pytest.approx(sorted(scores.values(), reverse=True)[:k], rel=1e-5)
    assert [scores[hit.vector_id] for hit in hits] == pytest.approx([hit.score for hit in hits], rel=1e-5)
    best = sorted((scores[i] for i in among.tolist()), reverse=True)[:k]
    assert [hit.score for hit in kept] == pytest.approx(best, rel=1e-5)
    assert {hit.vector_id for hit in kept} <= set(among.tolist())


def test_a_filter_for_many_passages_and_words_in_too_many_cut_no_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"harbour log {'fog ' * (n % 8 == 0)}{'pilot ' * (n % 3)}".strip() for n in range(1, 61)]
    ranker = Ranker([made(texts)])
    keys = [key_of(word) for word in ("fog", "pilot", "harbour")]
    among = np.arange(8, 50, dtype=np.int64)
    every = {hit.vector_id: hit.score for hit in ranker.best(keys, 60)}
    expected = [i for i in sorted(every, key=lambda i: (-every[i], i)) if i in among and i % 8 == 0]
    monkeypatch.setattr(bm25, "_FEW", 10)
    monkeypatch.setattr(bm25, "_CHOOSING", 10)
    hits = ranker.best(keys, 5, among)
    assert [hit.vector_id for hit in hits] == expected[:5]  # the rarest word chooses, all of them rank
    assert [hit.score for hit in hits] == pytest.approx([every[hit.vector_id] for hit in hits])


def test_a_part_much_unlike_all_others_changes_no_scores() -> None:
    """Its levels are of other lengths; with bounds of those, short passages would drop out or nothing would."""
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, rng.integers(1, 40) if n < 300 else 3)) for n in range(700)]
    keys = [key_of(word) for word in WORDS]
    whole = Ranker([made(texts)])
    for cut in (100, 300, 600):
        parted = Ranker([made(texts[:cut]), made(texts[cut:], cut + 1)])
        for asked in (keys, keys[:2], keys[3:4]):
            assert parted.best(asked, 7) == whole.best(asked, 7)


@settings(deadline=None, max_examples=40)
@given(bodies)
def test_levels_bound_what_a_word_adds_and_tops_are_the_highest(texts: list[str]) -> None:
    whole = made(texts)
    lengths = whole.lengths[whole.places] / max(1.0, whole.total_length / len(texts))
    shares = whole.counts / (whole.counts + 1.2 * (0.25 + 0.75 * lengths))
    assert (whole.levels / 256 <= shares + 1e-6).all()
    assert (shares <= SHARES[whole.levels] + 1e-6).all()
    slices = zip(whole.starts[:-1], whole.starts[1:], strict=True)
    assert whole.tops.tolist() == [whole.levels[begin:end].max() for begin, end in slices]


def test_passages_with_all_of_many_words_are_not_lost() -> None:
    """Their sums of bounds are nearly all that two bytes hold."""
    many = [f"w{number}" for number in range(100)]
    texts = [" ".join(many * often) for often in (245, 250, 240)]
    (best,) = Ranker([made(texts)]).best([key_of(word) for word in many], 1)
    assert best.score == pytest.approx(max(one_by_one(texts, many).values()), rel=1e-5)


@pytest.mark.parametrize("kept_to", [None, range(100, 200)])
def test_words_in_too_many_passages_choose_where_rare_ones_bring_too_few(
    monkeypatch: pytest.MonkeyPatch, kept_to: range | None
) -> None:
    monkeypatch.setattr(bm25, "_CHOOSING", 150)
    monkeypatch.setattr(bm25, "_WALKED_FIRST", 1000)
    monkeypatch.setattr(bm25, "_FEW", 10)
    parts = [made(["tide pilot"] + ["fog pilot"] * 99 + ["pilot"] * 100)]
    among = None if kept_to is None else np.array(kept_to, np.int64)
    hits = Ranker(parts).best(keys_of("tide pilot")[0], 20, among)
    assert len(hits) == 20
    assert {hit.vector_id for hit in hits} <= set(kept_to or range(1, 201))


def test_a_ranker_forgets_words_without_losing_those_of_the_query(monkeypatch: pytest.MonkeyPatch) -> None:
    ranker = Ranker([made(["tide fog", "pilot fog harbour", "harbour", "log"])])
    asked = keys_of("tide fog", "fog pilot harbour", "log capstan")
    known = [ranker.best(keys, 4) for keys in asked]
    monkeypatch.setattr(bm25, "_KNOWN", 2)
    assert [ranker.best(keys, 4) for keys in (*asked, *asked)] == known * 2
    fresh = Ranker([made(["tide fog", "pilot fog harbour", "harbour", "log"])])
    assert [fresh.best(keys, 4) for keys in (*asked, *asked)] == known * 2
    assert len(fresh._known) <= 4


def test_words_are_kept_in_mind_without_losing_those_of_the_query(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.lexical.cut._KNOWN", 2)
    cutter = Cutter()
    keys_of("tide fog pilot", cutter=cutter)
    both, fog, pilot, harbour = keys_of("fog harbour", "fog", "pilot", "harbour", cutter=cutter)
    assert both == [*fog, *harbour]
    assert len({*both, *pilot}) == 3


def test_long_terms_are_found_and_not_kept() -> None:
    """A question has up to 10,000 characters, and anybody may ask many of one word each."""
    cutter = Cutter()
    long, short = "x" * 65, "x" * 64
    assert keys_of(f"{long} {short}", cutter=cutter) == [[key_of(long), key_of(short)]]
    assert [term.text for term in cutter._known] == [short]


@settings(deadline=None, max_examples=40)
@given(bodies, bodies, bodies)
def test_joined_parts_are_what_all_texts_give_at_once(one: list[str], two: list[str], three: list[str]) -> None:
    parts = [made(one), made(two, len(one) + 1), made(three, len(one) + len(two) + 1)]
    assert same(postings.join(parts), made(one + two + three))


@settings(deadline=None, max_examples=40)
@given(bodies, st.data())
def test_without_some_nothing_of_them_is_left(texts: list[str], data: st.DataObject) -> None:
    live = np.array(data.draw(st.lists(st.booleans(), min_size=len(texts), max_size=len(texts))))
    kept = [text for text, lives in zip(texts, live, strict=True) if lives]
    left = postings.without(made(texts), live)
    again = made(kept) if kept else None
    assert left.ids.tolist() == (np.flatnonzero(live) + 1).tolist()
    if again is not None:
        assert same(replace(left, ids=again.ids), again)
    else:
        assert len(left.words) == len(left.places) == 0


def test_bytes_give_the_same_postings_and_other_bytes_none() -> None:
    whole = made(["fog over the harbour", "a pilot " + "tide " * 300])
    data = postings.to_bytes(whole)
    back = postings.from_bytes(data)
    assert back is not None
    assert same(back, whole)
    assert whole.counts.max() == 255  # a byte counts no further
    assert postings.from_bytes(b"") is postings.from_bytes(b"\0" * 100) is postings.from_bytes(data[:60]) is None


def test_searches_at_once_do_not_meet() -> None:
    texts = [f"harbour log {'fog ' * (n % 8 == 0)}{'pilot ' * (n % 3)}".strip() for n in range(1, 2001)]
    ranker = Ranker([made(texts[:1500]), made(texts[1500:], 1501)])
    asked = keys_of("fog pilot harbour", "pilot log", "fog", "harbour log")
    alone = [ranker.best(keys, 50) for keys in asked]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda keys: ranker.best(keys, 50), asked * 50))
    assert together == alone * 50
