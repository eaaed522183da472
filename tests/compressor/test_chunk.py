"""Chunks hold a document's text in order, end at natural places and know where everything stands."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.chunk import MAX_PASSAGE_TOKENS, chunk_blocks
from compressor.styles import Style, StyleRun, runs_of, styles_of
from compressor.types import WHOLE_PAGE, Block, BlockKind, Box

SENTENCE = "The duck with number {i} swims across the lake on the 3rd of May. "  # 15 tokens


def count(texts: list[str]) -> list[int]:
    """Words and marks, as a word-piece tokenizer would see common text; long runs cost more."""
    return [sum(max(1, len(piece) // 6) for piece in re.findall(r"\w+|[^\w\s]", text)) for text in texts]


def paragraph(sentences: int, page: int = 1, kind: BlockKind = BlockKind.TEXT) -> Block:
    text = "".join(SENTENCE.format(i=i) for i in range(sentences)).strip()
    return Block(kind, text, page, Box(0.1, 0.2, 0.9, 0.4))


def heading(text: str, level: int) -> Block:
    return Block(BlockKind.HEADING, text, 1, WHOLE_PAGE, level)


def chunks(blocks, target=1000):
    return list(chunk_blocks(blocks, count_tokens=count, target_tokens=target))


def test_chunks_are_near_their_target_and_numbered():
    found = chunks([paragraph(9, page) for page in range(1, 60)])
    assert [chunk.ordinal for chunk in found] == list(range(len(found)))
    assert all(700 <= chunk.text_tokens <= 1200 for chunk in found[:-1])
    assert all(chunk.text_tokens == count([chunk.text])[0] for chunk in found)


def test_a_document_without_text_has_no_chunks():
    assert chunks([]) == []
    assert chunks([Block(BlockKind.TEXT, " \n", 1, WHOLE_PAGE)]) == []


def test_a_chunk_ends_before_a_heading_once_it_is_full_enough():
    found = chunks([paragraph(52), heading("Prices", 1), paragraph(30)])
    assert found[1].text.startswith("Prices\n")
    assert found[1].heading == "Prices"


def test_a_heading_is_never_the_last_line_of_a_chunk():
    blocks = [block for i in range(40) for block in (heading(f"Part {i}", 2), paragraph(7 + i % 5))]
    assert not [chunk for chunk in chunks(blocks) if re.search(r"\nPart \d+$", chunk.text)]


def test_heading_paths_follow_the_levels():
    blocks = [
        heading("A", 1),
        heading("B", 2),
        paragraph(60),
        heading("C", 2),
        paragraph(60),
        heading("D", 1),
        paragraph(60),
    ]
    assert [chunk.heading for chunk in chunks(blocks)] == ["A > B", "A > C", "D"]


def test_the_heading_of_a_chunk_that_begins_inside_a_section_is_that_sections():
    found = chunks([heading("Terms", 1), *(paragraph(9) for _ in range(20))])
    assert len(found) > 1
    assert {chunk.heading for chunk in found} == {"Terms"}


def test_spans_name_page_box_and_lines_of_each_block():
    first = Block(BlockKind.TEXT, "One.", 3, Box(0.1, 0.1, 0.9, 0.2))
    second = Block(BlockKind.TEXT, "Two.", 4, Box(0.1, 0.5, 0.9, 0.6), lines=(7, 7))
    (chunk,) = chunks([first, second])
    assert chunk.text == "One.\nTwo."
    assert [chunk.text[span.start : span.end] for span in chunk.spans] == ["One.", "Two."]
    assert [(span.page, span.box, span.lines) for span in chunk.spans] == [
        (3, first.box, None),
        (4, second.box, (7, 7)),
    ]


def test_a_divided_table_is_cut_between_rows_and_its_parts_know_their_lines():
    rows = [f"{i} | item number {i} | {i * 3}.50 EUR" for i in range(1, 301)]
    table = Block(BlockKind.TABLE, "\n".join(rows), 1, Box(0.0, 0.0, 1.0, 1.0), lines=(1, 300))
    found = chunks([table])
    assert "\n".join(chunk.text for chunk in found) == table.text
    for chunk in found:
        (span,) = chunk.spans
        assert chunk.text.split("\n") == rows[span.lines[0] - 1 : span.lines[1]]
        assert abs(span.box.y0 - (span.lines[0] - 1) / 300) < 1e-9
        assert abs(span.box.y1 - span.lines[1] / 300) < 1e-9


def test_code_keeps_its_indentation_across_cuts():
    lines = [f"    value_{i} = compute({i})" for i in range(400)]
    code = Block(BlockKind.CODE, "\n".join(lines), 1, WHOLE_PAGE, lines=(1, 400))
    assert "\n".join(chunk.text for chunk in chunks([code])) == code.text


def test_passages_are_short_enough_for_the_embedder_and_cover_the_text():
    endless = Block(BlockKind.TEXT, "word " * 3000, 1, WHOLE_PAGE)
    unbroken = Block(BlockKind.TEXT, "0123456789abcdef" * 500, 1, WHOLE_PAGE)
    for chunk in chunks([paragraph(200), endless, unbroken, paragraph(3)]):
        texts = [chunk.text[passage.start : passage.end] for passage in chunk.passages]
        assert max(count(texts)) <= MAX_PASSAGE_TOKENS + 2  # a word cut in two counts for two
        assert "".join("".join(texts).split()) == "".join(chunk.text.split())


def test_text_that_a_tokenizer_sees_as_one_unknown_word_still_fills_many_chunks():
    block = Block(BlockKind.TEXT, "x" * 100_000, 1, WHOLE_PAGE)
    found = list(chunk_blocks([block], count_tokens=lambda texts: [1] * len(texts)))
    assert "".join(chunk.text for chunk in found) == block.text
    assert max(len(chunk.text) for chunk in found) <= 1200 * 8
    assert max(p.end - p.start for chunk in found for p in chunk.passages) <= MAX_PASSAGE_TOKENS * 8 + 8


def test_passages_end_between_sentences():
    (chunk,) = chunks([paragraph(60)])
    texts = [chunk.text[passage.start : passage.end].strip() for passage in chunk.passages]
    assert all(text.endswith("May.") for text in texts)
    assert all(100 <= tokens <= 200 for tokens in count(texts[:-1]))


block_texts = st.text(alphabet=st.sampled_from("ab .\n1|。"), min_size=1, max_size=120).filter(lambda t: t.strip() == t)
block_lists = st.lists(st.builds(Block, st.sampled_from(BlockKind), block_texts, st.just(1), st.just(WHOLE_PAGE)))


@settings(max_examples=60, deadline=None)
@given(block_lists)
def test_every_blocks_text_comes_back_verbatim_and_in_order(blocks):
    found = chunks(blocks, target=30)
    spans = [chunk.text[span.start : span.end] for chunk in found for span in chunk.spans]
    rest = iter(spans)
    for block in blocks:
        text = ""
        while "".join(text.split()) != "".join(block.text.split()):
            text += next(rest)
        if len(text) == len(block.text):
            assert text == block.text
    assert next(rest, None) is None
    for chunk in found:
        covered = "".join(chunk.text[span.start : span.end] for span in chunk.spans)
        assert "".join(covered.split()) == "".join(chunk.text.split())


def test_texts_are_counted_in_few_calls():
    calls = []

    def counting(texts):
        calls.append(len(texts))
        return count(texts)

    blocks = [paragraph(9) for _ in range(300)]
    assert len(list(chunk_blocks(blocks, count_tokens=counting))) > 30
    assert len(calls) <= 10


def shown(chunk):
    return [(chunk.text[run.start : run.end], run.style) for run in chunk.styles]


def test_styles_of_blocks_become_those_of_the_chunk():
    (chunk,) = chunks(
        [
            Block(
                BlockKind.HEADING, "Old prices", 1, WHOLE_PAGE, 2, styles=(StyleRun(0, 10, Style.BOLD | Style.LINK),)
            ),
            Block(BlockKind.TEXT, "See the list.", 1, WHOLE_PAGE, styles=(StyleRun(8, 12, Style.ITALIC),)),
            Block(BlockKind.CODE, "a = 1\n\nb = 2", 1, WHOLE_PAGE, styles=(StyleRun(0, 1, Style.BOLD),)),
            Block(BlockKind.HEADING, "Deep", 1, WHOLE_PAGE, 5),
            Block(BlockKind.HEADING, "Unknown", 1, WHOLE_PAGE),
        ]
    )
    assert shown(chunk) == [
        ("Old prices", Style.HEADING_2 | Style.LINK),
        ("list", Style.ITALIC),
        ("a = 1\n\nb = 2", Style.CODE),
        ("Deep", Style.HEADING_3),
        ("Unknown", Style.HEADING_1),
    ]


@given(st.lists(st.text("a .\n", max_size=60), min_size=1, max_size=8), st.integers(5, 40), st.randoms())
def test_every_character_of_a_divided_block_keeps_its_style(texts, target, random):
    styles = [bytes(random.choice((0, 1, 2)) for _ in text) for text in texts]
    blocks = [
        Block(BlockKind.TEXT, text, 1, WHOLE_PAGE, styles=tuple(runs_of(looks)))
        for text, looks in zip(texts, styles, strict=True)
    ]
    put_in = [
        (letter, look)
        for text, looks in zip(texts, styles, strict=True)
        for letter, look in zip(text, looks, strict=True)
        if letter in "a."
    ]
    found = []
    for chunk in chunks(blocks, target):
        looks = styles_of(chunk.styles, len(chunk.text)).tolist()
        found += [(letter, look) for letter, look in zip(chunk.text, looks, strict=True) if letter in "a."]
    assert found == put_in
