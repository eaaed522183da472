"""The maintenance ledger: a workbook with a sheet of purchases and a sheet of calibrations."""

from datetime import date
from decimal import Decimal
from pathlib import Path

from openpyxl import Workbook
from openpyxl.styles import Font, PatternFill
from openpyxl.worksheet.worksheet import Worksheet

PURCHASES = """
PO-26-0102|2026-01-12|Sundsvall Geoteknik|annual check of three levels|workshop|18,900.00|SEK|paid
PO-26-0104|2026-01-15|Kvarnberg Elektronik|120 lithium cells 3.6 V for logger clocks|workshop|9,480.00|SEK|paid
PO-26-0107|2026-01-21|Jämt Helikopter|lift of fuel cell, 1.4 h|TH-SE-014|31,640.00|SEK|paid
PO-26-0109|2026-01-29|Baterías del Maule|2 lead-acid batteries 65 Ah|TH-CL-002|318,600|CLP|paid
PO-26-0112|2026-02-05|Al Hajar Contracting|site visit upper gorge, fuse and fence|TH-OM-005|286.000|OMR|paid
PO-26-0115|2026-02-11|Yichang Sanxia Seals|60 lens seals for HG-4|laboratory|5,100.00|CNY|paid
PO-26-0117|2026-02-18|Bergslagen Stål|14 mounting arms, galvanised|workshop|41,300.00|SEK|paid
PO-26-0120|2026-03-02|Norrfrakt|air freight of nine gauges to Yichang|laboratory|3,870.00|EUR|paid
PO-26-0124|2026-03-17|Yichang Jili Locks|new door lock, key Q-17|TH-CN-001|240.00|CNY|paid
PO-26-0128|2026-04-16|Al Hajar Contracting|repair of fence, mast guy and track|TH-OM-005|1,845.500|OMR|paid
PO-26-0129|2026-04-20|Muscat Survey House|levelling of flood marks, section survey|TH-OM-003|940.000|OMR|paid
PO-26-0131|2026-04-27|Kvarnberg Elektronik|450 blade fuses 10 A, part 540-1010|all stations|7,245.00|SEK|paid
PO-26-0133|2026-05-04|Tarnholm workshop (internal)|spares for Oman, delivery note DN-20418|Muscat store|18,462.50|EUR|paid
PO-26-0138|2026-05-19|Andes Telemetría|camera and mast bracket|TH-CL-002|1,284.60|USD|paid
PO-26-0141|2026-06-03|Bohus Plast|40 drain plugs for steel boxes|workshop|1,960.00|SEK|paid
PO-26-0147|2026-06-24|Hubei Chuandong Drives|tow tank carriage drive, first instalment 40 %|laboratory|504,000.00|CNY|paid
PO-26-0152|2026-07-08|Mellanbro Smide|bent arm straightened, spare arm made|TH-SE-022|6,750.00|SEK|paid
PO-26-0155|2026-07-30|Al Ayn Earthworks|foundation for third station|Al Ayn|4,120.000|OMR|open
PO-26-0158|2026-08-13|Iridium reseller Nordsat|prepaid satellite data, 12 months|all stations|8,316.00|EUR|open
PO-26-0160|2026-08-21|Tröndelag Båt|hull inspection of survey boat Forsen II|workshop|14,200.00|NOK|open
"""

CALIBRATIONS = """
HG4-2231187|TH-OM-003|2026-03-09|YC-2026-0312|0.9|0.4|pass|2028-03-09
HG4-2231192|TH-OM-005|2026-03-09|YC-2026-0313|1.4|0.6|pass|2028-03-09
HG4-2230701|TH-OM-001|2026-03-10|YC-2026-0311|0.8|0.3|pass|2028-03-10
HG4-2230705|TH-OM-002|2026-03-10|YC-2026-0314|1.1|0.5|pass|2028-03-10
HG4-2105288|TH-SE-009|2026-03-11|YC-2026-0315|1.2|0.7|pass|2028-03-11
HG4-2230764|TH-CL-002|2026-03-11|YC-2026-0316|0.7|0.4|pass|2028-03-11
HG4-2230770|TH-CL-004|2026-03-12|YC-2026-0317|1.0|0.5|pass|2028-03-12
HG4-2105301|TH-SE-017|2026-03-12|YC-2026-0318|1.3|0.6|pass|2028-03-12
HG4-1911236|spare|2026-03-13|-|3.7|1.9|fail: moisture behind lens|-
HG4-1911236|spare|2026-03-18|YC-2026-0319|1.1|0.5|pass after new seal|2028-03-18
HG4-1908045|TH-SE-014|2025-02-17|YC-2025-0204|1.6|0.7|pass|2027-02-17
HG4-2105310|TH-SE-022|2025-02-19|YC-2025-0211|0.9|0.4|pass|2027-02-19
HG4-1907712|TH-CN-001|2025-09-22|YC-2025-0230|1.2|0.6|pass|2027-09-22
"""

PURCHASE_HEAD = ["Order", "Date", "Supplier", "What", "Station or place", "Amount", "Currency", "State"]
CALIBRATION_HEAD = [
    "Serial",
    "Station",
    "Date",
    "Certificate",
    "Greatest error (mm)",
    "Mean error (mm)",
    "Result",
    "Next due",
]


def write(path: Path) -> None:
    book = Workbook()
    purchases = book.active
    assert isinstance(purchases, Worksheet)
    purchases.title = "Purchases 2026"
    _fill(purchases, PURCHASE_HEAD, PURCHASES, [13, 12, 28, 46, 18, 14, 10, 8])
    for row in purchases.iter_rows(min_row=2):
        row[1].number_format = "yyyy-mm-dd"
        row[5].number_format = (
            "#,##0.000" if row[6].value == "OMR" else "#,##0" if row[6].value == "CLP" else "#,##0.00"
        )
    calibrations = book.create_sheet("Calibrations")
    _fill(calibrations, CALIBRATION_HEAD, CALIBRATIONS, [14, 12, 12, 16, 18, 16, 28, 12])
    book.properties.title = "Maintenance ledger 2026"
    book.properties.creator = "Ewa Kowalczyk"
    book.save(path)


def _fill(sheet: Worksheet, head: list[str], text: str, widths: list[int]) -> None:
    sheet.append(head)
    for line in text.strip().splitlines():
        sheet.append([_value(cell) for cell in line.split("|")])
    for cell, width in zip(sheet[1], widths, strict=True):
        cell.font = Font(bold=True)
        cell.fill = PatternFill("solid", fgColor="DCE6F1")
        sheet.column_dimensions[cell.column_letter].width = width
    for row in sheet.iter_rows(min_row=2):
        for cell in row:
            if isinstance(cell.value, date):
                cell.number_format = "yyyy-mm-dd"
    sheet.freeze_panes = "A2"
    sheet.auto_filter.ref = sheet.dimensions


def _value(cell: str) -> str | date | Decimal:
    plain = cell.replace(",", "")
    if plain.replace(".", "", 1).isdigit():
        return Decimal(plain)
    if len(cell) == 10 and cell[4] == cell[7] == "-":
        return date.fromisoformat(cell)
    return cell
