"""Owns PDF through PyMuPDF (AGPL-3.0 or commercial). With `raster` all that uses it, to be replaced alone."""

# mypy: disallow-untyped-calls=False
# PyMuPDF is marked as typed, but most of its methods are not.

import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import TYPE_CHECKING, TypedDict, cast

from compressor.errors import DamagedDocument, DocumentTooLarge, EmptyDocument, EncryptedDocument
from compressor.parse.layout import Line, Typography, blocks_of, reading_order, typography
from compressor.parse.source import SourceFile, clean, one_line, row_text, styled_block
from compressor.parse.styled import Styled, is_monospaced
from compressor.styles import Style
from compressor.types import Block, BlockKind, Box, ParsedDocument

if TYPE_CHECKING:
    import pymupdf

_SAMPLE_PAGES = 24  # looked at first, to learn fonts, words and running headers
_MARGIN = 0.09  # of the page height: where running headers and footers stand
_OCR_DPI = 200
_MIN_OCR_DPI = 72  # below it letters are too small to read
_ORIENTATION_DPI = 150
_NAMED_PAGES = 20  # that were not read; a scan of a thousand pages needs no thousand warnings
_SPACES = re.compile("[\n\t\xa0]")
_RULES_FOR_TABLE = 4  # ruling lines or filled cells that make looking for a table worth 45 ms
_RULE_LENGTH = 30  # points; shorter strokes belong to drawings
# MuPDF turns the ligature of lam and alef around; after another alef it can be nothing else
_TORN_LAM_ALEF = re.compile("(?<=ا)([أإآ])ل")
_DIGITS = re.compile(r"\d+")
_BOLD = re.compile(r"bold|black|heavy|semibold|demi", re.I)
_ITALIC = re.compile(r"italic|oblique", re.I)
_LINKED = 0.8  # of a span's width under a link; less, and it is not known which of its letters are


_Rectangle = tuple[float, float, float, float]  # x0, y0, x1, y1


class _Span(TypedDict):
    text: str
    size: float
    flags: int
    font: str
    bbox: _Rectangle


class _Line(TypedDict):
    spans: list[_Span]
    dir: tuple[float, float]
    bbox: _Rectangle


class _Group(TypedDict):
    type: int
    lines: list[_Line]


@dataclass(frozen=True, slots=True)
class _View:
    """A page's lines as a reader who holds it upright sees them."""

    lines: tuple[Line, ...]
    turn: "pymupdf.Matrix"  # from unrotated page coordinates
    height: float  # points


@dataclass(frozen=True, slots=True)
class _Learned:
    """What the sample pages tell about the whole document."""

    style: Typography
    running: frozenset[str]  # headers and footers, as `_running_key` sees them
    views: dict[int, _View]  # of the sample pages, by index, so that they are read once


def parse_pdf(source: SourceFile) -> ParsedDocument:
    """Text pages by geometry; pages without text through Tesseract where it is installed, else a warning names them.

    PyMuPDF's layout model needs about 400 ms a page, the geometry about 5; see `layout`.
    """
    fitz = open_library()
    try:
        document = fitz.open(str(source.path), filetype="pdf")
    except (fitz.FileDataError, fitz.EmptyFileError, RuntimeError, ValueError) as error:
        # The library's own words name the file where it is stored: no reader's to know.
        said = f"{source.label} is a damaged or truncated PDF: it cannot be opened. Save it again."
        raise DamagedDocument(said) from error
    with document:
        _check(document, source)
        try:
            return _parse(fitz, document, source)
        except (RuntimeError, ValueError) as error:
            raise DamagedDocument(f"{source.label} is a damaged PDF: {error}. Save it again.") from error


def open_library() -> ModuleType:
    """PyMuPDF without its layout model, whose onnxruntime takes half a second to import and is not used here."""
    if "pymupdf" not in sys.modules:
        sys.modules.setdefault(
            "pymupdf.layout", cast(ModuleType, None)
        )  # makes its import an ImportError, which is allowed
    import pymupdf

    pymupdf.no_recommend_layout()
    pymupdf.TOOLS.mupdf_display_errors(False)
    pymupdf.TOOLS.mupdf_display_warnings(False)
    return pymupdf


def _check(document: "pymupdf.Document", source: SourceFile) -> None:
    if document.needs_pass:
        raise EncryptedDocument(f"{source.label} needs a password. Save it without one and ingest it again.")
    if document.page_count > source.limits.pages:
        raise DocumentTooLarge(
            f"{source.label} has {document.page_count:,} pages, the limit is {source.limits.pages:,}. Split the file."
        )
    if document.page_count == 0:
        if document.is_repaired:
            raise DamagedDocument(f"{source.label} is a damaged or truncated PDF: no page can be read. Save it again.")
        raise EmptyDocument(f"{source.label} is a PDF without pages.")


