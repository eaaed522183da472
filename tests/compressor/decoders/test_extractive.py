import pytest

from compressor.decoders import load_decoder
from compressor.decoders.base import Evidence, ScoredPassage
from compressor.embed import load_embedder
from compressor.errors import ModelError
from compressor.references import without_parts
from compressor.types import Box, Span

TOP, MIDDLE, NEXT = Box(0.1, 0.1, 0.9, 0.2), Box(0.1, 0.3, 0.9, 0.5), Box(0.1, 0.0, 0.9, 0.1)

LEASE = (
    "This lease is made between Harbour Estates and the tenant, Miriam Okafor. It was signed on 14 March 2019 in "
    "Bristol. The rent is 1,450 pounds a month, due on the first day. Either party may end it with three months' "
    "notice. Pets are welcome if they are quiet. The deposit of invoice INV-2024-0017 was paid by bank transfer."
)
PARTS = (
    "part | material | price in euros\nbolt M8 | steel | 0.35\nwasher M8 | brass | 0.12\ngasket 40 mm | rubber | 2.10"
)
CODE = (
    "import time\n\nRETRY_LIMIT = 7\nTIMEOUT_SECONDS = 30\n\n"
    "def fetch(url):\n    return open_connection(url, timeout=TIMEOUT_SECONDS)"
)
CHINESE = "清江水电站位于湖北省。电站于1987年开始建设，1994年竣工。总装机容量为一百二十万千瓦。坝高一百五十一米。"
ARABIC = "تأسست الشركة عام 1962 في مدينة الإسكندرية. يعمل فيها 340 موظفا. مديرها الحالي هو سامي الخطيب."
ROCKET = (
    "The engine burns liquid methane. Its thrust is 2.3 meganewtons at sea level. Katherine Brandt designed the "
    "turbopump. The first flight ended after eleven seconds."
)


@pytest.fixture(scope="module")
def decoder():
    return load_decoder("extractive", embedder=load_embedder(device="cpu"))


def evidence(text, *, spans=None, score=0.6, document_id="d", title="File", chunk_id=1):
    return Evidence(
        document_id=document_id,
        title=title,
        chunk_id=chunk_id,
        heading="",
        spans=spans or (Span(0, len(text), 1, TOP),),
        passages=(ScoredPassage(0, len(text), score),),
        read=lambda start, end: text[start:end],
    )


# Scores as `fuse` gives them to a best passage, in languages that the embedder reads and in others.
EVERYTHING = [evidence(text, chunk_id=i, score=0.6) for i, text in enumerate((LEASE, PARTS, CODE, ROCKET))]
EVERYTHING += [evidence(text, chunk_id=i, score=0.9) for i, text in enumerate((CHINESE, ARABIC), start=4)]


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("When was the lease signed?", "14 March 2019"),
        ("Who is the tenant?", "Miriam Okafor"),
        ("How much is the monthly rent?", "1,450 pounds"),
        ("How can either party end the lease?", "three months' notice"),
        ("How was INV-2024-0017 paid?", "bank transfer"),
        ("What does a brass washer M8 cost?", "washer M8 | brass | 0.12"),
        ("What is the price of the rubber gasket?", "2.10"),
        ("What is the RETRY_LIMIT?", "RETRY_LIMIT = 7"),
        ("Which fuel does the rocket engine burn?", "liquid methane"),
        ("Who designed the turbopump?", "Katherine Brandt"),
        ("How long did the first flight last?", "eleven seconds"),
        ("清江水电站在哪一年竣工？", "1994年竣工"),
        ("坝高是多少米？", "一百五十一米"),
        ("كم عدد موظفي الشركة؟", "340"),
        ("من هو مدير الشركة الحالي؟", "سامي الخطيب"),
    ],
)
def test_the_first_quote_answers(decoder, question, expected):
    answer = decoder.answer(question, EVERYTHING)
    assert not answer.abstained
    assert expected in answer.citations[0].quote
    assert 1 <= len(answer.citations) <= 3


@pytest.mark.parametrize("part", ["clause", "Section", "paragraph", "Abschnitt"])
def test_a_part_that_a_question_names_is_found_by_its_number_alone(decoder, part):
    contract = (
        "4.1 This agreement begins on 1 May 2024.\n\n4.2 Either party may end it with ninety days of notice.\n\n"
        "5.3 The seller pays for freight."
    )
    answer = decoder.answer(f"What does {part} 4.2 say?", [evidence(contract)])
    assert answer.text == "4.2 Either party may end it with ninety days of notice."
    assert decoder.answer(f"What does {part} 9.9 say?", [evidence(contract)]).abstained


