"""Bad files end in one error that names them and says what to do. Every file is made here."""

import io
import random
import re
import zipfile
from dataclasses import replace

import pymupdf
import pytest

from compressor.errors import (
    DamagedDocument,
    DocumentTooLarge,
    EmptyDocument,
    EncryptedDocument,
    UnsupportedFormat,
)
from compressor.limits import Limits
from compressor.parse import parse

LIMITS = Limits()


def pdf(pages: int = 1) -> pymupdf.Document:
    document = pymupdf.open()
    for _ in range(pages):
        document.new_page().insert_text((72, 72), "Invoice 4711 is due.")
    return document


def written_pdf(objects: list[bytes]) -> bytes:
    """A PDF of the given objects, numbered from 1; the first is the catalog."""
    data, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(data))
        data += b"%d 0 obj%sendobj\n" % (number, body)
    count = len(objects) + 1
    table = b"xref\n0 %d\n0000000000 65535 f \n" % count + b"".join(b"%010d 00000 n \n" % o for o in offsets)
    return data + table + b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (count, len(data))


def parsed(tmp_path, data: bytes, name: str, *, limits: Limits = LIMITS):
    path = tmp_path / "blob"  # blobs have no names: only `name` says what the caller called it
    path.write_bytes(data)
    return parse(path, name=name, limits=limits)


def test_an_empty_file(tmp_path):
    with pytest.raises(EmptyDocument, match=r"^nothing\.txt is empty: it has no bytes\.$"):
        parsed(tmp_path, b"", "nothing.txt")


def test_a_file_of_white_space(tmp_path):
    with pytest.raises(EmptyDocument, match=r"^blank\.txt has no text\.$"):
        parsed(tmp_path, b" \n\t\n", "blank.txt")


def test_a_file_over_the_size_limit(tmp_path):
    with pytest.raises(DocumentTooLarge, match=r"^big\.txt has 1,001 bytes, the limit is 1,000\. Split the file\.$"):
        parsed(tmp_path, b"x" * 1001, "big.txt", limits=replace(LIMITS, bytes=1000))


@pytest.mark.parametrize("name", ["big.txt", "big.csv", "big.json", "big.py"])
def test_more_text_than_the_limit(tmp_path, name):
    limits = replace(LIMITS, characters=1000)
    with pytest.raises(DocumentTooLarge, match=r"1,000. Split the file"):
        parsed(tmp_path, b"[1]\n" * 500, name, limits=limits)


def test_a_pdf_without_pages(tmp_path):
    data = written_pdf([b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[]/Count 0>>"])
    with pytest.raises(EmptyDocument, match=r"^zero\.pdf is a PDF without pages\.$"):
        parsed(tmp_path, data, "zero.pdf")


def test_an_encrypted_pdf(tmp_path):
    data = pdf().tobytes(encryption=pymupdf.PDF_ENCRYPT_AES_256, user_pw="1234", owner_pw="5678")
    with pytest.raises(EncryptedDocument, match=r"^secret\.pdf needs a password\. Save it without one"):
        parsed(tmp_path, data, "secret.pdf")


def test_a_pdf_cut_off_before_its_first_page(tmp_path):
    said = "half.pdf is a damaged or truncated PDF: it cannot be opened. Save it again."
    with pytest.raises(DamagedDocument, match=f"^{re.escape(said)}$"):
        parsed(tmp_path, pdf().tobytes()[:60], "half.pdf")


def test_a_pdf_cut_off_near_its_end_is_repaired_with_a_warning(tmp_path):
    data = pdf(3).tobytes()
    document = parsed(tmp_path, data[: int(len(data) * 0.97)], "cut.pdf")
    assert document.blocks[0].text == "Invoice 4711 is due."
    assert document.warnings == ("cut.pdf is damaged and was repaired; some of its pages or text may be missing.",)


def test_a_pdf_over_the_page_cap(tmp_path):
    kids = b" ".join(b"%d 0 R" % number for number in range(3, 10_003))
    tree = b"<</Type/Pages/Count 10000/Kids[%s]/MediaBox[0 0 100 100]>>" % kids
    data = written_pdf([b"<</Type/Catalog/Pages 2 0 R>>", tree, *[b"<</Type/Page/Parent 2 0 R>>"] * 10_000])
    with pytest.raises(DocumentTooLarge, match=r"^long\.pdf has 10,000 pages, the limit is 5,000\. Split the file\.$"):
        parsed(tmp_path, data, "long.pdf")


def bomb(member: str, content_types: bytes = b"", mimetype: bytes = b"") -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        if mimetype:
            archive.writestr("mimetype", mimetype, zipfile.ZIP_STORED)
        if content_types:
            archive.writestr("[Content_Types].xml", content_types)
        archive.writestr(member, b" " * 20_000_000)
    return data.getvalue()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("bomb.docx", bomb("word/document.xml", b"wordprocessingml.document.main+xml")),
        ("bomb.xlsx", bomb("xl/worksheets/sheet1.xml", b"spreadsheetml.sheet.main+xml")),
        ("bomb.epub", bomb("text.xhtml", mimetype=b"application/epub+zip")),
    ],
)
def test_a_decompression_bomb_is_never_unpacked(tmp_path, name, data):
    with pytest.raises(DocumentTooLarge, match=rf"^{name} unpacks to \d+ times its size .* decompression bomb\.$"):
        parsed(tmp_path, data, name)
    with pytest.raises(DocumentTooLarge, match=rf"^{name} unpacks to 20,\d+,\d+ bytes, the limit is 1,000,000\.$"):
        parsed(tmp_path, data, name, limits=replace(LIMITS, unpacked_bytes=1_000_000))