def _parse(fitz: ModuleType, document: "pymupdf.Document", source: SourceFile) -> ParsedDocument:
    warnings: list[str] = []
    if document.is_repaired:
        warnings.append(f"{source.label} is damaged and was repaired; some of its pages or text may be missing.")
    learned = _learn(fitz, document)
    running = learned.running
    deadline = time.monotonic() + source.limits.ocr_seconds
    blocks: list[Block] = []
    characters = 0
    shown: dict[str, _Shown] = {}
    unread: list[str] = []
    for number in range(1, document.page_count + 1):
        page = document.load_page(number - 1)
        view = learned.views.get(number - 1) or _view(fitz, page, None)
        if not view.lines:
            read = _ocr(fitz, page, source, deadline=deadline)
            if isinstance(read, str):
                unread.append(f"page {number} of {source.label} has no text layer and was not read: {read}.")
            else:
                view = read
        kept = []
        for line in view.lines:
            key = _running_key(line, view.height)
            if key is None or key not in running:
                kept.append(line)
            elif key not in shown or not shown[key].repeated(line, number):
                shown[key] = _Shown(line, number)  # the first of a running header is text like any other
                kept.append(line)
        page_blocks = list(_page_blocks(fitz, page, replace(view, lines=tuple(kept)), learned.style, number))
        blocks.extend(page_blocks)
        characters += sum(len(block.text) for block in page_blocks)
        if characters > source.limits.characters:
            raise DocumentTooLarge(
                f"{source.label} holds more than {source.limits.characters:,} characters of text. Split the file."
            )
    warnings.extend(unread[:_NAMED_PAGES])
    if len(unread) > _NAMED_PAGES:
        warnings.append(f"{len(unread) - _NAMED_PAGES} more pages of {source.label} were not read.")
    title = one_line((document.metadata or {}).get("title") or "")
    return ParsedDocument(source.media_type, title or None, document.page_count, tuple(blocks), tuple(warnings))