def test_a_part_that_the_text_names_itself_stays_in_the_question():
    numbered = ["Clause 4.2 is void.", "The wall is 4 m high."]
    assert without_parts("What does clause 4.2 say?", numbered) == "What does clause 4.2 say?"
    assert without_parts("What does section 4.2 say of clause 3?", numbered) == "What does 4.2 say of clause 3?"
    assert without_parts("Which section of the wall is 4 m high?", numbered) == "Which section of the wall is 4 m high?"


@pytest.mark.parametrize(
    "question",
    [
        "What is the capital of Mongolia?",
        "Who won the chess championship in 1972?",
        "How do I bake sourdough bread?",
        "What is the melting point of tungsten?",
        "谁发现了青霉素？",
    ],
)
def test_it_abstains_when_nothing_fits(decoder, question):
    answer = decoder.answer(question, EVERYTHING)
    assert answer.abstained
    assert answer.citations == ()
    assert answer.text == "Nothing in these documents answers this."


@pytest.mark.parametrize("question", ["When was the lease signed?", "", "  "])
def test_without_evidence_or_question_it_abstains(decoder, question):
    assert decoder.answer(question, []).abstained
    assert decoder.answer(question, [evidence(" \n ")]).abstained
    assert decoder.answer("", EVERYTHING).abstained


def test_quotes_are_verbatim_ranges_of_their_chunk(decoder):
    text = "Preface.\n  The bridge was opened in 1931 by Ada Holm.  \nIt is 640 metres long."
    shifted = Evidence("d", "t", 5, "", (), (ScoredPassage(9, len(text), 0.5),), lambda a, b: text[a:b])
    for question in ("When was the bridge opened?", "How long is the bridge?"):
        for citation in decoder.answer(question, [shifted]).citations:
            assert citation.quote == text[citation.start : citation.end]
            assert citation.quote == citation.quote.strip()


def test_a_quote_carries_the_page_and_boxes_of_what_it_stands_in(decoder):
    first, second = "The meeting was cancelled. ", "The new date for the meeting of the board is 3 June 2024."
    text = first + second
    cut = len(first) + 20
    spans = (Span(0, len(first), 3, TOP), Span(len(first), cut, 4, MIDDLE), Span(cut, len(text), 4, NEXT))
    citation = decoder.answer("What is the new date of the board meeting?", [evidence(text, spans=spans)]).citations[0]
    assert (citation.quote, citation.page, citation.boxes) == (second, 4, (MIDDLE, NEXT))


def test_a_quote_over_a_page_break_has_the_boxes_of_the_page_it_begins_on(decoder):
    text = "The new date for the meeting of the board is 3 June 2024."
    spans = (Span(0, 30, 7, MIDDLE), Span(30, len(text), 8, NEXT))
    citation = decoder.answer("What is the new date of the board meeting?", [evidence(text, spans=spans)]).citations[0]
    assert (citation.page, citation.boxes) == (7, (MIDDLE,))


def test_lines_are_cited_where_there_are_no_pages(decoder):
    spans = (Span(0, 16, 1, TOP, (4, 4)), Span(16, len(CODE), 1, TOP, (5, 9)))
    citation = decoder.answer("What is the RETRY_LIMIT?", [evidence(CODE, spans=spans)]).citations[0]
    assert citation.lines == (4, 9)


def test_a_sentence_that_several_passages_hold_is_quoted_once(decoder):
    copies = [evidence(LEASE, document_id=str(i), chunk_id=i) for i in range(3)]
    quotes = [c.quote for c in decoder.answer("When was the lease signed?", copies).citations]
    assert len(quotes) == len(set(quotes))


def test_only_the_best_passages_are_read(decoder):
    read = []

    def chunk(number):
        text = f"Shelf {number} holds {number * 3} jars."
        return Evidence(
            "d",
            "t",
            number,
            "",
            (),
            (ScoredPassage(0, len(text), number / 100),),
            lambda a, b: read.append(number) or text[a:b],
        )

    decoder.answer("How many jars does shelf 30 hold?", [chunk(number) for number in range(1, 41)])
    assert sorted(read) == list(range(31, 41))


def test_an_unknown_decoder_is_named_with_those_that_there_are():
    with pytest.raises(ModelError, match=r"there is no decoder 'oracle'; choose one of: extractive"):
        load_decoder("oracle", embedder=load_embedder(device="cpu"))
