"""A delivery note and its invoice as they come out of an office scanner: grey, a little crooked, no text layer."""

import io
import random
from pathlib import Path

import numpy as np
from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from reportlab.lib.pagesizes import A4
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

DPI = 170
WIDTH, HEIGHT = 1405, 1987  # A4 at 170 dpi
LEFT, RIGHT = 120, 1290

SENDER = ["Tarnholm Hydrometry AB", "Fabriksgatan 11, 831 40 Östersund, Sweden", "VAT no. SE556412041701"]
RECEIVER = ["Tarnholm Hydrometry, Muscat office", "c/o Al Hail Stores, Warehouse 6", "Way 4417, Ghala, Muscat, Oman"]

GOODS = [
    ["1", "2", "HG-4 radar water level gauge", "HG4-2614402, HG4-2614403"],
    ["2", "1", "LX-210 data logger, LTE and Iridium", "LX210-81975"],
    ["3", "1", "FV-2 surface velocity radar", "FV2-0600318"],
    ["4", "24", "Blade fuse 10 A, part 540-1010", "lot 26-113"],
    ["5", "2", "Mounting arm, galvanised, 1.5 m", "-"],
]
PRICES = [
    ["1", "2", "HG-4 radar water level gauge", "5,480.00", "10,960.00"],
    ["2", "1", "LX-210 data logger, LTE and Iridium", "2,315.00", "2,315.00"],
    ["3", "1", "FV-2 surface velocity radar", "4,120.00", "4,120.00"],
    ["4", "24", "Blade fuse 10 A, part 540-1010", "1.85", "44.40"],
    ["5", "2", "Mounting arm, galvanised, 1.5 m", "310.00", "620.00"],
]
SUMS = [["Goods", "18,059.40"], ["Air freight and insurance", "403.10"], ["VAT 0 % (export)", "0.00"]]


def write(path: Path) -> None:
    rng = random.Random(20418)
    canvas = Canvas(str(path), pagesize=A4, invariant=1)
    canvas.setTitle("Scan_2026-05-12_0917")
    for number, (page, tilt) in enumerate([(_delivery_note(rng), 0.55), (_invoice(rng), -0.4)]):
        jpeg = io.BytesIO()
        _through_scanner(page, tilt, seed=number).save(jpeg, "JPEG", quality=42, dpi=(DPI, DPI))
        canvas.drawImage(ImageReader(jpeg), 0, 0, *A4)
        canvas.showPage()
    canvas.save()


def _delivery_note(rng: random.Random) -> Image.Image:
    page, draw = _letterhead("DELIVERY NOTE", ["No. DN-20418", "Date: 6 May 2026", "Order: PO-26-0133", "Page 1 of 1"])
    y = _table(draw, 700, ["Pos.", "Qty", "Description", "Serial numbers"], GOODS, [LEFT, 200, 290, 800])
    for line in [
        "Shipment: 2 cases, 31.6 kg gross, air waybill 157-4482 0916.",
        "The gauges were tested on 5 May 2026 against the plate at 5.000 m; greatest error 1.2 mm.",
        "Lithium cells are packed apart, see declaration L-77.",
    ]:
        draw.text((LEFT, y), line, font=_font(25), fill=25)
        y += 42
    draw.text((LEFT, y + 40), "Packed by: H. Lindgren", font=_font(25), fill=25)
    draw.text((LEFT, y + 130), "Received in good condition:", font=_font(25), fill=25)
    _signature(draw, (520, y + 150), rng, loops=0.9)
    draw.line((500, y + 180, 980, y + 180), fill=60, width=2)
    draw.text((500, y + 190), "S. Al-Harthi, Muscat, 12 May 2026", font=_font(23), fill=25)
    remark = "one case dented, contents complete"
    draw.text((LEFT, y + 270), "Remarks:", font=_font(25), fill=25)
    draw.text((270, y + 264), remark, font=_font(30, "DejaVuSerif-Italic"), fill=60)
    _stamp(page, (960, y - 10), ["GOODS IN", "12 MAY 2026", "MUSCAT"])
    return page


