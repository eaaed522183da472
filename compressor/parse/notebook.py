"""Owns Jupyter notebooks, versions 3 and 4: their cells in order, with what these printed."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from compressor.parse.code import code_blocks
from compressor.parse.decode import read_text
from compressor.parse.html import html_blocks, html_root
from compressor.parse.json import parse_json
from compressor.parse.markdown import markdown_blocks
from compressor.parse.source import SourceFile, clean, line_block, one_line
from compressor.types import Block, BlockKind, Box, ParsedDocument

_Cell = Mapping[str, Any]
_OBJECT = re.compile(r"\s*<[^\n]*>\s*")  # "<Figure size 640x480 with 1 Axes>": how Python calls what has another form


def parse_notebook(source: SourceFile) -> ParsedDocument:
    """Markdown as in a Markdown file, code and what it printed verbatim; a warning counts pictures."""
    decoded = read_text(source)
    try:
        cells = _cells(json.loads(decoded.text))
        blocks = [block for cell in cells for block in _blocks(cell)]
        pictures = sum(_is_picture(output) for cell in cells for output in cell.get("outputs", ()))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        read = parse_json(source)
        return replace(read, warnings=(*read.warnings, f"{source.label} is no notebook; it was read as JSON."))
    title = next((block.text for block in blocks if block.kind is BlockKind.HEADING), None)
    warnings = decoded.warnings
    if pictures:
        warnings = (*warnings, f"{source.label} shows {pictures:,} outputs as pictures alone, which are not read.")
    share = 1 / max(len(blocks), 1)  # a notebook has no pages, and lines of its file are nothing that people see
    placed = (
        replace(block, box=Box(0.0, place * share, 1.0, (place + 1) * share), lines=None)
        for place, block in enumerate(blocks)
    )
    return ParsedDocument(source.media_type, title, 1, tuple(placed), warnings)


def _cells(notebook: Mapping[str, Any]) -> list[_Cell]:
    """Raises KeyError, TypeError or AttributeError for what is no notebook."""
    if "worksheets" in notebook:  # version 3
        return [cell for sheet in notebook["worksheets"] for cell in sheet["cells"]]
    return list(notebook["cells"])


def _blocks(cell: _Cell) -> Iterator[Block]:
    text = _text(cell.get("source", cell.get("input", "")))
    if cell["cell_type"] == "markdown":
        yield from markdown_blocks(text)
    elif cell["cell_type"] == "heading":  # of version 3
        level = int(min(max(cell["level"], 1), 6))
        if heading := one_line(text):
            yield line_block(BlockKind.HEADING, heading, first=1, last=1, total=1, level=level)
    else:
        yield from code_blocks(text)
        for output in cell.get("outputs", ()):
            yield from _shown(output)


def _shown(output: _Cell) -> Iterator[Block]:
    """What an output says in words: of a table, a formula or an object its plain form, of an error its last line."""
    forms = _forms(output)
    if printed := _printed(output):
        yield from code_blocks(printed)
    elif "text/markdown" in forms:
        yield from markdown_blocks(_text(forms["text/markdown"]))
    elif (root := html_root(_text(forms.get("text/html", "")))) is not None:
        yield from html_blocks(root, total=1)


def _printed(output: _Cell) -> str:
    """The plain form, "" where there is none or it only calls by its name what another form shows."""
    if "ename" in output:
        return clean(f"{output['ename']}: {output['evalue']}")
    forms = _forms(output)
    text = _text(forms.get("text/plain", output.get("text", ""))).strip("\n")
    others = _pictures(output) or not forms.keys().isdisjoint(("text/markdown", "text/html"))
    return "" if not text.strip() or (others and _OBJECT.fullmatch(text)) else text


def _is_picture(output: _Cell) -> bool:
    return _pictures(output) and not any(_shown(output))


def _pictures(output: _Cell) -> bool:
    return any(form.startswith("image/") or form in ("png", "jpeg", "svg") for form in {**_forms(output), **output})


def _forms(output: _Cell) -> Mapping[str, Any]:
    """An output in several forms, by media type."""
    forms: Mapping[str, Any] = output.get("data", {})
    return forms


def _text(lines: object) -> str:
    """Text is one string, or a list of lines with their ends. Raises TypeError for anything else."""
    return clean(lines if isinstance(lines, str) else "".join(lines))  # type: ignore[arg-type]  # join looks at each
