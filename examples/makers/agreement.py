"""The service agreement for Wadi Samra as a Word document: numbered headings, a list and two tables."""

from datetime import datetime
from pathlib import Path

from docx import Document
from docx.document import Document as WordDocument
from docx.shared import Pt

PARTIES = """
This agreement is made in Muscat on 18 January 2026 between the Samra Valley Water Directorate, Al Hail, Sultanate of Oman
(“the Directorate”), represented by its Director General, Eng. Yusuf Al-Maskari, and Tarnholm Hydrometry AB, Fabriksgatan 11,
831 40 Östersund, Sweden, company number 556412-0417 (“the Operator”), represented by its managing director, Jonas Bergvall.
"""

CLAUSES = """
# 1 Subject
1.1 The Operator measures water levels and discharges at the stations listed in Annex A, maintains the stations, and warns the Directorate of floods.
1.2 The agreement replaces agreement TH/OM/2021-01, which ends on 31 January 2026.
# 2 Term
2.1 The agreement takes effect on 1 February 2026 and runs for thirty-six months.
2.2 Either party may end it by written notice of ninety days to the end of a quarter, for the first time to 31 March 2027.
2.3 On termination the stations pass to the Directorate against payment of their book value, which is written down in equal parts over eight years.
# 3 Duties of the Operator
3.1 The Operator shall in particular
* visit each station at least four times a year and after each flood above the alert level;
* carry out at least six discharge measurements per station and year;
* staff a duty desk at all hours that confirms an alert within ten minutes;
* keep the readings for thirty years and hand over a copy each January;
* report every loss of a station that warns others, in writing, within two hours.
3.2 Work by sub-contractors counts as work of the Operator. The Operator names them in advance.
# 4 Availability
4.1 The readings of each station shall be available for 98.5 per cent of each calendar month. Estimated readings count up to three per cent.
4.2 For each station and each day by which a month falls short, the Operator credits OMR 350 to the Directorate. The credits of one year do not exceed twelve per cent of the annual fee.
4.3 Hours lost through force majeure, vandalism or works ordered by the Directorate are not counted.
# 5 Response
5.1 The Operator restores a failed station within the times of the following table, counted from the first missing message.
! response
# 6 Fees and payment
6.1 The annual fee is OMR 64,200.000, payable in four equal parts on the first day of each quarter, within thirty days of the invoice.
6.2 The fee rises each February by the change of the Omani consumer price index, but by not more than three per cent.
6.3 Damage by floods is repaired by the Operator. If the stage at Al Hail bridge exceeded 5.00 m, the Directorate bears half of the cost of repair, against invoices.
# 7 Liability
7.1 The Operator is liable for damage caused by gross negligence without limit, otherwise up to one annual fee per year.
7.2 The Operator is not liable for decisions that authorities take or omit after a warning has been delivered.
7.3 The Operator keeps a liability insurance of at least EUR 5,000,000 per event and proves it each year. The present policy is number NB-771-20934-6.
# 8 Data
8.1 Readings belong to the Directorate. The Operator may use them for research and publishes them no earlier than six months after their recording, except with consent.
8.2 Personal data, including camera images that show people, are deleted after fourteen days.
# 9 Confidentiality
9.1 The parties keep confidential what is marked so, for five years beyond the term.
# 10 Disputes
10.1 The parties first seek a settlement between their directors within thirty days. Failing that, disputes are settled by arbitration in Muscat under the rules of the Oman Commercial Arbitration Centre, by one arbitrator, in English.
10.2 The law of the Sultanate of Oman applies. The Arabic and the English text are both valid; where they differ, the Arabic prevails.
"""

RESPONSE = [
    ["Priority", "Meaning", "Restored within"],
    ["1", "a station with a siren is silent", "12 hours"],
    ["2", "readings are missing or wrong, no siren affected", "72 hours"],
    ["3", "camera, rain gauge or cosmetic fault", "21 days"],
]

STATIONS = [
    ["Station", "Place", "Instrument", "Logger", "Alert", "Alarm"],
    ["TH-OM-003", "Al Hail bridge", "HG4-2231187", "LX210-77403", "3.20 m", "4.50 m"],
    ["TH-OM-005", "Upper gorge", "HG4-2231192", "LX210-77409", "3.00 m", "4.20 m"],
]


def write(path: Path) -> None:
    document = Document()
    document.styles["Normal"].font.name = "Calibri"
    document.styles["Normal"].font.size = Pt(11)
    document.add_heading("Service agreement TH/OM/2026-02", level=0)
    document.add_paragraph("Measurement of water levels and flood warning in Wadi Samra", style="Subtitle")
    document.add_paragraph(" ".join(PARTIES.split()))
    for line in CLAUSES.strip().splitlines():
        mark, text = line.split(" ", 1)
        if mark == "#":
            document.add_heading(text, level=1)
        elif mark == "*":
            document.add_paragraph(text, style="List Bullet")
        elif mark == "!":
            _table(document, RESPONSE)
        else:
            document.add_paragraph(line)
    document.add_heading("Annex A: stations and levels", level=1)
    _table(document, STATIONS)
    document.add_paragraph("The levels may be changed by exchange of letters. A third station at Al Ayn may be added.")
    document.add_paragraph("Signed for the Directorate: Yusuf Al-Maskari. Signed for the Operator: Jonas Bergvall.")
    properties = document.core_properties
    properties.title, properties.author = "Service agreement TH/OM/2026-02", "Tarnholm Hydrometry AB"
    properties.created = properties.modified = datetime(2026, 1, 18)
    document.save(str(path))


def _table(document: WordDocument, rows: list[list[str]]) -> None:
    table = document.add_table(rows=0, cols=len(rows[0]), style="Light Grid Accent 1")
    for row in rows:
        for cell, text in zip(table.add_row().cells, row, strict=True):
            cell.text = text
    document.add_paragraph()
