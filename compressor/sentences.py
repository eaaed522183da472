"""Owns sentence boundaries in any script: where a passage may end and what a quote is."""

import re

_CLOSERS = "\"'»”’)\\]}」』）】"
# Full stops of Latin, CJK, Arabic/Urdu, Devanagari, Ethiopic, Armenian, Khmer, Burmese, Tibetan
_WIDE = "。！？｡︒؟۔।॥።՞։។၊။༎"
_STOPS = ".!?…"
# It begins with one set of characters, which is searched for; alternatives would be tried at every character.
# Of several stops in a row only the first is tried, and nothing is given back: a row of dots may be very long.
_BOUNDARY = re.compile(
    rf"[{_STOPS}{_WIDE}\n](?:(?<=[{_STOPS}])(?<![{_STOPS}]{{2}})[{_STOPS}]*+[{_CLOSERS}]*+(?=\s)|"
    rf"(?<=[{_WIDE}])[{_WIDE}]*[{_CLOSERS}]*|(?<=\n))\s*"
)
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\[\"'“])(?:"
    r"[A-Z]|(?:[A-Za-z]\.)+[A-Za-z]|"  # initials; e.g, i.e, U.S
    r"(?i:mr|mrs|ms|dr|prof|sr|jr|st|mt|no|nos|vs|etc|cf|al|fig|figs|eq|eqs|sec|ch|vol|ed|eds|pp|p|art|inc|ltd|co|corp|"
    r"dept|est|approx|gen|col|lt|sgt|capt|rev|hon|gov|sen|rep|pres|jan|feb|mar|apr|jun|jul|aug|sep|sept|oct|nov|dec|"
    r"bzw|usw|nr|abs|bspw|ca|vgl|evtl|ggf|z\.b|d\.h|u\.a|núm|sra|av|mme|mlle)"
    r")$"
)
_LONG = 7  # letters: more than any of those has
_NUMBER = re.compile(r"\s*\d+\s*")
_MARKER = re.compile(
    r"[-*•‣▪●○■□◦–—#>|]|\(?\w{1,3}[.)]\s|"
    r"[\[(]?\d{4}[-/.]\d\d[-/.]\d\d[T ]\d\d:\d\d|[\[(]?\d\d:\d\d:\d\d|[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d|"  # of a log
    r"\d{1,3}(?:\.\d{1,3}){3} "  # an address in one
)
_WRAP_FROM, _WRAP_SURELY, _WRAP_TO = 40, 58, 100  # characters of a line of hard-wrapped text
_ENDS_ANYWAY = frozenset({"etc", "inc", "ltd", "co", "corp", "al", "jr", "sr"})


def split_sentences(text: str) -> list[tuple[int, int]]:
    """Ranges of `text`, in order, that cover it completely; white space after a sentence belongs to it.

    A line break ends a sentence, except where a line looks like wrapped prose: rows, items and headings are short,
    or hold cells, or are followed by a marker.
    """
    ranges: list[tuple[int, int]] = []
    start = 0
    for match in _BOUNDARY.finditer(text):
        stop, end = match.span()
        if end >= len(text):
            break
        first = text[stop]
        if first == "\n":
            length = stop - text.rfind("\n", 0, stop) - 1
            if (
                _WRAP_FROM <= length <= _WRAP_TO
                and text.find("\n", stop + 1, end) < 0
                and _wrapped(text, stop, end, length)
            ):
                continue
        elif first == "." and text.find("\n", stop, end) < 0 and not _ends(text, start, stop, end):
            continue
        if not start and text[:end].isspace():
            continue
        ranges.append((start, end))
        start = end
    if start < len(text):
        if ranges and not text[start:].strip():
            ranges[-1] = (ranges[-1][0], len(text))
        else:
            ranges.append((start, len(text)))
    return ranges


def _wrapped(text: str, stop: int, following: int, length: int) -> bool:
    """Whether the line of this length that ends at `stop`, without a full stop, goes on in the next one."""
    if length < _WRAP_SURELY and not text[following].islower():
        return False
    return text.find(" | ", stop - length, stop) < 0 and not _MARKER.match(text, following)


def _ends(text: str, start: int, stop: int, following: int) -> bool:
    """Whether the full stop at `stop` ends a sentence; the next one would begin at `following`."""
    upcoming = text[following]
    if upcoming.islower():
        return False
    if stop - start >= _LONG and text[stop - _LONG : stop].isalpha():
        return True
    before = text[max(start, stop - 12) : stop]
    if _NUMBER.fullmatch(text, start, stop):
        return False  # "3. Payment" is an item's number
    abbreviation = _ABBREVIATION.search(before)
    if abbreviation is None:
        return True
    word = abbreviation.group().strip(" \n\t([\"'“").lower()
    return word in _ENDS_ANYWAY and upcoming.isupper()
