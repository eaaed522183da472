"""Owns how a number is written: as digits, letters, Roman numerals or words, by the names that Word has for it.

Words are English whatever the document's language is. What is written in no way that is known here comes in digits.
"""

from collections.abc import Callable, Mapping
from functools import partial

_LARGEST = 32_767  # that Word counts to; beyond it letters and Roman numerals would only grow
_ROMAN = (
    (1000, "m"),
    (900, "cm"),
    (500, "d"),
    (400, "cd"),
    (100, "c"),
    (90, "xc"),
    (50, "l"),
    (40, "xl"),
    (10, "x"),
    (9, "ix"),
    (5, "v"),
    (4, "iv"),
    (1, "i"),
)
_ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("zero", "ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}
_CHINESE = "〇一二三四五六七八九"
_CHINESE_PLACES = ("", "十", "百", "千")
_HEBREW = ((400, "ת"), (300, "ש"), (200, "ר"), (100, "ק"), (90, "צ"), (80, "פ"), (70, "ע"), (60, "ס"), (50, "נ"))
_HEBREW_REST = ((40, "מ"), (30, "ל"), (20, "כ"), (10, "י"), *zip(range(9, 0, -1), "טחזוהדגבא", strict=True))


def numeral(number: int, form: str, pattern: str = "") -> str:
    """A number as Word's `form` (w:numFmt) writes it; `pattern` is the example that the form "custom" has."""
    if form in ("bullet", "none"):
        return ""
    if form == "custom":
        first = pattern.partition(",")[0].strip()  # of "001, 002, 003, ..."
        return str(number).zfill(len(first) if first.isdecimal() else 0)
    if form not in _FORMS or not 0 < number <= _LARGEST:
        return str(number)
    return _FORMS[form](number)


def _letters(alphabet: str, number: int) -> str:
    """a to z, then aa, bb and so on, as Word goes on."""
    times, place = divmod(number - 1, len(alphabet))
    return alphabet[place] * (times + 1) if times < 30 else str(number)


def _of(signs: str, number: int) -> str:
    return signs[number - 1] if number <= len(signs) else str(number)


def _roman(number: int) -> str:
    return _added(_ROMAN, number)


def _added(signs: tuple[tuple[int, str], ...], number: int) -> str:
    text = ""
    for value, sign in signs:
        times, number = divmod(number, value)
        text += sign * times
    return text


def _hebrew(number: int) -> str:
    """15 and 16 are written so that they are no name of God."""
    return _added((*_HEBREW, *_HEBREW_REST), number).replace("יה", "טו").replace("יו", "טז")


def _cardinal(number: int) -> str:
    if number >= 1000:
        return f"{_cardinal(number // 1000)} thousand {_cardinal(number % 1000) if number % 1000 else ''}".strip()
    if number >= 100:
        return f"{_ONES[number // 100]} hundred {_cardinal(number % 100) if number % 100 else ''}".strip()
    if number < 20:
        return _ONES[number]
    return _TENS[number // 10] + (f"-{_ONES[number % 10]}" if number % 10 else "")


def _ordinal_words(number: int) -> str:
    words = _cardinal(number)
    cut = max(words.rfind(" "), words.rfind("-")) + 1
    last = words[cut:]
    return words[:cut] + _ORDINALS.get(last, f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th")


def _ordinal(number: int) -> str:
    ending = "th" if 10 < number % 100 < 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _chinese(number: int) -> str:
    """十二, 一百零二; in digits from 10,000."""
    if number >= 10_000:
        return str(number)
    digits = [int(digit) for digit in str(number)]
    text = "".join(
        _CHINESE[digit] + _CHINESE_PLACES[len(digits) - 1 - i] if digit else "零" for i, digit in enumerate(digits)
    )
    while "零零" in text:
        text = text.replace("零零", "零")
    text = text.rstrip("零")
    return text[1:] if 10 <= number < 20 else text


_LATIN = "abcdefghijklmnopqrstuvwxyz"
_RUSSIAN = "абвгдежзиклмнопрстуфхцчшщыэюя"
_KANA = "アイウエオカキクケコサシスセソタチツテトナニヌネノハヒフヘホマミムメモヤユヨラリルレロワヲン"
_IROHA = "イロハニホヘトチリヌルヲワカヨタレソツネナラムウヰノオクヤマケフコエテアサキユメミシヱヒモセスン"
_COUNTED_IN_CHINESE = (
    "chineseCounting",
    "chineseCountingThousand",
    "japaneseCounting",
    "taiwaneseCounting",
    "taiwaneseCountingThousand",
    "koreanDigital2",
)

_FORMS: Mapping[str, Callable[[int], str]] = {
    "decimalZero": "{:02d}".format,
    "upperLetter": partial(_letters, _LATIN.upper()),
    "lowerLetter": partial(_letters, _LATIN),
    "upperRoman": lambda number: _roman(number).upper(),
    "lowerRoman": _roman,
    "ordinal": _ordinal,
    "cardinalText": lambda number: _cardinal(number).capitalize(),
    "ordinalText": lambda number: _ordinal_words(number).capitalize(),
    "hex": "{:X}".format,
    "numberInDash": "- {} -".format,
    "decimalEnclosedCircle": partial(_of, "①②③④⑤⑥⑦⑧⑨⑩⑪⑫⑬⑭⑮⑯⑰⑱⑲⑳"),
    "decimalEnclosedParen": "({})".format,
    "decimalEnclosedFullstop": "{}.".format,
    "decimalFullWidth": lambda number: str(number).translate({48 + i: 0xFF10 + i for i in range(10)}),
    "russianUpper": partial(_letters, _RUSSIAN.upper()),
    "russianLower": partial(_letters, _RUSSIAN),
    "arabicAlpha": partial(_letters, "أبتثجحخدذرزسشصضطظعغفقكلمنهوي"),
    "arabicAbjad": partial(_letters, "أبجدهوزحطيكلمنسعفصقرشتثخذضظغ"),
    "hebrew1": _hebrew,
    "hebrew2": partial(_letters, "אבגדהוזחטיכלמנסעפצקרשת"),
    "ganada": partial(_letters, "가나다라마바사아자차카타파하"),
    "chosung": partial(_letters, "ㄱㄴㄷㄹㅁㅂㅅㅇㅈㅊㅋㅌㅍㅎ"),
    "aiueo": partial(_letters, _KANA),
    "aiueoFullWidth": partial(_letters, _KANA),
    "iroha": partial(_letters, _IROHA),
    "irohaFullWidth": partial(_letters, _IROHA),
    "ideographTraditional": partial(_of, "甲乙丙丁戊己庚辛壬癸"),
    "ideographZodiac": partial(_of, "子丑寅卯辰巳午未申酉戌亥"),
    "ideographDigital": lambda number: "".join(_CHINESE[int(digit)] for digit in str(number)),
    **dict.fromkeys(_COUNTED_IN_CHINESE, _chinese),
}
