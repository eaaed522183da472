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
