"""Tables and records as programs write them, and text that looks like another kind of file."""

import json
import time

import pytest

from compressor.limits import Limits
from compressor.parse import parse
from compressor.words import words


def parsed(tmp_path, text: str, name: str):
    path = tmp_path / "blob"
    path.write_text(text)
    return parse(path, name=name, limits=Limits())


@pytest.mark.parametrize(
    "text", ["// a note: hello\n", 'callback({"a b": [1, 2]}); var x = 5;', '{"a": 1} {"b": "c d"} ']
)
def test_long_lines_that_are_no_json_are_left_alone(tmp_path, text):
    text = text + "lorem ipsum " * 100 + "."
    document = parsed(tmp_path, text, "t.json")
    assert [block.text for block in document.blocks] == [text]
    assert document.warnings[0].endswith("its text was taken as it is.")


@pytest.mark.parametrize("text", [json.dumps({"n": "x"}).replace('"x"', "9" * 5000), "[" * 3000 + "]" * 3000])
def test_json_that_python_cannot_hold_is_not_called_invalid(tmp_path, text):
    document = parsed(tmp_path, text, "t.json")
    assert not document.warnings
    assert "".join("".join(block.text for block in document.blocks).split()) == text.replace(" ", "")


def test_a_space_before_a_quoted_cell_belongs_to_the_delimiter(tmp_path):
    document = parsed(tmp_path, 'id, name, note\n1, "Smith, John", ok\n2, "Doe, Jane", "x ""y"" z"\n', "t.csv")
    assert document.blocks[0].text == 'id | name | note\n1 | Smith, John | ok\n2 | Doe, Jane | x "y" z'


def test_quotes_without_end_do_not_keep_the_reader_of_tables_busy(tmp_path):
    began = time.process_time()
    document = parsed(tmp_path, '"a\n' * 6000, "t.csv")
    assert document.blocks[0].text.startswith("a a\na a")
    assert time.process_time() - began < 2  # seconds of a processor, and was five


def test_comments_before_text_do_not_keep_the_detection_busy(tmp_path):
    assert parsed(tmp_path, "<!---->" * 60 + " some text", "notes").media_type == "text/plain"
    assert parsed(tmp_path, "<!-- a -->\n<!-- b\nc -->\n<html><p>hi", "notes").media_type == "text/html"


def test_text_about_pdf_is_text(tmp_path):
    text = "A PDF begins with %PDF-1.7."
    assert [block.text for block in parsed(tmp_path, text, "notes.md").blocks] == [text]


@pytest.mark.parametrize("name", ["t.json", "t.jsonl"])
def test_words_beside_spaces_and_signs_that_programs_escape_are_words(tmp_path, name):
    value = {"a": 'M.\xa0Dupont, L\'amour <b>Hello</b> می\u200cخواهم \u200fשלום 山田\u3000太郎 C:\\u0022 "x"'}
    text = json.dumps(value)
    for sign in "'<>":
        text = text.replace(sign, f"\\u{ord(sign):04X}")  # as servers do that think of HTML
    text = text.replace(r"\"", r"\u0022").replace("C:", r"\u005C")
    (block,) = parsed(tmp_path, text, name).blocks
    assert json.loads(block.text) == json.loads(text)
    assert {"dupont", "amour", "hello", *words("خواهم שלום")} <= {*words(block.text)}
    assert "太郎" in block.text
    assert "u3000" not in block.text