def _learn(fitz: ModuleType, document: "pymupdf.Document") -> _Learned:
    """Look at sample pages: fonts, words, and what repeats in the margins of a third of them."""
    step = max(document.page_count // _SAMPLE_PAGES, 1)
    numbers = range(0, document.page_count, step)[:_SAMPLE_PAGES]
    sample: list[Line] = []
    margins: Counter[str] = Counter()
    views: dict[int, _View] = {}
    for number in numbers:
        view = views[number] = _view(fitz, document.load_page(number), None)
        sample.extend(view.lines)
        margins.update({key for line in view.lines if (key := _running_key(line, view.height)) is not None})
    outline = {"".join(str(entry[1]).split()).lower(): int(entry[0]) for entry in document.get_toc()}
    outline.pop("", None)
    often = max(3, len(numbers) // 3)
    running = frozenset(key for key, times in margins.items() if times >= often)
    return _Learned(typography(sample, outline), running, views)


@dataclass(frozen=True, slots=True)
class _Shown:
    """A running header or footer where it was last taken for text."""

    line: Line
    number: int  # of its page

    def repeated(self, line: Line, number: int) -> bool:
        """Whether a line of a later page says no more: its numbers are the same, or count the pages."""
        pairs = zip(_DIGITS.findall(self.line.text), _DIGITS.findall(line.text), strict=True)
        return all(was == now or _counts(was, now, number - self.number) for was, now in pairs)


def _counts(was: str, now: str, pages: int) -> bool:
    return len(now) < 10 and len(was) < 10 and int(now) - int(was) == pages


def _running_key(line: Line, height: float) -> str | None:
    """What a line in the top or bottom margin looks like with its numbers masked; None elsewhere."""
    if line.y1 > _MARGIN * height and line.y0 < (1 - _MARGIN) * height:
        return None
    return _DIGITS.sub("#", one_line(line.text))


def _view(fitz: ModuleType, page: "pymupdf.Page", textpage: "pymupdf.TextPage | None") -> _View:
    """The page's lines, turned so that most of them run from left to right, whatever the page's own rotation says."""
    flags = fitz.TEXT_PRESERVE_WHITESPACE | fitz.TEXT_MEDIABOX_CLIP | fitz.TEXT_CID_FOR_UNKNOWN_UNICODE
    groups = cast("list[_Group]", page.get_text("dict", flags=flags, textpage=textpage)["blocks"])
    turn = _rotation_matrix(page, _upright(groups, page.rotation))
    area = fitz.Rect(page.rect) * page.derotation_matrix * turn
    links = _links(page) if textpage is None else []
    lines: list[Line] = []
    for index, group in enumerate(groups):
        for line in group.get("lines", ()):
            # Tesseract's invisible font has a fixed pitch, and tells nothing
            styles = [_style(span, links) if textpage is None else Style.PLAIN for span in line["spans"]]
            text = Styled.join("", map(Styled.of, (span["text"] for span in line["spans"]), styles))
            text = clean(text).sub(_SPACES, " ").rstrip().sub(_TORN_LAM_ALEF, r"ل\1")
            if not text.text.strip():
                continue
            main = max(range(len(styles)), key=lambda place: len(line["spans"][place]["text"]))
            box = fitz.Rect(line["bbox"]) * turn
            size, bold, mono = line["spans"][main]["size"], Style.BOLD in styles[main], Style.CODE in styles[main]
            lines.append(Line(text, box.x0, box.y0, box.x1, box.y1, size, bold, mono, index))
    return _View(tuple(lines), turn, abs(area.height) or 1.0)


def _style(span: _Span, links: Sequence[_Rectangle]) -> Style:
    """What a span's font says, and the links over it."""
    style = Style.BOLD if span["flags"] & 16 or _BOLD.search(span["font"]) else Style.PLAIN
    style |= Style.ITALIC if span["flags"] & 2 or _ITALIC.search(span["font"]) else Style.PLAIN
    style |= Style.CODE if span["flags"] & 8 or is_monospaced(span["font"]) else Style.PLAIN
    return style | (Style.LINK if any(_covers(link, span["bbox"]) for link in links) else Style.PLAIN)


def _links(page: "pymupdf.Page") -> list[_Rectangle]:
    """Where a page's links are, in the coordinates of its text."""
    if page.first_link is None:
        return []
    return [tuple(link["from"] * page.derotation_matrix) for link in page.get_links()]


def _covers(link: _Rectangle, span: _Rectangle) -> bool:
    """Whether nearly all of a span's width, and the middle of its height, are under a link."""
    middle = (span[1] + span[3]) / 2
    shared = min(link[2], span[2]) - max(link[0], span[0])
    return link[1] <= middle <= link[3] and shared >= _LINKED * (span[2] - span[0])


def _upright(groups: Sequence[_Group], rotation: int) -> int:
    """The page rotation under which most characters stand upright; the page's own when there are none."""
    weight: Counter[int] = Counter()
    for group in groups:
        for line in group.get("lines", ()):
            x, y = line["dir"]
            angle = (0 if x > 0 else 180) if abs(x) >= abs(y) else (270 if y > 0 else 90)
            weight[angle] += sum(len(span["text"]) for span in line["spans"])
    return weight.most_common(1)[0][0] if weight else rotation


def _rotation_matrix(page: "pymupdf.Page", rotation: int) -> "pymupdf.Matrix":
    """From unrotated page coordinates to those of a reader of the page under `rotation`."""
    own = page.rotation
    if rotation == own:
        return page.rotation_matrix
    page.set_rotation(rotation)
    matrix = page.rotation_matrix
    page.set_rotation(own)
    return matrix


def _page_blocks(
    fitz: ModuleType, page: "pymupdf.Page", view: _View, style: Typography, number: int
) -> Iterator[Block]:
    lines: Sequence[Line] = view.lines
    tables = _tables(fitz, page, view.turn) if lines else []
    if tables:
        lines = [line for line in lines if not any(_inside(line, table) for table in tables)]
    back = ~view.turn * page.rotation_matrix  # to the page as viewers show it
    width, height = page.rect.width or 1.0, page.rect.height or 1.0
    for flow in reading_order([*lines, *tables]):
        for placed in blocks_of(flow, style):
            rect = fitz.Rect(placed.x0, placed.y0, placed.x1, placed.y1) * back
            box = Box(_unit(rect.x0 / width), _unit(rect.y0 / height), _unit(rect.x1 / width), _unit(rect.y1 / height))
            if placed.level and (box.y1 <= _MARGIN or box.y0 >= 1 - _MARGIN) and _DIGITS.search(placed.text.text):
                placed = replace(placed, kind=BlockKind.TEXT, level=0)  # a large running header with its page number
            yield styled_block(placed.kind, placed.text, number, box, placed.level)


def _tables(fitz: ModuleType, page: "pymupdf.Page", turn: "pymupdf.Matrix") -> list[Line]:
    """Tables with ruling lines, each as one line of kind TABLE. Pages with too few rules are left alone: it is slow."""
    rules = 0
    for drawing in page.get_cdrawings():
        x0, y0, x1, y1 = drawing["rect"]
        rules += (x1 - x0 < 2) != (y1 - y0 < 2) and max(x1 - x0, y1 - y0) > _RULE_LENGTH
        rules += drawing["type"] != "f" and min(x1 - x0, y1 - y0) > 5 and drawing["items"][0][0] == "re"
    if rules < _RULES_FOR_TABLE or page.rotation:
        return []
    words = page.get_text("words")
    found: list[Line] = []
    for table in page.find_tables(use_layout=False).tables:
        rows = [row_text(_cell(words, cell) for cell in row.cells) for row in table.rows]
        rows = [row for row in rows if row]
        if table.col_count < 2 or len(rows) < 2 or sum(" | " in row for row in rows) < len(rows) / 2:
            continue
        box = fitz.Rect(table.bbox) * turn
        text = Styled.of("\n".join(rows))
        found.append(Line(text, box.x0, box.y0, box.x1, box.y1, 10.0, False, False, -1, BlockKind.TABLE))
    return found


def _cell(words: Sequence[tuple[float, float, float, float, str, int, int, int]], cell: Sequence[float] | None) -> str:
    """The words whose middle is in a cell, in the file's order: the library's own sorting tears numbers apart."""
    if cell is None:
        return ""
    x0, y0, x1, y1 = cell
    return " ".join(w[4] for w in words if x0 <= (w[0] + w[2]) / 2 < x1 and y0 <= (w[1] + w[3]) / 2 < y1)


def _inside(line: Line, table: Line) -> bool:
    x, y = (line.x0 + line.x1) / 2, (line.y0 + line.y1) / 2
    return table.x0 <= x <= table.x1 and table.y0 <= y <= table.y1


def _ocr(fitz: ModuleType, page: "pymupdf.Page", source: SourceFile, *, deadline: float) -> _View | str:
    """The page as Tesseract reads it, or why it was not read. Sizes are checked before anything is rasterised."""
    images = page.get_images(full=True)
    if not images and not page.get_cdrawings():
        return _View((), page.rotation_matrix, page.rect.height or 1.0)  # a blank page is no fault
    largest = max((image[2] * image[3] for image in images), default=0)
    if largest > source.limits.raster_pixels:
        return f"its image has {largest:,} pixels, the limit is {source.limits.raster_pixels:,}"
    square_inches = page.rect.width * page.rect.height / 72**2
    dpi = min(_OCR_DPI, int((source.limits.raster_pixels / max(square_inches, 1e-6)) ** 0.5))
    if dpi < _MIN_OCR_DPI:
        return f"its {page.rect.width / 72:,.0f} x {page.rect.height / 72:,.0f} inches are too large to rasterise"
    if shutil.which("tesseract") is None:
        return "no OCR is installed (install tesseract-ocr)"
    if time.monotonic() > deadline:
        return f"OCR had used up its {source.limits.ocr_seconds:g} s"
    own = page.rotation
    try:
        page.set_rotation((own + _sideways(fitz, page, dpi)) % 360)
        textpage = page.get_textpage_ocr(language=_ocr_languages(fitz), dpi=dpi, full=True)
    except (RuntimeError, OSError) as error:
        return f"OCR failed ({error})"
    finally:
        page.set_rotation(own)
    return _view(fitz, page, textpage)


def _sideways(fitz: ModuleType, page: "pymupdf.Page", dpi: int) -> int:
    """By how many degrees clockwise a scan must be turned to stand upright; 0 when Tesseract cannot tell."""
    picture = page.get_pixmap(dpi=min(dpi, _ORIENTATION_DPI), colorspace=fitz.csGRAY).tobytes("png")
    command = ["tesseract", "stdin", "stdout", "--psm", "0", "--dpi", str(_ORIENTATION_DPI)]
    found = subprocess.run(command, input=picture, capture_output=True, check=False)
    rotate = re.search(rb"^Rotate: (\d+)", found.stdout, re.M)
    return int(rotate.group(1)) if rotate else 0


def _ocr_languages(fitz: ModuleType) -> str:
    """Every language Tesseract has data for, English first, four at most: each one costs time."""
    from pathlib import Path

    installed = sorted(path.stem for path in Path(fitz.get_tessdata()).glob("*.traineddata"))
    languages = [name for name in installed if name not in ("osd", "equ", "snum")]
    languages.sort(key=lambda name: name != "eng")
    return "+".join(languages[:4]) or "eng"


def _unit(value: float) -> float:
    return min(max(value, 0.0), 1.0)
