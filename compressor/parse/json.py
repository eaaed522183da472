"""Owns JSON and JSON lines: the text verbatim, with line breaks added where it has none, and letters as such.

Programs write letters beyond ASCII, and what has a meaning in HTML, as escapes, in which nobody finds a word: they are
written as what they stand for, which is the same JSON.
"""

import json
import re
import unicodedata
from collections.abc import Iterator

from compressor.parse.code import code_blocks
from compressor.parse.decode import read_text
from compressor.parse.source import LINES_PER_BLOCK, SourceFile, line_block
from compressor.types import Block, BlockKind, ParsedDocument

_LONG_LINE = 400  # characters; a file whose lines are longer was written for machines
_ESCAPE = re.compile(r"\\(?:u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})|u([0-9a-f]{4})|.)", re.I | re.S)
_IN_WORDS = ("Zs", "Cf")  # spaces that keep words together, soft hyphens, joiners of Persian and of emoji
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s"{}\[\],:]+')


def parse_json(source: SourceFile) -> ParsedDocument:
    """CODE blocks. Numbers and strings keep their spelling, but for escaped letters; tokens may get their own lines."""
    decoded = read_text(source)
    text = decoded.text
    warnings = decoded.warnings
    if source.media_type == "application/jsonl":
        return ParsedDocument(source.media_type, None, 1, tuple(_records(_in_letters(text))), warnings)
    try:
        json.loads(text, parse_int=str)
        whole = True
    except RecursionError:  # deeper than anyone reads; whether it is valid is not known
        whole = False
    except ValueError as error:
        whole = False
        warnings = (*warnings, f"{source.label} is not valid JSON ({error}); its text was taken as it is.")
    if whole:
        text = _in_letters(text)
    lines = text.count("\n") + 1
    if not whole or len(text) <= lines * _LONG_LINE:
        return ParsedDocument(source.media_type, None, 1, tuple(code_blocks(text)), warnings)
    blocks = tuple(
        line_block(BlockKind.CODE, block.text, first=1, last=lines, total=lines)
        for block in code_blocks("\n".join(_broken(text)))
    )
    return ParsedDocument(source.media_type, None, 1, blocks, warnings)


def _in_letters(text: str) -> str:
    """Escapes of letters, signs and what stands between or in words as that; the others stay as they are spelled."""
    return _ESCAPE.sub(_letter, text)


def _letter(escape: re.Match[str]) -> str:
    high, low, unit = escape.groups()
    if high:
        return bytes.fromhex(high + low).decode("utf-16-be")
    letter = chr(int(unit, 16)) if unit else ""
    if letter in ("", '"', "\\") or not (letter.isprintable() or unicodedata.category(letter) in _IN_WORDS):
        return escape.group()
    return letter


def _records(text: str) -> list[Block]:
    lines = text.rstrip("\n").split("\n")
    return [
        line_block(BlockKind.CODE, "\n".join(lines[a:b]), first=a + 1, last=b, total=len(lines))
        for a in range(0, len(lines), LINES_PER_BLOCK)
        for b in (min(a + LINES_PER_BLOCK, len(lines)),)
    ]


def _broken(text: str) -> Iterator[str]:
    """One member or element a line, indented by depth; never rewritten."""
    depth = 0
    line = ""
    for match in _TOKEN.finditer(text):
        piece = match.group()
        if piece in "}]":
            if line.strip():
                yield line
            depth = max(depth - 1, 0)
            line = " " * min(depth, 40) + piece
        elif piece in "{[":
            yield line + piece
            depth += 1
            line = " " * min(depth, 40)
        elif piece == ",":
            yield line + piece
            line = " " * min(depth, 40)
        else:
            line += ": " if piece == ":" else piece
    if line.strip():
        yield line
