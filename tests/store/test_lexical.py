"""Full-text search: words of many languages, never a query language, never another collection's text."""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from store import catalog, lexical
from store.database import reading, transaction
from store.lexical.terms import query_terms
from tests.store.conftest import Library

PASSAGES = {
    1: "The engines were running smoothly through the night.",
    2: "Invoice INV-2024-0017 was paid on 3 March.",
    3: "向量检索把文档变成可以比较的数字。",
    4: "ذهب الكِتَابُ إلى المكتبة في المدينة",
    5: "東京タワーは赤い。カメラで撮る。",
    6: "서울에서 검색 엔진을 만들었다",
    7: "การค้นหาข้อความภาษาไทย",
    8: "Crème brûlée at the café; Ärger über Größe",
    9: "हिन्दी में खोज करना",
    10: "Поиск документов по словам",
    12: "Łukasz Sørensen, Straße 7, Diyarbakır; Vertrags\u00adende",
    13: "آخر موعد ٣٠ مارس، أحمد",
    11: 'It says "NOT a quote" AND (maybe) NEAR the end*',
}


@pytest.fixture
def search(engine: Engine) -> Callable[[str], list[int]]:
    with transaction(engine) as session:
        lexical.index(session, "c" * 32, PASSAGES)

    def run(query: str) -> list[int]:
        with reading(engine) as session:
            return [hit.vector_id for hit in lexical.search(session, "c" * 32, query, 5)]

    return run


@pytest.mark.parametrize(
    ("query", "best"),
    [
        ("engine run", 1),
        ("INV-2024-0017", 2),
        ("which invoice was paid?", 2),
        ("向量检索", 3),
        ("文档如何比较", 3),
        ("比", 3),
        ("字", 3),
        ("الكتاب", 4),
        ("المدينة", 4),
        ("タワー", 5),
        ("赤", 5),
        ("검색", 6),
        ("ค้นหา", 7),
        ("creme brulee", 8),
        ("CAFÉ", 8),
        ("grosse argern größe", 8),
        ("हिन्दी खोज", 9),
        ("словам", 10),
        ("Lukasz", 12),
        ("sorensen", 12),
        ("SØRENSEN", 12),
        ("strasse", 12),
        ("diyarbakir", 12),
        ("Vertragsende", 12),
        ("30 مارس", 13),
        ("احمد", 13),
        ("\uff29\uff2e\uff36", 2),
    ],
)
def test_a_passage_is_found_by_its_words(search: Callable[[str], list[int]], query: str, best: int) -> None:
    assert search(query)[:1] == [best]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ('"NOT a quote"', [11]),
        ('quote" OR "engine', [1, 11]),
        ("NOT", [11]),
        ("body:engine", [1]),
        ("owner:" + "c" * 32, []),
        ("engine)", [1]),
        ("eng*", []),
        ("-- ; DROP TABLE passage_text", []),
        ("", []),
        ("\x00 ' \" * ( ) ^ + - : { }", []),
    ],
)
def test_operators_mean_nothing(search: Callable[[str], list[int]], query: str, found: list[int]) -> None:
    assert sorted(search(query)) == found


def test_a_query_also_asks_for_what_passages_had_before_letters_and_digits_were_made_plain() -> None:
    assert [term.text for term in query_terms("Łuk ٣٠ mast")] == ["luk", "30", "mast", "łuk", "٣٠"]


def test_any_text_is_a_query(engine: Engine) -> None:
    with transaction(engine) as session:
        lexical.index(session, "c" * 32, PASSAGES)
    with reading(engine) as session:

        @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(st.text(max_size=60))
        def never_raises(query: str) -> None:
            lexical.search(session, "c" * 32, query, 5)

        never_raises()


def test_a_rarer_word_weighs_more(engine: Engine) -> None:
    with transaction(engine) as session:
        lexical.index(session, "c" * 32, dict.fromkeys(range(1, 30), "common words here") | {30: "common rare here"})
    with reading(engine) as session:
        hits = lexical.search(session, "c" * 32, "common rare", 3)
    assert [hit.vector_id for hit in hits] == [30, 1, 2]
    assert hits[0].score > hits[1].score


