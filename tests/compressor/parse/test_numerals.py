"""Numbers are written as Word writes them."""

import pytest

from compressor.parse.numerals import numeral


@pytest.mark.parametrize(
    ("form", "number", "text"),
    [
        ("decimal", 12, "12"),
        ("decimalZero", 7, "07"),
        ("decimalZero", 12, "12"),
        ("lowerLetter", 26, "z"),
        ("lowerLetter", 28, "bb"),
        ("upperLetter", 3, "C"),
        ("lowerRoman", 1994, "mcmxciv"),
        ("upperRoman", 4, "IV"),
        ("bullet", 3, ""),
        ("none", 3, ""),
        ("ordinal", 2, "2nd"),
        ("ordinal", 12, "12th"),
        ("ordinal", 123, "123rd"),
        ("cardinalText", 21, "Twenty-one"),
        ("cardinalText", 1100, "One thousand one hundred"),
        ("ordinalText", 1, "First"),
        ("ordinalText", 20, "Twentieth"),
        ("ordinalText", 42, "Forty-second"),
        ("ordinalText", 100, "One hundredth"),
        ("decimalEnclosedCircle", 3, "③"),
        ("decimalEnclosedCircle", 21, "21"),
        ("russianLower", 10, "к"),
        ("arabicAbjad", 4, "د"),
        ("hebrew1", 15, "טו"),
        ("hebrew1", 21, "כא"),
        ("ganada", 2, "나"),
        ("ideographTraditional", 3, "丙"),
        ("chineseCounting", 12, "十二"),
        ("chineseCounting", 20, "二十"),
        ("chineseCountingThousand", 102, "一百零二"),
        ("chineseCountingThousand", 1000, "一千"),
        ("ideographDigital", 20, "二〇"),
        ("aFormOfTheFuture", 5, "5"),
    ],
)
def test_a_number_is_written_in_its_form(form, number, text):
    assert numeral(number, form) == text


def test_a_custom_form_shows_how_many_digits_it_has():
    assert numeral(7, "custom", "001, 002, 003, ...") == "007"


@pytest.mark.parametrize("form", ["lowerLetter", "lowerRoman", "hebrew1", "chineseCounting", "cardinalText"])
def test_numbers_that_word_has_no_signs_for_come_in_digits_and_stay_short(form):
    assert [numeral(number, form) for number in (0, -1, 2**31)] == ["0", "-1", "2147483648"]
