"""The two-column flood report TR-2026-07 as a born-digital PDF: text, two ruled tables and two drawn figures."""

from pathlib import Path

from reportlab.lib import colors
from reportlab.lib.enums import TA_JUSTIFY
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    BaseDocTemplate,
    Flowable,
    Frame,
    FrameBreak,
    KeepTogether,
    NextPageTemplate,
    PageTemplate,
    Paragraph,
    Spacer,
    Table,
)

from . import report_figures, report_text

MARGIN = 18 * mm
GAP = 7 * mm
COLUMN = (A4[0] - 2 * MARGIN - GAP) / 2
TITLE_HEIGHT = 57 * mm
NAVY = colors.HexColor("#17375e")

BODY = ParagraphStyle("body", fontName="Times-Roman", fontSize=10, leading=12.4, alignment=TA_JUSTIFY, spaceAfter=4)
HEADING = ParagraphStyle(
    "heading",
    fontName="Helvetica-Bold",
    fontSize=11,
    leading=13,
    textColor=NAVY,
    spaceBefore=7,
    spaceAfter=3,
    keepWithNext=1,
)
CAPTION = ParagraphStyle("caption", fontName="Helvetica", fontSize=7.8, leading=9.6, spaceBefore=3, spaceAfter=6)
CELL = ParagraphStyle("cell", fontName="Helvetica", fontSize=7.8, leading=9.4)
CELL_HEAD = ParagraphStyle("cell-head", parent=CELL, fontName="Helvetica-Bold")
TITLE = ParagraphStyle("title", fontName="Helvetica-Bold", fontSize=18, leading=22, textColor=NAVY, spaceAfter=4)
AUTHORS = ParagraphStyle("authors", fontName="Helvetica", fontSize=9, leading=12, spaceAfter=6)
ABSTRACT = ParagraphStyle("abstract", parent=BODY, fontName="Times-Italic", fontSize=9.6, leading=11.8)


def write(path: Path) -> None:
    def frames(height: float) -> list[Frame]:
        bottom = 20 * mm
        return [
            Frame(
                MARGIN + i * (COLUMN + GAP),
                bottom,
                COLUMN,
                height,
                leftPadding=0,
                rightPadding=0,
                topPadding=0,
                id=f"c{i}",
            )
            for i in range(2)
        ]

    full = A4[1] - 20 * mm - 24 * mm
    title = Frame(MARGIN, 20 * mm + full - TITLE_HEIGHT, A4[0] - 2 * MARGIN, TITLE_HEIGHT, 0, 0, 0, 0, id="title")
    document = BaseDocTemplate(
        str(path),
        pagesize=A4,
        invariant=1,
        title=report_text.TITLE,
        author="Tarnholm Hydrometry AB",
        subject="TR-2026-07",
    )
    document.addPageTemplates(
        [
            PageTemplate("first", [title, *frames(full - TITLE_HEIGHT - 2 * mm)], onPage=_decorate),
            PageTemplate("later", frames(full), onPage=_decorate),
        ]
    )
    document.build(_story())


def _story() -> list[Flowable]:
    story: list[Flowable] = [
        NextPageTemplate("later"),
        Paragraph(report_text.TITLE, TITLE),
        Paragraph(report_text.AUTHORS, AUTHORS),
        Paragraph(f"<b>Summary.</b> {' '.join(report_text.SUMMARY.split())}", ABSTRACT),
        FrameBreak(),
    ]
    for block in report_text.BODY.strip().split("\n\n"):
        text = " ".join(block.split())
        match text.split(" ", 1):
            case ["#", heading]:
                story.append(Paragraph(heading, HEADING))
            case ["!", "break"]:
                story.append(FrameBreak())
            case ["!", "hydrograph"]:
                story.append(_figure(report_figures.Hydrograph(COLUMN), report_text.HYDROGRAPH_CAPTION))
            case ["!", "rating"]:
                story.append(_figure(report_figures.Rating(COLUMN), report_text.RATING_CAPTION))
            case ["!", "timeline"]:
                story.append(_table(report_text.TIMELINE, report_text.TIMELINE_CAPTION, [0.16, 0.3, 0.54]))
            case ["!", "gaugings"]:
                story.append(_table(report_text.GAUGINGS, report_text.GAUGINGS_CAPTION, [0.24, 0.2, 0.19, 0.2, 0.17]))
            case ["!", "costs"]:
                story.append(_table(report_text.COSTS, report_text.COSTS_CAPTION, [0.7, 0.3]))
            case _:
                story.append(Paragraph(text, BODY))
    return story


def _figure(figure: Flowable, caption: str) -> Flowable:
    return KeepTogether([Spacer(1, 3), figure, Paragraph(caption, CAPTION)])


def _table(rows: list[list[str]], caption: str, shares: list[float]) -> Flowable:
    cells = [[Paragraph(text, CELL_HEAD if i == 0 else CELL) for text in row] for i, row in enumerate(rows)]
    table = Table(cells, colWidths=[share * COLUMN for share in shares], repeatRows=1)
    table.setStyle(
        [
            ("GRID", (0, 0), (-1, -1), 0.4, colors.HexColor("#7f8fa3")),
            ("BACKGROUND", (0, 0), (-1, 0), colors.HexColor("#e4eaf1")),
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("TOPPADDING", (0, 0), (-1, -1), 2),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 2.5),
            ("LEFTPADDING", (0, 0), (-1, -1), 3),
            ("RIGHTPADDING", (0, 0), (-1, -1), 3),
        ]
    )
    return KeepTogether([Spacer(1, 3), Paragraph(caption, CAPTION), table, Spacer(1, 7)])


def _decorate(canvas: Canvas, document: BaseDocTemplate) -> None:
    canvas.saveState()
    canvas.setFont("Helvetica", 8)
    canvas.setFillColor(NAVY)
    top = A4[1] - 14 * mm
    canvas.drawString(MARGIN, top, "Tarnholm Hydrometry AB  |  Technical Report TR-2026-07")
    canvas.drawRightString(A4[0] - MARGIN, top, "12 June 2026")
    canvas.setStrokeColor(NAVY)
    canvas.setLineWidth(0.6)
    canvas.line(MARGIN, top - 2 * mm, A4[0] - MARGIN, top - 2 * mm)
    canvas.drawCentredString(A4[0] / 2, 11 * mm, f"Page {document.page}")
    canvas.restoreState()
