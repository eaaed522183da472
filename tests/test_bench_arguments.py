"""What a benchmark cannot measure is refused, and no figures are written of it."""

import sys
from pathlib import Path

import pytest

from bench import arms, codec, ingest, speed


@pytest.mark.parametrize(
    ("bench", "arguments", "message"),
    [
        (speed, ["--processes", "0"], "'0' is no number from 1 on"),
        (speed, ["--seconds", "0"], "--seconds must be more than 0"),
        (speed, ["--seconds", "nan"], "--seconds must be more than 0"),
        (speed, [], "the held-out documents of the kind 'prose' are empty"),
        (ingest, ["--documents", "0"], "'0' is no number from 1 on"),
        (ingest, ["--pages", "-1"], "'-1' is no number from 1 on"),
        (codec, ["--chars", "0"], "'0' is no number from 1 on"),
        (codec, [], "there is no character of the kind 'prose' to measure"),
        (codec, ["--scripts", "nowhere"], "nowhere holds no .txt file"),
        (arms, ["--steps", "0"], "'0' is no number from 1 on"),
        (arms, ["--chars", "-1"], "'-1' is no number from 1 on"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    bench, arguments, message, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.jsonl"
    text.write_text('{"kind": "prose", "text": ""}\n' * 60)
    monkeypatch.setattr("bench.codec.standard_library", lambda: iter(()))
    monkeypatch.setattr(sys, "argv", ["bench", "--text", str(text), "--out", str(tmp_path / "out"), *arguments])
    with pytest.raises(SystemExit) as ended:
        bench.main()
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_kinds_of_too_few_documents_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bench.codec.standard_library", lambda: iter(()))
    (tmp_path / "own.txt").write_text("A document of one's own.")
    assert codec.held_out_texts([tmp_path / "own.txt"], 100) == {}
    told = capsys.readouterr().err
    assert told.endswith(": not measured; of fewer than 50 documents none is held out of training\n")


def test_text_that_ends_before_the_pages_is_told(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="the text ends at page 1 of document 2 of 2"):
        ingest.make_pdfs(tmp_path, iter(["A word. " * 700]), documents=2, pages=1)
