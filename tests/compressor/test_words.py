import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.words import _ASCII_TOKEN, _TOKEN, END, _cut, _Known, words, words_apart

PIECES = [
    "tide",
    "War",
    "1,000.5",
    "x_1@b.c",
    "it's",
    "北京",
    "في",
    " ",
    "\n",
    ". ",
    "-",
    "\u0301",
    "\u064b",
    "é",
    "\0",
]
texts = st.lists(st.sampled_from(PIECES) | st.characters()).map("".join)


def test_forms_of_a_word_are_one_word():
    for forms in (["discovery", "discovered", "discoveries"], ["die", "died", "dies"], ["Moving", "moved", "moves"]):
        assert len({tuple(words(form)) for form in forms}) == 1, forms


def test_question_words_and_articles_are_left_out():
    assert words("What is the name of the bridge?") == words("bridge")
    assert words("المدير") == words("مدير") == words("مديرها")


def test_words_that_only_look_empty_stay():
    assert len(words("the war in May")) == 2


def test_ids_stay_whole_and_can_be_found_by_their_parts():
    assert words("INV-2024-0017") == ["inv-2024-0017", "inv", "2024", "0017"]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("error=4711,code=E42", "4711"),
        ("PO-26-0138,paid", "PO-26-0138"),
        ("WG-AL-117's", "WG-AL-117"),
        ("WG-AL-121/WG-AL-122", "WG-AL-122"),
        ("SKU:AB-12", "AB-12"),
        ("reports/WG-AL-117.pdf", "WG-AL-117"),
        ("agreement-2021", "agreements"),
        ("TH\u2011OM\u2011003", "TH-OM-003"),
        ("TH\u2010OM\u2010003", "TH-OM-003"),
        ("Zusammen\u00adarbeit", "Zusammenarbeit"),
        ("Łódź", "LODZ"),
        ("Bjørn", "bjorn"),
        ("Diyarbakır", "DIYARBAKIR"),
        ("Straße", "STRASSE"),
        ("٣٠", "30"),
        ("۲۰۲۶", "2026"),
        ("كتابی", "كتابي"),
        ("ٱحمد", "أحمد"),
    ],
)
def test_a_word_is_found_in_what_is_written_around_it_or_otherwise(text: str, word: str):
    assert set(words(word)[:1]) <= set(words(text))


def test_a_list_of_ids_is_no_number():
    assert words("a1,b2,c3") == ["a1", "b2", "c3"]
    assert words("4711,4712") == ["47114712", "4711", "4712"]


def test_numbers_match_however_their_thousands_are_set():
    assert words("1,450.50") == words("1450.50")[:1]


def test_accents_and_vowel_marks_do_not_matter():
    assert words("Beyoncé") == words("BEYONCE")
    assert words("مُدِير") == words("مدير")


def test_scripts_without_spaces_become_pairs_of_characters():
    assert words("北京大学在哪里？") == ["北京", "京大", "大学"]


@given(st.lists(texts))
def test_texts_read_together_have_the_words_that_each_has_alone(several):
    assert words_apart(several) == [word for text in several for word in [*words(text), END]]


def test_a_separator_in_a_text_only_parts_its_words():
    assert words("lamp\0war") == ["lamp", "war"]
    assert words_apart(["lamp\0war", "", "fog"]) == ["lamp", "war", END, END, "fog", END]


@given(texts | st.lists(st.sampled_from([*PIECES, "\x1f", "\u2003", "´", "…", "'", "S"])).map("".join))
def test_what_is_known_of_single_runs_is_what_the_whole_text_has(text):
    assert words(text) == [*_cut(text.replace(END, " "))]


@given(st.lists(st.sampled_from(PIECES) | st.characters(max_codepoint=127)).map("".join).filter(str.isascii))
def test_ascii_has_the_same_tokens_in_the_faster_way(text):
    assert _ASCII_TOKEN.findall(text) == _TOKEN.findall(text)


def test_words_are_forgotten_when_strings_or_words_are_too_many(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("compressor.words._MOST", 8)
    monkeypatch.setattr("compressor.words._MOST_WORDS", 20)
    few, many, long = _Known(str.split), _Known(list), _Known(str.split)
    for number in range(30):
        assert few[f"word{number}"] == (f"word{number}",)
        assert many[f"0123456{number:02}"] == (*"0123456", *f"{number:02}")
        assert long[f"{number}".rjust(65, "x")] == (f"{number}".rjust(65, "x"),)
        assert len(few) <= 8
        assert len(many) <= 3  # of nine words each
    assert few["word29"] is few["word29"]
    assert not long
