"""Makes the documents of the demo corpus that are not written by hand. A second run gives the same bytes.

Needs reportlab beside the packages that Percel itself uses: pip install reportlab==5.1.0
"""

import re
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
ARCHIVE_DATE = (2026, 9, 1, 12, 0, 0)
STAMP = re.compile(rb"(<dcterms:(created|modified)[^>]*>)[^<]*(</dcterms:)")


def build() -> None:
    from makers import agreement, book, ledger, readings, report, scan, slides

    documents: dict[str, Callable[[Path], None]] = {
        "readings-TH-OM-003.csv": readings.write,
        "wadi-samra-flood-report.pdf": report.write,
        "delivery-note-scan.pdf": scan.write,
        "annual-review-2025.pptx": slides.write,
        "maintenance-ledger-2026.xlsx": ledger.write,
        "service-agreement-oman.docx": agreement.write,
        "sixty-winters.epub": book.write,
    }
    for name, write in documents.items():
        path = CORPUS / name
        write(path)
        if zipfile.is_zipfile(path):
            _settle(path)
        print(f"{path.stat().st_size:8,d}  {name}")


def _settle(path: Path) -> None:
    """Rewrites an archive with one fixed date for its members and its Office properties."""
    with zipfile.ZipFile(path) as archive:
        members = [(info, archive.read(info)) for info in archive.infolist()]
    with zipfile.ZipFile(path, "w") as archive:
        for info, content in members:
            settled = zipfile.ZipInfo(info.filename, ARCHIVE_DATE)
            settled.compress_type = zipfile.ZIP_STORED if info.filename == "mimetype" else zipfile.ZIP_DEFLATED
            if info.filename == "docProps/core.xml":
                content = STAMP.sub(rb"\g<1>2026-09-01T12:00:00Z\g<3>", content)
            archive.writestr(settled, content)


if __name__ == "__main__":
    sys.dont_write_bytecode = True  # a compiled module must not end up among the documents
    build()
