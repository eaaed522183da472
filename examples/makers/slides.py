"""The slides of the annual review: seven slides with bullets, a table, drawn bars and speaker notes."""

from datetime import datetime
from pathlib import Path

from pptx import Presentation
from pptx.dml.color import RGBColor
from pptx.enum.shapes import MSO_SHAPE
from pptx.presentation import Presentation as Deck
from pptx.slide import Slide
from pptx.util import Cm, Pt

NAVY = RGBColor(0x17, 0x37, 0x5E)
BLUE = RGBColor(0x1F, 0x6F, 0xB2)

REVENUE = [("2021", 58.3), ("2022", 66.7), ("2023", 71.9), ("2024", 79.1), ("2025", 86.4)]

REGIONS = [
    ["Country", "Stations", "Availability", "Revenue (SEK million)"],
    ["Sweden", "21", "99.3 %", "47.2"],
    ["Oman", "7", "98.8 %", "19.5"],
    ["Chile", "6", "97.9 %", "11.6"],
    ["China", "4", "98.6 %", "8.1"],
    ["All", "38", "98.9 %", "86.4"],
]

BULLETS = {
    "What went well": (
        [
            "Three new stations in Chile under the Maule contract, worth USD 412,000 over four years",
            "No lost-time accident for the third year; 64 near misses reported",
            "LX-210 deliveries to outside customers: 318 units (2024: 241)",
            "Patent SE 546 118 granted for the spider guard of the radar lens",
        ],
        "Jonas: thank the Talca crew by name. Tomás Arriagada drove 41,000 km last year.",
    ),
    "What did not": (
        [
            "Availability in Chile missed the target of 98.5 %: two thefts of solar panels, one landslide",
            "Firmware 3.8.0 was withdrawn after nine days; 3.8.1 still loses readings in rare cases",
            "Receivables over 90 days grew to SEK 4.7 million, mostly one customer",
            "Delivery time of radar front ends rose from 14 to 33 weeks in the autumn",
        ],
        "Petter answers questions on 3.8.1. The reproduction at Mellanbro in January is new, do not promise a date.",
    ),
    "Plan for 2026": (
        [
            "44 stations by the end of the year: three in Oman, two in Chile, one in Sweden",
            "Tow tank in Yichang: new carriage drive, CNY 1.26 million, stop of six weeks from August",
            "Two hires in firmware, one hydrologist in Muscat",
            "Investment budget SEK 9.8 million, of which 2.1 million for spare radar front ends",
            "Price list raised by 2.5 % on 1 March",
        ],
        "The board approved the budget on 11 December 2025.",
    ),
    "Risks we watch": (
        [
            "Single supplier for the 80 GHz front end; second source under test since October",
            "Customs in Shanghai: calibration shipments held for up to 19 days",
            "A long silence of a station that warns others: no case in 2025, exercise planned for May",
            "Currency: one third of revenue is in OMR and USD, hedged to 60 %",
        ],
        "",
    ),
}


def write(path: Path) -> None:
    deck = Presentation()
    deck.slide_width, deck.slide_height = Cm(33.867), Cm(19.05)
    first = deck.slides.add_slide(deck.slide_layouts[0])
    assert first.shapes.title is not None
    first.shapes.title.text = "Annual review 2025"
    first.placeholders[1].text = "Tarnholm Hydrometry AB\nÖstersund, 22 January 2026\nJonas Bergvall, managing director"
    _widen(first)
    _revenue(deck)
    _regions(deck)
    for heading, (lines, notes) in BULLETS.items():
        slide = deck.slides.add_slide(deck.slide_layouts[1])
        _title(slide, heading)
        frame = slide.placeholders[1].text_frame
        for i, line in enumerate(lines):
            paragraph = frame.paragraphs[0] if i == 0 else frame.add_paragraph()
            paragraph.text = line
            paragraph.font.size = Pt(22)
            paragraph.space_after = Pt(10)
        if notes:
            slide.notes_slide.notes_text_frame.text = notes
        _widen(slide)
    properties = deck.core_properties
    properties.title, properties.author = "Annual review 2025", "Jonas Bergvall"
    properties.created = properties.modified = datetime(2026, 1, 22)
    deck.save(str(path))


def _revenue(deck: Deck) -> None:
    slide = deck.slides.add_slide(deck.slide_layouts[5])
    _title(slide, "Revenue rose by 9 % to SEK 86.4 million")
    for i, (year, amount) in enumerate(REVENUE):
        left, height = Cm(3 + 5.5 * i), Cm(amount * 0.1)
        bar = slide.shapes.add_shape(MSO_SHAPE.RECTANGLE, left, Cm(14.5) - height, Cm(3.6), height)
        bar.fill.solid()
        bar.fill.fore_color.rgb = NAVY if year == "2025" else BLUE
        bar.line.fill.background()
        _text(slide, f"{amount}", left, Cm(13.3) - height)
        _text(slide, year, left, Cm(14.6))
    _text(
        slide,
        "SEK million. Operating profit 2025: 7.9 million (9.1 %). Order backlog: 31.2 million.",
        Cm(3),
        Cm(16.4),
        28,
    )
    slide.notes_slide.notes_text_frame.text = "Figures are audited except the backlog, which is as of 15 January 2026."
    _widen(slide)


def _regions(deck: Deck) -> None:
    slide = deck.slides.add_slide(deck.slide_layouts[5])
    _title(slide, "38 stations in four countries")
    shape = slide.shapes.add_table(len(REGIONS), len(REGIONS[0]), Cm(3), Cm(5), Cm(27), Cm(9))
    for i, row in enumerate(REGIONS):
        for j, text in enumerate(row):
            shape.table.cell(i, j).text = text
    _text(slide, "57 employees at the end of the year (2024: 53), of whom 31 in Östersund.", Cm(3), Cm(15.2), 28)
    _widen(slide)


def _title(slide: Slide, text: str) -> None:
    assert slide.shapes.title is not None
    slide.shapes.title.text = text
    run = slide.shapes.title.text_frame.paragraphs[0].runs[0]
    run.font.size, run.font.bold, run.font.color.rgb = Pt(32), True, NAVY


def _text(slide: Slide, text: str, left: int, top: int, width_cm: float = 4.0) -> None:
    box = slide.shapes.add_textbox(left, top, Cm(width_cm), Cm(1.2))
    box.text_frame.text = text
    box.text_frame.paragraphs[0].font.size = Pt(18)


def _widen(slide: Slide) -> None:
    """The default template is 4:3; its placeholders are moved to fill a 16:9 slide."""
    tops = {0: (Cm(1.2), Cm(2.6)), 1: (Cm(4.6), Cm(12.5))}
    if slide.slide_layout.name == "Title Slide":
        tops = {0: (Cm(5), Cm(4)), 1: (Cm(10), Cm(5))}
    for placeholder in slide.placeholders:
        top, height = tops[placeholder.placeholder_format.idx]
        placeholder.left, placeholder.top, placeholder.width, placeholder.height = Cm(2.5), top, Cm(28.8), height
