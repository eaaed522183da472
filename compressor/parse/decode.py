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
    if declared and _known(declared):
        return _with(data, declared, label=label)
    try:
        return DecodedText(clean(data.decode("utf-8")))
    except UnicodeDecodeError:
        pass
    utf16 = utf16_without_bom(data[:_SAMPLE])
    if utf16:
        return _with(data, utf16, label=label)
    if _mostly_utf8(data):
        return _with(data, "utf-8", label=label)
    encoding = _guess(data)
    decoded = _with(data, encoding, label=label)
    if encoding == "utf-8":  # for want of a guess; how many places are unreadable is said
        return decoded
    return DecodedText(decoded.text, (f"{label} is not UTF-8; it was read as {encoding}.", *decoded.warnings))


def html_charset(data: bytes) -> str | None:
    """The encoding that an HTML or XML file declares in its first bytes."""
    found = _META_CHARSET.search(data[:4096])
    return found.group(1).decode("ascii", "replace") if found else None


def _with(data: bytes, encoding: str, *, label: str) -> DecodedText:
    text = data.decode(encoding, "replace")
    bad = text.count("\ufffd")
    if bad:
        return DecodedText(
            clean(text), (f"{label} is not valid {encoding.upper()}: {bad} unreadable places became \ufffd.",)
        )
    return DecodedText(clean(text))


def _known(encoding: str) -> bool:
    try:
        codecs.lookup(encoding).encode("")
    except (LookupError, TypeError, ValueError):
        return False
    return True


def _mostly_utf8(data: bytes) -> bool:
    """Damaged UTF-8 still holds whole multi-byte characters; text in an 8-bit encoding holds next to none."""
    text = data[:_SAMPLE].decode("utf-8", "replace")
    bad = text.count("\ufffd")
    good = sum(1 for c in text if c > "\x7f") - bad
    return good >= bad


def _guess(data: bytes) -> str:
    from charset_normalizer import from_bytes

    best = from_bytes(data[:_SAMPLE]).best()
    if best is None:
        return "utf-8"
    return "cp1252" if best.encoding in _EUROPEAN and _is_western(data[:_SAMPLE]) else best.encoding


def _is_western(data: bytes) -> bool:
    """Whether the text makes sense in the most common of these encodings: no sign stands between two letters."""
    try:
        return not _SIGN_IN_WORD.search(data.decode("cp1252"))
    except UnicodeDecodeError:
        return False