def test_a_pdf_named_like_a_word_document_is_read_as_a_pdf(tmp_path):
    document = parsed(tmp_path, pdf().tobytes(), "report.docx")
    assert document.media_type == "application/pdf"
    assert document.blocks[0].text == "Invoice 4711 is due."
    assert document.warnings == ("report.docx is named like a Word document but holds a PDF; it was read as a PDF.",)


def test_a_program_named_like_text_is_refused(tmp_path):
    program = b"MZ\x90\x00\x03\x00\x00\x00\x04\x00\x00\x00\xff\xff" + random.Random(1).randbytes(4000)
    with pytest.raises(UnsupportedFormat, match=r"^setup\.txt is named like plain text but holds binary data \(.*\)"):
        parsed(tmp_path, program, "setup.txt")


def test_random_bytes_named_like_markdown_are_refused(tmp_path):
    with pytest.raises(UnsupportedFormat, match=r"^notes\.md is named like Markdown but holds binary data"):
        parsed(tmp_path, random.Random(7).randbytes(5000), "notes.md")


def test_a_plain_zip_archive_is_refused(tmp_path):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("a.txt", "hello")
    with pytest.raises(UnsupportedFormat, match=r"^slides\.pptx is named like a presentation but holds a zip archive"):
        parsed(tmp_path, data.getvalue(), "slides.pptx")


def test_an_old_office_file_says_what_to_save_it_as(tmp_path):
    with pytest.raises(UnsupportedFormat, match=r"holds an Office 97-2003 file.*Save it as \.docx, \.pptx or \.xlsx"):
        parsed(tmp_path, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "old.docx")


def test_an_office_file_with_a_password(tmp_path):
    data = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600) + "EncryptedPackage".encode("utf-16-le")
    with pytest.raises(EncryptedDocument, match=r"^pay\.xlsx needs a password"):
        parsed(tmp_path, data, "pay.xlsx")


def test_invalid_utf8_is_read_and_reported(tmp_path):
    document = parsed(tmp_path, "Größe: 5 µm, naïve".encode() + b" \xff end", "notes.txt")
    assert document.blocks[0].text == "Größe: 5 µm, naïve \ufffd end"
    assert document.warnings == ("notes.txt is not valid UTF-8: 1 unreadable places became \ufffd.",)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../etc/passwd", "../../etc/passwd"),
        ("a\0b.txt", "a?b.txt"),
        ("invoice\u202efdp.exe", "invoice?fdp.exe"),
        ("x" * 255, "x" * 80 + "…" + "x" * 39),
    ],
)
def test_a_strange_name_is_only_a_label(tmp_path, name, shown):
    assert parsed(tmp_path, b"some words", name).blocks[0].text == "some words"
    with pytest.raises(EmptyDocument) as caught:
        parsed(tmp_path, b"", name)
    assert str(caught.value) == f"{shown} is empty: it has no bytes."


def test_a_page_too_large_to_rasterise_is_named_and_never_rasterised(tmp_path):
    document = pdf()
    page = document.new_page(width=14_000, height=14_000)
    page.draw_rect(page.rect)
    parsed_document = parsed(
        tmp_path, document.tobytes(), "poster.pdf", limits=replace(LIMITS, raster_pixels=1_000_000)
    )
    assert parsed_document.warnings == (
        "page 2 of poster.pdf has no text layer and was not read: its 194 x 194 inches are too large to rasterise.",
    )


def test_an_image_with_too_many_pixels_is_named_and_never_decoded(tmp_path):
    document = pdf()
    page = document.new_page()
    picture = pymupdf.Pixmap(pymupdf.csGRAY, (0, 0, 300, 300))
    picture.clear_with(255)
    page.insert_image(page.rect, pixmap=picture)
    limits = replace(LIMITS, raster_pixels=80_000)
    parsed_document = parsed(tmp_path, document.tobytes(), "scan.pdf", limits=limits)
    assert parsed_document.warnings == (
        "page 2 of scan.pdf has no text layer and was not read: its image has 90,000 pixels, the limit is 80,000.",
    )
