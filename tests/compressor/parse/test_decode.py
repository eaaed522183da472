"""Text whose encoding nobody states is read as a person would."""

import pytest

from compressor.limits import Limits
from compressor.parse import parse

SENTENCES = {
    "cp1252": "Håkan Lindström mätte 12 m³/s vid 25 °C; ¿qué pasa, señor Müller? " * 4,
    "cp1250": "Zażółć gęślą jaźń. Było to dawno temu, gdy król siedział na wysokim tronie i patrzył. " * 4,
    "cp1251": "Привет, как дела сегодня? Очень хорошо, спасибо большое за письмо. " * 4,
    "shift_jis": "東京は日本の首都です。人口はおよそ千四百万人です。" * 6,
    "utf-16": "Grüße aus Köln, geschrieben mit zwei Bytes je Zeichen. " * 4,
}


@pytest.mark.parametrize("encoding", SENTENCES)
def test_common_encodings_are_recognised(tmp_path, encoding: str) -> None:
    text = SENTENCES[encoding].strip()
    path = tmp_path / "letter.txt"
    path.write_bytes(text.encode(encoding))
    assert parse(path, name="letter.txt", limits=Limits()).blocks[0].text == text


@pytest.mark.parametrize("encoding", ["utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be", "utf-8"])
def test_a_byte_order_mark_names_the_encoding(tmp_path, encoding: str) -> None:
    path = tmp_path / "letter.txt"
    path.write_bytes("\ufeffcafé 日本".encode(encoding))
    document = parse(path, name="letter.txt", limits=Limits())
    assert [block.text for block in document.blocks] == ["café 日本"]
    assert not document.warnings


def test_a_next_line_character_ends_a_line_and_parts_words(tmp_path) -> None:
    for name, text in {"letter.txt": "one\ntwo", "table.csv": "one | a\ntwo | b"}.items():
        path = tmp_path / name
        path.write_bytes(text.replace("\n", "\x85").replace(" | ", ",").encode())
        assert parse(path, name=name, limits=Limits()).blocks[0].text == text


def test_what_nothing_guesses_is_not_said_to_be_and_not_to_be_utf8(tmp_path) -> None:
    path = tmp_path / "log.txt"
    path.write_bytes(b"plain words before \x1b[31mred\x1b[0m and \x07 bell, and enough of them.\nff\x85nel\n")
    document = parse(path, name="log.txt", limits=Limits())
    assert document.warnings == ("log.txt is not valid UTF-8: 1 unreadable places became \ufffd.",)


@pytest.mark.parametrize("lines_before", [0, 300, 30_000])
def test_one_accent_in_much_plain_text_is_read(tmp_path, lines_before: int) -> None:
    path = tmp_path / "names.csv"
    path.write_bytes(("id;name\n" + "1;plain\n" * lines_before + "2;Müller\n").encode("cp1252"))
    document = parse(path, name="names.csv", limits=Limits())
    assert document.blocks[-1].text.endswith("2 | Müller")
    assert document.warnings == ("names.csv is not UTF-8; it was read as cp1252.",)


@pytest.mark.parametrize("text", ["Straße 5", "café", "Total: 5 €", "The naïve approach works well.", "Åse Ødegård"])
def test_a_few_accents_are_enough(tmp_path, text: str) -> None:
    path = tmp_path / "note.txt"
    path.write_bytes(text.encode("cp1252"))
    assert parse(path, name="note.txt", limits=Limits()).blocks[0].text == text


def test_japanese_mail_is_no_ascii(tmp_path) -> None:
    path = tmp_path / "mail.txt"
    path.write_bytes("東京は日本の首都です。".encode("iso2022_jp"))
    assert parse(path, name="mail.txt", limits=Limits()).blocks[0].text == "東京は日本の首都です。"


def test_colours_of_a_terminal_leave_no_rest_in_words(tmp_path) -> None:
    path = tmp_path / "build.log"
    path.write_bytes(b"\x1b[31mERROR\x1b[0m disk \x1b[1;32mfull\x1b[m at \x1b]8;;http://x\x07node 7\x1b]8;;\x1b\\.\n")
    assert parse(path, name="build.log", limits=Limits()).blocks[0].text == "ERROR disk full at node 7."


@pytest.mark.parametrize(
    ("declared", "encoding", "text"),
    [
        ("iso-8859-1", "cp1252", "It’s a “quote” of 5 €."),
        ("iso-8859-1", "utf-8", "café “au lait”"),
        ("gb2312", "gbk", "朱镕基"),
        ("shift_jis", "cp932", "①②㈱"),
        ("utf-16", "utf-8", "café"),
        ("rot13", "utf-8", "café"),
        ("idna", "utf-8", "café"),
        ("punycode", "utf-8", "café"),
    ],
)
def test_what_a_page_declares_is_read_as_browsers_do(tmp_path, declared: str, encoding: str, text: str) -> None:
    path = tmp_path / "page.html"
    path.write_bytes(f"<meta charset={declared}><p>{text}</p>".encode(encoding))
    document = parse(path, name="page.html", limits=Limits())
    assert [block.text for block in document.blocks] == [text]
    assert not document.warnings
