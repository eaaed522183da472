"""Owns bytes -> text for files that do not say their encoding."""

import codecs
import re
from dataclasses import dataclass

from compressor.parse.detect import utf16_without_bom
from compressor.parse.source import SourceFile, clean

# Statistics tell these apart badly: a handful of accented letters is all the evidence there is.
_EUROPEAN = (
    "cp1250",
    "cp1252",
    "cp1254",
    "cp1257",
    "cp1258",
    "latin_1",
    "iso8859_2",
    "iso8859_15",
    "mac_roman",
    "cp850",
)
_SIGN_IN_WORD = re.compile(r"[^\W\d_][¢-©¬®-¹¼-¾×÷][^\W\d_]")
_SAMPLE = 200_000  # bytes shown to the guesser
_NOT_ASCII = re.compile(rb"[\x80-\xff]+")
_JAPANESE_MAIL = re.compile(rb"\x1b\$[@B]")  # ISO-2022-JP, every byte of which is ASCII
# What is declared by the first name is written in the second, which holds all of the first, as browsers know.
_WIDER = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "tis-620": "cp874",
    "iso8859-11": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "big5": "big5hkscs",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
}
_MARKS: tuple[tuple[bytes, str], ...] = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_META_CHARSET = re.compile(rb"""<(?:meta|\?xml)[^>]{0,200}?(?:charset|encoding)\s*=\s*["']?\s*([\w.:-]+)""", re.I)


@dataclass(frozen=True, slots=True)
class DecodedText:
    """Clean text, and what a person should know about how it was read."""

    text: str
    warnings: tuple[str, ...] = ()


def read_text(source: SourceFile) -> DecodedText:
    """The file's text. Never fails: what cannot be decoded becomes U+FFFD and a warning."""
    return decode(source.path.read_bytes(), label=source.label)


def decode(data: bytes, *, label: str, declared: str | None = None) -> DecodedText:
    """By byte-order mark, then the encoding the format declares, then UTF-8, then a guess."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _with(data[len(mark) :], encoding, label=label)
    certain = _certain(data, declared)
    if certain is not None:
        return _with(data, certain, label=label)
    telling = _telling(data)
    utf16 = utf16_without_bom(data[:_SAMPLE])
    if utf16:
        return _with(data, utf16, label=label)
    if _mostly_utf8(telling):
        return _with(data, "utf-8", label=label)
    encoding = _guess(telling)
    decoded = _with(data, encoding, label=label)
    if encoding == "utf-8":  # for want of a guess; how many places are unreadable is said
        return decoded
    return DecodedText(decoded.text, (f"{label} is not UTF-8; it was read as {encoding}.", *decoded.warnings))


def html_charset(data: bytes) -> str | None:
    """The encoding that an HTML or XML file declares in its first bytes."""
    found = _META_CHARSET.search(data[:4096])
    return found.group(1).decode("ascii", "replace") if found else None


def _certain(data: bytes, declared: str | None) -> str | None:
    """The encoding that is declared, or that the bytes leave no doubt of."""
    named = _codec(declared) if declared else None
    if named not in (None, "cp1252"):
        return named
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return named
    if named is None and data.isascii() and _JAPANESE_MAIL.search(data):
        return "iso2022_jp"
    return "utf-8"  # also where Latin-1 is declared: that is often said of UTF-8, and never looks like it by chance


def _with(data: bytes, encoding: str, *, label: str) -> DecodedText:
    try:
        return DecodedText(clean(data.decode(encoding)))
    except UnicodeDecodeError:
        text = data.decode(encoding, "replace")
    bad = text.count("\ufffd")
    return DecodedText(
        clean(text), (f"{label} is not valid {encoding.upper()}: {bad} unreadable places became \ufffd.",)
    )


def _codec(declared: str) -> str | None:
    """Python's name of a declared encoding; None of what is none, or none in which the declaration could be read."""
    try:
        name = codecs.lookup(declared).name
        known = b"<p>".decode(name, "replace") == "<p>"
    except (LookupError, ValueError):
        return None
    return _WIDER.get(name, name) if known else None


def _telling(data: bytes) -> bytes:
    """A sample around the first byte that is not ASCII: what comes long before it tells nothing."""
    found = _NOT_ASCII.search(data)
    start = max(found.start() - _SAMPLE // 2, 0) if found else 0
    return data[start : start + _SAMPLE]


def _mostly_utf8(data: bytes) -> bool:
    """Damaged UTF-8 still holds whole multi-byte characters; text in an 8-bit encoding holds next to none."""
    text = data.decode("utf-8", "replace")
    bad = text.count("\ufffd")
    good = sum(1 for c in text if c > "\x7f") - bad
    return good >= bad


def _guess(data: bytes) -> str:
    from charset_normalizer import from_bytes

    best = from_bytes(data, cp_isolation=list(_EUROPEAN)).best() if _is_accented(data) else None
    best = best or from_bytes(data).best()
    if best is None:
        return "utf-8"
    return "cp1252" if best.encoding in _EUROPEAN and _is_western(data) else best.encoding


def _is_accented(data: bytes) -> bool:
    """Whether bytes beyond ASCII stand alone among Latin letters; those of other scripts stand together."""
    runs = _NOT_ASCII.findall(data)
    return sum(len(run) == 1 for run in runs) >= 0.8 * len(runs)


def _is_western(data: bytes) -> bool:
    """Whether the text makes sense in the most common of these encodings: no sign stands between two letters."""
    try:
        return not _SIGN_IN_WORD.search(data.decode("cp1252"))
    except UnicodeDecodeError:
        return False