def _invoice(rng: random.Random) -> Image.Image:
    page, draw = _letterhead(
        "INVOICE", ["No. INV-2026-0831", "Date: 8 May 2026", "Due: 7 June 2026", "Delivery note: DN-20418"]
    )
    columns = [LEFT, 200, 290, 900, 1110]
    y = _table(draw, 700, ["Pos.", "Qty", "Description", "Each (EUR)", "Sum (EUR)"], PRICES, columns)
    for label, amount in SUMS:
        draw.text((700, y), label, font=_font(25), fill=25)
        draw.text((RIGHT - 10, y), amount, font=_font(25), fill=25, anchor="ra")
        y += 44
    draw.line((700, y, RIGHT, y), fill=30, width=3)
    draw.text((700, y + 14), "Total EUR", font=_font(30, "DejaVuSans-Bold"), fill=15)
    draw.text((RIGHT - 10, y + 14), "18,462.50", font=_font(30, "DejaVuSans-Bold"), fill=15, anchor="ra")
    y += 130
    for line in [
        "Please pay within 30 days and quote the reference 2026 0831 74.",
        "Customs tariff 9026.10, country of origin Sweden. Terms of delivery: CIP Muscat (Incoterms 2020).",
        "Interest on late payment: 8 percentage points above the reference rate.",
    ]:
        draw.text((LEFT, y), line, font=_font(24), fill=25)
        y += 42
    draw.text((LEFT, y + 40), "Ewa Kowalczyk, Finance", font=_font(25), fill=25)
    _signature(draw, (LEFT + 20, y + 130), rng, loops=0.62)
    _stamp(page, (900, y + 40), ["APPROVED", "CC 7140", "E.K."])
    return page


def _letterhead(title: str, facts: list[str]) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    page = Image.new("L", (WIDTH, HEIGHT), 246)
    draw = ImageDraw.Draw(page)
    draw.text((LEFT, 110), SENDER[0], font=_font(34, "DejaVuSans-Bold"), fill=15)
    for i, line in enumerate(SENDER[1:]):
        draw.text((LEFT, 160 + 36 * i), line, font=_font(23), fill=30)
    draw.line((LEFT, 250, RIGHT, 250), fill=40, width=3)
    for i, line in enumerate(RECEIVER):
        draw.text((LEFT, 320 + 40 * i), line, font=_font(26), fill=25)
    draw.text((LEFT, 530), title, font=_font(44, "DejaVuSans-Bold"), fill=15)
    for i, line in enumerate(facts):
        draw.text((860, 320 + 42 * i), line, font=_font(26), fill=25)
    return page, draw


def _table(draw: ImageDraw.ImageDraw, y: int, head: list[str], rows: list[list[str]], columns: list[int]) -> int:
    for i, row in enumerate([head, *rows]):
        font = _font(24, "DejaVuSans-Bold" if i == 0 else "DejaVuSans")
        for x, text in zip(columns, row, strict=True):
            draw.text((x + 8, y + 10), text, font=font, fill=20)
        draw.line((LEFT, y + 50, RIGHT, y + 50), fill=70, width=3 if i == 0 else 1)
        y += 58
    return y + 40


def _signature(draw: ImageDraw.ImageDraw, at: tuple[int, int], rng: random.Random, *, loops: float) -> None:
    x, y = at
    points = [(float(x), float(y))]
    for step in range(1, 60):
        swing = np.sin(step * loops) * 26 * (1 - step / 90)
        points.append((x + step * 5.2 + np.cos(step * 0.7) * 16, y + swing + rng.uniform(-2, 2)))
    draw.line(points, fill=70, width=4, joint="curve")


def _stamp(page: Image.Image, at: tuple[int, int], lines: list[str]) -> None:
    stamp = Image.new("L", (300, 170), 0)
    draw = ImageDraw.Draw(stamp)
    draw.rounded_rectangle((6, 6, 293, 163), radius=16, outline=255, width=5)
    for i, line in enumerate(lines):
        draw.text((150, 42 + 44 * i), line, font=_font(30, "DejaVuSans-Bold"), fill=255, anchor="mm")
    stamp = stamp.rotate(7, expand=True, resample=Image.Resampling.BICUBIC)
    page.paste(120, at, stamp.point(lambda level: int(level * 0.8)))


def _through_scanner(page: Image.Image, tilt: float, *, seed: int) -> Image.Image:
    """Tilt, shading towards one edge, paper grain and the soft focus of the glass."""
    turned = page.rotate(tilt, resample=Image.Resampling.BICUBIC, fillcolor=232)
    pixels = np.asarray(turned.filter(ImageFilter.GaussianBlur(0.7)), dtype=np.float32)  # (height, width)
    grain = np.random.default_rng(seed).normal(0, 3.0, pixels.shape)
    shade = np.linspace(0, -14, WIDTH)[None, :]
    return Image.fromarray(np.clip(pixels + grain + shade, 0, 255).astype(np.uint8))


def _font(size: int, name: str = "DejaVuSans") -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(f"{get_data_path()}/fonts/ttf/{name}.ttf", size)
