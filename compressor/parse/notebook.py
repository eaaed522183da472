"""Owns Jupyter notebooks, versions 3 and 4: their cells in order, with what these printed."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from compressor.parse.code import code_blocks
from compressor.parse.decode import read_text
from compressor.parse.json import parse_json
from compressor.parse.markdown import markdown_blocks
from compressor.parse.source import SourceFile, clean, line_block
from compressor.types import Block, BlockKind, Box, ParsedDocument

_Cell = Mapping[str, Any]


def parse_notebook(source: SourceFile) -> ParsedDocument:
    """Markdown as in a Markdown file, code and its output verbatim; a warning counts pictures."""
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
        yield line_block(BlockKind.HEADING, text, first=1, last=1, total=1, level=int(cell["level"]))
    else:
        yield from code_blocks(text)
        for output in cell.get("outputs", ()):
            yield from code_blocks(_printed(output))


def _printed(output: _Cell) -> str:
    """What an output says in words: of a table, a formula or an object its plain form, of an error its last line."""
    if "ename" in output:
        return clean(f"{output['ename']}: {output['evalue']}")
    return _text(_forms(output).get("text/plain", output.get("text", ""))).rstrip("\n")


def _is_picture(output: _Cell) -> bool:
    pictures = any(form.startswith("image/") or form in ("png", "jpeg", "svg") for form in {**_forms(output), **output})
    return pictures and not _printed(output).strip()


def _forms(output: _Cell) -> Mapping[str, Any]:
    """An output in several forms, by media type."""
    forms: Mapping[str, Any] = output.get("data", {})
    return forms


def _text(lines: object) -> str:
    """Text is one string, or a list of lines with their ends. Raises TypeError for anything else."""
    return clean(lines if isinstance(lines, str) else "".join(lines))  # type: ignore[arg-type]  # join looks at each
