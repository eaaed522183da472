"""Training text is read as it is documented, and what cannot be read is named."""

import json
import lzma
from pathlib import Path

import pytest

from compressor.codec.corpus import Corpus, Sampler, build_corpus, cells_of, load_texts
from compressor.errors import DamagedDocument, ModelError

LINE = json.dumps({"kind": "prose", "text": "The gauge stood at 2.417 m."}) + "\n"


def write(folder: Path, data: str | bytes, name: str = "text.jsonl") -> Path:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def test_lines_plain_files_and_code_are_read(tmp_path: Path) -> None:
    lines = write(tmp_path, LINE + "\n" + LINE)  # a blank line is none
    packed = write(tmp_path, lzma.compress(LINE.encode()), "text.jsonl.xz")
    plain, code = write(tmp_path, "Hello\n", "letter.txt"), write(tmp_path, "x = 1\n", "sum.py")
    kinds, texts = zip(*load_texts([lines, packed, plain, code]), strict=True)
    assert kinds == ("prose", "prose", "prose", "prose", "code")
    assert texts[2:] == ("The gauge stood at 2.417 m.", "Hello\n", "x = 1\n")


@pytest.mark.parametrize(
    ("data", "name", "why"),
    [
        (LINE + "hello\n", "text.jsonl", r"line 2 \(Expecting value"),
        (LINE + '{"text": "no kind"}\n', "text.jsonl", r"line 2 \(no kind and text\)"),
        ('{"kind": "prose", "text": 5}\n', "text.jsonl", r"line 1 \(no kind and text\)"),
        ('["prose"]\n', "text.jsonl", r"line 1 \(no kind and text\)"),
        (LINE.encode() + '{"kind": "prose", "text": "é"}'.encode("latin-1"), "text.jsonl", r"line 0 \('utf-8' codec"),
        (b"no xz", "text.jsonl.xz", r"line 0 \(Input format not supported"),
        (lzma.compress(LINE.encode())[:-30], "text.jsonl.xz", r"line \d \(Compressed file ended"),
        ("[" * 100_000, "text.jsonl", r"line 1 \("),
    ],
)
def test_a_line_that_cannot_be_read_is_named(tmp_path: Path, data: str | bytes, name: str, why: str) -> None:
    with pytest.raises(DamagedDocument, match=rf"^{name} cannot be read at or behind {why}.*: lines like .* are read$"):
        list(load_texts([write(tmp_path, data, name)]))


def test_half_a_pair_of_utf_16_is_read_as_no_known_character(tmp_path: Path) -> None:
    path = write(tmp_path, r'{"kind": "prose", "text": "a\ud800b \ud83d\ude00"}')
    assert list(load_texts([path])) == [("prose", "a\ufffdb 😀")]


@pytest.mark.parametrize("kind", ["poems", "scripts"])
def test_a_kind_that_nothing_is_trained_on_is_named_before_training(kind: str) -> None:
    corpus = Corpus({kind: cells_of("text"), "prose": cells_of("text")}, {})
    with pytest.raises(ModelError, match=f"the text has the kinds {kind}; trained on are code, prose"):
        Sampler(corpus, {"prose": 0.5, "code": 0.2, "scripts": 0.3}, strips=1, strings=0.0, seed=1)


def test_another_text_has_another_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compressor.codec.corpus.standard_library", lambda: iter([("code", "x = 1\n")]))
    one, other = write(tmp_path, LINE), write(tmp_path, LINE.replace("2.4", "2.5"), "other.jsonl")
    assert build_corpus([one]).digest == build_corpus([one]).digest != build_corpus([other]).digest
