"""Owns turning a file into text blocks with places: which parser reads it, and the caps that hold for all of them.

This runs in the calling process. Untrusted files go through `compressor.parse.child.ParserProcess`, which calls it.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

from compressor.errors import DocumentTooLarge, EmptyDocument
from compressor.limits import Limits
from compressor.parse.detect import detect
from compressor.parse.source import SourceFile
from compressor.types import ParsedDocument

Parser = Callable[[SourceFile], ParsedDocument]

PARSERS: Mapping[str, str] = {
    "application/pdf": "compressor.parse.pdf:parse_pdf",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "compressor.parse.docx:parse_docx",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": "compressor.parse.pptx:parse_pptx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "compressor.parse.xlsx:parse_xlsx",
    "application/epub+zip": "compressor.parse.epub:parse_epub",
    "text/html": "compressor.parse.html:parse_html",
    "text/markdown": "compressor.parse.markdown:parse_markdown",
    "text/x-rst": "compressor.parse.rst:parse_rst",
    "text/plain": "compressor.parse.plain:parse_plain",
    "text/csv": "compressor.parse.csv:parse_csv",
    "text/tab-separated-values": "compressor.parse.csv:parse_csv",
    "application/json": "compressor.parse.json:parse_json",
    "application/jsonl": "compressor.parse.json:parse_json",
    "application/x-ipynb+json": "compressor.parse.notebook:parse_notebook",
    "text/x-source": "compressor.parse.code:parse_code",
}


def parse(path: Path, *, name: str, limits: Limits, parsers: Mapping[str, str] = PARSERS) -> ParsedDocument:
    """Parse the file at `path`; `name` is what the caller called it and helps between kinds of text only.

    `parsers` maps a media type to "module:function". Raises DocumentError.
    """
    detected = detect(path, name=name, limits=limits)
    module, _, function = parsers[detected.media_type].partition(":")
    parser = cast(Parser, getattr(importlib.import_module(module), function))
    source = SourceFile(path, name, detected.media_type, limits)
    document = parser(source)
    warnings = (*((detected.warning,) if detected.warning else ()), *document.warnings)
    blocks = tuple(block for block in document.blocks if block.text.strip())
    if not blocks:
        why = f" ({' '.join(warnings)})" if warnings else ""
        raise EmptyDocument(f"{source.label} has no text{why}.")
    characters = sum(len(block.text) for block in blocks)
    if characters > limits.characters:
        raise DocumentTooLarge(
            f"{source.label} holds {characters:,} characters, the limit is {limits.characters:,}. Split the file."
        )
    return replace(document, blocks=blocks, warnings=warnings)
