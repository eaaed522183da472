"""The command line as a person and a script see it: output, JSON fields, exit codes, error messages."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from safetensors.numpy import load_file
from typer.testing import CliRunner, Result

from api.cli import app, main
from compressor.codec.weights import available_rates

NOTES = (
    "# Harbour log\n\nThe ferry Linnea left at 07:40 on 3 May 2025 with 214 passengers aboard.\n\n"
    "## Repairs\n\nThe crane's motor, serial QX-5521-b, was replaced for 18,250 kronor by Petra Nylund.\n"
)


@pytest.fixture
def folder(tmp_path: Path, home: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "log.md").write_text(NOTES)
    (folder / "prices.csv").write_text("item,price\nrope,12.50\nanchor,480.00\n")
    return folder


def percel(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def as_json(*arguments: object) -> dict:
    result = percel(*arguments, "--json")
    return json.loads(result.stdout)


def run_main(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object
) -> tuple[int, str]:
    """The whole program, error handling included; -> exit code and stderr."""
    monkeypatch.setattr(sys, "argv", ["percel", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0), " ".join(capsys.readouterr().err.split())


def test_ingest_reports_every_document(folder: Path) -> None:
    documents = {d["title"]: d for d in as_json("ingest", folder)["documents"]}
    log = documents["log.md"]
    assert set(log) >= {
        "id", "title", "state", "chunks", "source_pages", "text_tokens", "vision_tokens", "compression",
        "raw_char_accuracy", "exact", "cache_bytes", "seconds", "error",
    }  # fmt: skip
    assert (log["state"], log["exact"], log["chunks"], log["error"]) == ("ready", True, 1, None)
    assert log["compression"] == pytest.approx(log["text_tokens"] / log["vision_tokens"], abs=0.01)
    assert documents["prices.csv"]["state"] == "ready"


def test_ingest_fails_with_1_if_any_document_failed_and_says_why(folder: Path) -> None:
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 nothing else")
    result = percel("ingest", folder)
    assert result.exit_code == 1
    said = " ".join(result.stdout.split())
    assert "2 of 3 documents ready in 'default'" in said
    assert "failed broken.pdf is a damaged or truncated PDF" in said


def test_ask_answers_with_a_quote_and_its_place(folder: Path) -> None:
    percel("ingest", folder)
    answer = as_json("ask", "Who replaced the motor of the crane?")
    assert set(answer) >= {"answer", "abstained", "citations", "decoder", "context", "timings"}
    assert "Petra Nylund" in answer["answer"]
    citation = answer["citations"][0]
    assert citation["quote"] in NOTES
    assert (citation["title"], citation["page"]) == ("log.md", 1)
    assert all(0 <= box[corner] <= 1 for box in citation["boxes"] for corner in ("x0", "y0", "x1", "y1"))
    assert answer["context"]["vision_tokens"] > 0
    assert answer["decoder"] == "extractive"


def test_ask_loads_the_whole_collection_when_told(folder: Path) -> None:
    percel("ingest", folder)
    assert as_json("ask", "When did the ferry leave?", "--whole")["context"]["chunks"] == 2


def test_ask_abstains_with_exit_code_4(folder: Path) -> None:
    percel("ingest", folder)
    result = percel("ask", "Which enzyme unwinds the DNA double helix during replication?")
    assert result.exit_code == 4
    assert "Nothing in the collection answers this." in result.stdout


def test_context_writes_the_tokens_of_the_chunks_and_says_what_they_are(folder: Path, tmp_path: Path) -> None:
    percel("ingest", folder)
    out = tmp_path / "context.safetensors"
    found = as_json("context", "Who replaced the motor of the crane?", "-k", "1", "--out", out)
    assert [chunk["title"] for chunk in found["chunks"]] == ["log.md"]
    assert load_file(out)["tokens"].shape == (found["vision_tokens"], found["width"])
    shown = percel("context", "The crane", "--whole", "--budget", 1000, "--out", out)
    assert shown.exit_code == 0
    *_, names, figures = shown.stdout.splitlines()
    assert " ".join(names.split()) == "chunks vision tokens for text tokens ratio chunks at rates file"
    assert figures.split()[:2] == ["2", str(len(load_file(out)["tokens"]))]
    assert sum(int(part.split("@")[0]) for part in figures.split() if "@" in part) == 2
    refused = percel("context", "The crane", "--out", tmp_path / "nowhere" / "c")
    assert refused.exit_code == 2
    assert "--out names no file that can be written" in refused.output


def test_search_finds_chunks_by_words_and_meaning(folder: Path) -> None:
    percel("ingest", folder)
    hits = as_json("search", "QX-5521-b")["hits"]
    assert hits[0]["title"] == "log.md"
    assert "QX-5521-b" in hits[0]["text"]
    assert as_json("search", "cost of mooring gear")["hits"][0]["title"] == "prices.csv"


def test_the_first_hit_is_where_the_first_quote_is_from(folder: Path) -> None:
    percel("ingest", folder)
    question = "What is the serial of the crane's motor that was replaced?"
    (hit,) = as_json("search", question, "-k", "1")["hits"]
    quote = as_json("ask", question, "-k", "1")["citations"][0]
    assert quote["document_id"] == hit["document_id"]
    assert quote["quote"] in hit["text"]


def test_an_answer_counts_the_chunks_it_was_given_and_not_those_that_search_looked_at(folder: Path) -> None:
    percel("ingest", folder)
    assert as_json("ask", "Which motor was replaced?", "-k", "1")["context"]["chunks"] == 1


def test_read_prints_the_text_out_of_the_caches(folder: Path, tmp_path: Path) -> None:
    percel("ingest", folder)
    picture = tmp_path / "chunk.png"
    assert "serial QX-5521-b, was replaced for 18,250 kronor" in percel("read", "log.md").stdout
    found = as_json("read", "log.md", "--chunk", 0, "--png", picture)
    assert "Linnea left at 07:40" in found["chunks"][0]["text"]
    with Image.open(picture) as image:
        assert image.width == 896


def test_read_shows_styles_as_markdown_where_it_is_asked_to(folder: Path) -> None:
    (folder / "log.md").write_text(
        "# Harbour\n\nThe *ferry* left at\n**07:40**.\n\n- `QX-5521`\n- [a * b](http://a.b)\n"
    )
    percel("ingest", folder)
    expected = "# Harbour\n\nThe *ferry* left at\n**07:40**.\n\n- `QX-5521`\n- [a \\* b]\n"
    assert percel("read", "log.md", "--markdown").stdout == expected
    assert as_json("read", "log.md", "--markdown")["chunks"] == [{"chunk": 0, "text": expected.strip()}]
    assert percel("read", "log.md").stdout == "Harbour\nThe ferry left at\n07:40.\n- QX-5521\n- a * b\n"


def test_ls_status_and_rm_follow_the_documents(folder: Path) -> None:
    percel("ingest", folder)
    assert [d["title"] for d in as_json("ls")["documents"]] == ["log.md", "prices.csv"]
    assert as_json("status")["collections"][0]["documents"] == 2
    assert as_json("rm", "prices.csv")["removed"][0]["title"] == "prices.csv"
    assert [d["title"] for d in as_json("ls")["documents"]] == ["log.md"]
    assert "rope" not in percel("search", "rope").stdout
    assert as_json("rm", "-c", "default", "--whole") == {"collection": "default", "removed": 1}
    assert as_json("status")["collections"] == []


def cache_files(home: Path) -> list[Path]:
    """Blobs that are cache files: a length of eight bytes, then JSON."""
    return [path for path in sorted((home / "blobs").rglob("*")) if path.is_file() and path.read_bytes()[8:10] == b'{"']


def flip_last_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_a_damaged_cache_is_an_error_that_says_what_to_do(
    folder: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    percel("ingest", folder)
    for path in cache_files(home):
        flip_last_byte(path)
    code, said = run_main(monkeypatch, capsys, "ask", "When did the ferry leave?")
    assert code == 1
    assert "is damaged: the checksum of 000000 differs; `percel doctor --repair` makes it anew" in said


def test_doctor_finds_and_mends_a_damaged_cache(folder: Path, home: Path) -> None:
    percel("ingest", folder)
    flip_last_byte(cache_files(home)[0])
    found = percel("doctor")
    assert found.exit_code == 1
    assert "is damaged: the checksum of 000000 differs" in " ".join(found.stdout.split())
    assert percel("doctor", "--repair", "--deep").exit_code == 0
    assert percel("doctor", "--deep").exit_code == 0
    assert "Petra Nylund" in as_json("ask", "Who replaced the motor of the crane?")["answer"]


def test_doctor_mends_a_missing_blob(folder: Path, home: Path) -> None:
    percel("ingest", folder)
    for path in cache_files(home):
        path.unlink()
    assert percel("doctor").exit_code == 1
    assert percel("doctor", "--repair").exit_code == 0
    assert "Linnea" in percel("read", "log.md").stdout


def test_bench_codec_prints_the_documented_fields(tmp_path: Path, home: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text(NOTES * 10)
    figures = as_json("bench", "codec", "--text", text, "--codec", "native-10")
    assert set(figures) >= {
        "codec", "chars", "text_tokens", "vision_tokens", "ratio", "raw_char_accuracy", "word_precision",
        "numbers_exact", "ids_exact", "residual_bytes", "exact", "cache_bytes", "encode_chars_per_s",
        "read_chars_per_s",
    }  # fmt: skip
    assert figures["exact"] is True
    assert figures["ratio"] == pytest.approx(figures["text_tokens"] / figures["vision_tokens"])


def test_blanks_alone_are_no_text_to_measure(tmp_path: Path, home: Path) -> None:
    (tmp_path / "text.txt").write_text(" \n\n" * 99)
    ended = percel("bench", "codec", "--text", tmp_path / "text.txt")
    assert ended.exit_code == 2
    assert "the files hold no text to measure" in ended.output


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("ask", "x", "-c", "nowhere"), 3, "error: There is no collection 'nowhere'. Ingest something first."),
        (("ingest", "no-such-file.txt"), 3, "error: there is no file or folder no-such-file.txt"),
        (("read", "nothing.pdf"), 3, "error: There is no collection 'default'"),
        (("read", "x", "--png", "x.png"), 2, "--png needs --chunk: an image holds one chunk"),
        (("read", "x", "--chunk", "0", "--png", "no/x.png"), 2, "--png names no file that can be written: no/x.png"),
        (("ask", " "), 2, "the question is empty"),
        (("search", ""), 2, "the question is empty"),
        (("ask", "x", "--whole", "-k", 3), 2, "--whole loads every chunk: leave out -k"),
        (("context", "x", "--out", "x", "--whole", "-k", 8), 2, "--whole loads every chunk: leave out -k"),
        (("read", "x", "--rate", 55), 2, "--rate must be one of 10, 20, 40, 80"),
        (("rm",), 2, "name documents, or a collection with -c NAME --whole"),
        (
            ("ingest", "--codec", "jpeg", "."),
            2,
            "error: bad settings: PERCEL_CODEC: input should be 'auto'",
        ),
    ],
)
def test_errors_are_one_line_with_an_exit_code(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    ended, said = run_main(monkeypatch, capsys, *arguments)
    assert ended == code
    assert message in said


def test_a_folder_without_files_is_said_to_have_none(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder := tmp_path / "empty").mkdir()
    (folder / ".hidden.txt").write_text("Nobody asked for this.")
    ended, said = run_main(monkeypatch, capsys, "ingest", folder)
    assert (ended, said) == (3, f"error: there is no file below {folder}; hidden ones are left out")


def test_a_port_that_is_taken_stops_the_service_in_one_line(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ended, said = run_main(monkeypatch, capsys, "serve", "--port", port, "--no-worker")
    assert ended == 2
    assert said == (
        f"error: 127.0.0.1:{port} cannot be listened on (Address already in use): "
        "choose another with --port or PERCEL_PORT."
    )


def test_errors_are_json_for_programs(home: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["percel", "ask", "x", "-c", "nowhere", "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 3
    assert json.loads(capsys.readouterr().out)["error"]["type"] == "NotFound"


@pytest.mark.parametrize("arguments", [["--help"], ["status"], ["ls"], ["rm", "x"], ["ingest", "nowhere"]])
def test_commands_that_need_no_tensors_import_none(home: Path, arguments: list[str]) -> None:
    script = (
        "import sys; from api.cli import app; from typer.testing import CliRunner; "
        f"CliRunner().invoke(app, {arguments});"
        "print([name for name in ('torch', 'faiss', 'transformers') if name in sys.modules])"
    )
    environment = {**os.environ, "PERCEL_HOME": str(home)}
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert ran.stdout.strip() == "[]"


def test_a_file_whose_name_is_no_unicode_is_ingested(folder: Path) -> None:
    with open(os.fsencode(folder) + b"/caf\xe9.txt", "w") as file:
        file.write("The café opens at 8:15.")
    titles = {document["title"] for document in as_json("ingest", folder)["documents"]}
    assert titles == {"log.md", "prices.csv", "caf\ufffd.txt"}


def test_a_name_that_several_documents_have_is_not_guessed_at_when_deleting(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "more").mkdir()
    (folder / "more" / "log.md").write_text("Another log.")
    percel("ingest", folder)
    code, said = run_main(monkeypatch, capsys, "rm", "log.md")
    assert code == 2
    assert "error: 'log.md' is 2 documents; give an id: " in said


def test_wrong_usage_is_json_for_programs_too(home: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["percel", "ingest", "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "paths" in json.loads(capsys.readouterr().out)["error"]["message"]


def test_a_home_that_is_a_file_is_one_error(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    home.write_text("not a folder")
    code, said = run_main(monkeypatch, capsys, "status")
    assert code == 1
    assert "error: " in said
    assert "Traceback" not in said


def test_a_damaged_database_is_one_error(home: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    home.mkdir()
    (home / "percel.db").write_text("this is no database, and never was one" * 50)
    code, said = run_main(monkeypatch, capsys, "status")
    assert code == 1
    assert "percel.db cannot be used: file is not a database. Restore it from a backup" in said


def test_a_database_address_that_is_none_is_one_error(home: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setenv("PERCEL_DATABASE_URL", "postgres at home")
    code, said = run_main(monkeypatch, capsys, "status")
    assert code == 1
    assert "The database in PERCEL_DATABASE_URL cannot be used" in said


def test_doctor_leaves_caches_alone_whose_source_is_lost(folder: Path, home: Path) -> None:
    percel("ingest", folder)
    for path in sorted((home / "blobs").rglob("*")):
        if path.is_file() and path.read_bytes() == NOTES.encode():
            path.unlink()
    flip_last_byte(max(cache_files(home), key=lambda path: path.stat().st_size))
    said = " ".join(percel("doctor", "--repair").stdout.split())
    assert "log.md was left as it is: its source is lost" in said
    assert [d["state"] for d in as_json("ls")["documents"]] == ["ready", "ready"]


def test_read_shows_what_a_higher_rate_still_reads(folder: Path) -> None:
    as_json("ingest", folder)
    highest = max(available_rates())
    (chunk,) = as_json("read", "log.md", "--rate", highest)["chunks"]
    assert chunk["rate"] == highest
    assert chunk["characters"] == len(as_json("read", "log.md")["chunks"][0]["text"])
    assert chunk["wrong"] <= chunk["characters"] // 4
    shown = percel("read", "log.md", "--rate", highest)
    assert f"native-{highest} reads {chunk['characters'] - chunk['wrong']:,} of {chunk['characters']:,}" in shown.output


def test_ls_shows_the_rates_that_chunks_were_given(folder: Path) -> None:
    as_json("ingest", folder)
    (document, _) = as_json("ls")["documents"]
    ((codec, chunks),) = document["rates"].items()
    assert chunks == 1
    assert f"1@{codec.removeprefix('native-')}" in percel("ls").output


def test_a_rate_shows_plain_text_only(folder: Path) -> None:
    as_json("ingest", folder)
    refused = percel("read", "log.md", "--rate", 20, "--markdown")
    assert refused.exit_code == 2
    assert "--rate shows plain text: leave out --markdown and --png" in refused.output
