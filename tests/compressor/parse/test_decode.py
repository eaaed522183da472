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