def test_words_in_very_many_passages_rank_but_do_not_choose(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a cap of ten, what is found has the rare word; its order and scores are those of a full ranking."""
    bodies = {n: f"the harbour log of day {n}{' pilot' * (n % 3)}{' fog' if n % 8 == 0 else ''}" for n in range(1, 61)}
    with transaction(engine) as session:
        lexical.index(session, "c" * 32, bodies)

    def ranked(k: int) -> list[tuple[int, float]]:
        with reading(engine) as session:
            hits = lexical.search(session, "c" * 32, "fog pilot harbour", k)
        return [(hit.vector_id, pytest.approx(hit.score)) for hit in hits]

    every = ranked(60)
    assert len(every) == 60
    for database in (lexical.sqlite, lexical.postgresql):
        monkeypatch.setattr(database, "_CAP", 10)
    foggy = [hit for hit in every if hit[0] % 8 == 0]
    assert [hit for hit, _ in ranked(5)] == [hit for hit, _ in foggy[:5]]
    if engine.dialect.name == "sqlite":  # PostgreSQL's statements were made with the cap that they have
        assert ranked(5) == foggy[:5]
        assert len(ranked(60)) == 60  # too few with the rare word: all words choose


def test_the_commonest_words_do_not_rank_beside_enough_others(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is in all 60 passages: counting them would cost more than they say."""
    if engine.dialect.name == "postgresql":
        pytest.skip("it counts up to its cap")
    monkeypatch.setattr(lexical.sqlite, "_CAP", 10)
    monkeypatch.setattr(lexical.sqlite, "_WEIGHED", 50)
    with transaction(engine) as session:
        bodies = {n: f"harbour log {'fog ' * (n % 8 == 0)}{'pilot ' * (n % 3)}" for n in range(1, 61)}
        lexical.index(session, "c" * 32, bodies)

    def found(query: str, k: int) -> list[tuple[int, float]]:
        with reading(engine) as session:
            return [(hit.vector_id, hit.score) for hit in lexical.search(session, "c" * 32, query, k)]

    assert found("fog pilot harbour log", 7) == found("fog pilot", 7)
    assert found("fog harbour", 3) == found("fog", 3)
    assert {n % 3 for n, _ in found("harbour pilot", 5)} <= {1, 2}  # those with both
    assert len(found("harbour", 5)) == 5  # nothing but a common word


def test_a_word_is_found_as_soon_as_a_passage_has_it(engine: Engine) -> None:
    with transaction(engine) as session:
        lexical.index(session, "c" * 32, {1: "the tide table"})
    with reading(engine) as session:
        assert lexical.search(session, "c" * 32, "capstan", 5) == []
    with transaction(engine) as session:
        lexical.index(session, "c" * 32, {2: "the capstan turns"})
    with reading(engine) as session:
        assert [hit.vector_id for hit in lexical.search(session, "c" * 32, "capstan", 5)] == [2]


def test_a_very_long_query_is_cut(search: Callable[[str], list[int]]) -> None:
    assert search("invoice " + " ".join(f"unknown{n}" for n in range(5000)))[:1] == [2]


def test_a_collection_finds_its_own_passages_only(engine: Engine) -> None:
    with transaction(engine) as session:
        lexical.index(session, "a" * 32, {1: "secret of a"})
        lexical.index(session, "b" * 32, {2: "secret of b"})
    with reading(engine) as session:
        found = {name: lexical.search(session, name * 32, "secret", 9) for name in "abc"}
    assert {name: [hit.vector_id for hit in hits] for name, hits in found.items()} == {"a": [1], "b": [2], "c": []}


def test_a_collection_finds_its_passages_behind_any_number_of_anothers(engine: Engine) -> None:
    with transaction(engine) as session:
        lexical.index(session, "a" * 32, dict.fromkeys(range(1, 200), "tide table"))
        lexical.index(session, "b" * 32, {900: "the tide was late, and nobody had a table of it at hand"})
    with reading(engine) as session:
        assert [hit.vector_id for hit in lexical.search(session, "b" * 32, "tide table", 3)] == [900]
        assert [hit.vector_id for hit in lexical.search(session, "a" * 32, "tide table", 3)] == [1, 2, 3]
        assert lexical.search(session, "c" * 32, "tide table", 3) == []


def test_deleted_passages_are_gone_from_the_index_itself(engine: Engine, library: Library) -> None:
    gone, kept = library.add("unrepeatable 机密 alpha"), library.add("alpha stays")
    library.delete(gone)
    if engine.dialect.name == "sqlite":
        with transaction(engine) as session:
            session.execute(text("INSERT INTO passage_text(passage_text) VALUES ('integrity-check')"))
    with reading(engine) as session:
        assert session.execute(text("SELECT count(*) FROM passage_text")).scalar() == 1
        assert lexical.search(session, library.collection_id, "unrepeatable 机密", 5) == []
        (hit,) = lexical.search(session, library.collection_id, "alpha", 5)
        (passage,) = catalog.passages_by_vector_ids(session, library.collection_id, [hit.vector_id])
    assert passage.document_id == kept


def test_a_search_can_be_kept_to_some_documents(engine: Engine, library: Library) -> None:
    one, two = library.add("alpha beta", "alpha"), library.add("alpha beta gamma")
    with reading(engine) as session:

        def found(query: str, documents: set[str]) -> list[str]:
            hits = lexical.search(session, library.collection_id, query, 5, document_ids=documents)
            ids = [hit.vector_id for hit in hits]
            rows = catalog.passages_by_vector_ids(session, library.collection_id, ids)
            return [row.document_id for row in rows]

        assert found("alpha", {one}) == [one, one]
        assert found("alpha gamma", {two}) == [two]
        assert found("gamma", {one}) == found("alpha", set()) == []
