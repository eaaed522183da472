"""A code book gives back the tokens it was given, in fewer bytes where it is of their rate, and says what it lacks."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load

from compressor.codebook import (
    STREAMS,
    CodeBook,
    book_for,
    book_name,
    book_named,
    book_path,
    coded_bytes,
    fill,
    make_book,
    numbers_of,
    streams_of,
    symbol_book,
)
from compressor.codec.book import write_book
from compressor.codec.corpus import Corpus, cells_of
from compressor.codec.native import load_codec
from compressor.codec.residual import BY_HABITS
from compressor.codec.weights import available_rates
from compressor.errors import ModelError
from compressor.formats import INT4, level_numbers
from compressor.frames import pack_frame
from compressor.pieces import is_pieces
from compressor.sealed import save_sorted

TEXT = (
    "The harbour office keeps the gauge readings of every lock since 1987. When the water stood at 2.417 m, the "
    "ferry left at 07:40 and came back before noon; the keeper wrote both into the book and signed the page. "
)


# Without repetition, which is coded well without a book, too.
PROSE = (
    "Nobody had asked her to stay, and yet the clerk stayed until the lamps were lit, sorting letters that had "
    "come for men who no longer lived in the town. Some of them she remembered: a carpenter with a limp, two "
    "brothers who bought a boat and never paid for it, the teacher whose garden was said to be the best in the "
    "county. In spring the river took the lower road, so the post went round by the hills and was a day late; no "
    "one complained, since most news was bad. What surprised her that evening was a parcel without a name. It was "
    "light, it smelt of oranges, and on the back someone had drawn, quite carefully, the small house at the end "
    "of the pier where she was born."
)


def levels_again(levels: NDArray[np.uint8], book: CodeBook) -> NDArray[np.uint8]:
    found = np.full_like(levels, 99)
    fill(found, streams_of(levels, book), book, numbers_of(book, np.arange(INT4.levels, dtype=np.uint8)))
    return found


@pytest.mark.parametrize("rate", available_rates())
def test_the_book_of_every_rate_saves_bytes_and_loses_none(rate: int) -> None:
    codec = load_codec(f"native-{rate}", device="cpu")
    (cache,) = codec.encode([PROSE])
    book, plain = book_for(codec.name, "int4", 512), book_for("another codec", "int4", 512)
    assert book.name.startswith(f"native-{rate}-")
    assert plain.name == ""
    without, coded = coded_bytes(cache.levels, "another codec", "int4"), coded_bytes(cache.levels, codec.name, "int4")
    assert coded < 0.8 * without < 0.8 * cache.levels.size / 2
    for each in (book, plain):
        assert (levels_again(cache.levels, each) == cache.levels).all()
        streams = streams_of(cache.levels, each)
        sizes = {stream: getattr(streams, stream).size for stream in STREAMS}
        assert sizes == {stream: each.size(stream, *cache.levels.shape) for stream in STREAMS}


@pytest.mark.parametrize("rate", available_rates())
def test_cells_that_no_symbol_names_come_back_too(rate: int) -> None:
    book = book_for(f"native-{rate}", "int4", 512)
    levels = np.random.default_rng(rate).integers(0, 16, (300, 512), dtype=np.uint8)
    assert (levels_again(levels, book) == levels).all()
    assert (streams_of(levels, book).escaped.size > 0) == (rate < 40)  # from native-40 on all cells have a symbol
    numbers = np.empty(levels.shape, np.float16)
    fill(numbers, streams_of(levels, book), book, numbers_of(book, level_numbers(INT4)))
    assert (numbers == level_numbers(INT4)[levels]).all()


def test_tokens_of_another_shape_or_format_have_the_plain_book() -> None:
    assert book_for("native-20", "int8", 512) is book_named("", "int8")
    assert book_for("native-20", "int4", 64) is book_named("", "int4")


def test_a_book_that_is_not_installed_is_named() -> None:
    with pytest.raises(ValueError, match="its code book native-20-00000000 is not installed"):
        book_named("native-20-00000000", "int4")


def test_a_book_is_learnt_from_training_text_and_stays_when_it_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compressor.codebook.BOOKS", tmp_path)
    rng = np.random.default_rng(0)
    words = TEXT.split()
    text = " ".join(words[place] for place in rng.integers(len(words), size=4000))
    codec = load_codec("native-20", device="cpu")
    corpus = Corpus({"prose": cells_of(text)}, {})
    path = write_book(codec, corpus, tmp_path, seed=1, chunks=40)
    assert path == book_path("native-20", tmp_path)
    first = path.read_bytes()
    name = book_name("native-20", first)
    book = book_named(name, "int4")
    (cache,) = codec.encode([text[:900]])
    assert streams_of(cache.levels, book).escaped.size == 0
    assert len(book.cells) < 60
    assert (levels_again(cache.levels, book) == cache.levels).all()
    write_book(codec, corpus, tmp_path, seed=2, chunks=40)
    assert path.read_bytes() != first
    assert (tmp_path / f"{name}.codebook").read_bytes() == first


def broken(data: bytes, how: str) -> bytes:
    tensors = load(data)
    if how == "cut off":
        return data[: len(data) // 2]
    if how == "a dictionary is none":
        tensors["symbols"] = np.concatenate([tensors["symbols"][:8], np.full(500, 255, np.uint8)])
    if how == "cells of another type":
        tensors["cells"] = tensors["cells"].astype(np.uint16)
    if how == "cells of no format":
        tensors["cells"] = tensors["cells"] + 16
    own = "13" if how == "cells that do not fit" else "448"
    return save_sorted(tensors, {"codec": "native-20", "format": "int4", "width": "512", "own": own})


WAYS_TO_BREAK = {
    "cut off": "incomplete metadata",
    "a dictionary is none": "decompression dict",
    "cells of another type": r"its cells are uint16 \(\d+, 4\)",
    "cells of no format": "its cells do not fit 448 of 512 numbers of int4",
    "cells that do not fit": "its cells do not fit 13 of 512 numbers of int4",
}


@pytest.mark.parametrize("how", WAYS_TO_BREAK)
def test_a_broken_book_is_the_installations_fault_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    data = broken(book_path("native-20").read_bytes(), how)
    monkeypatch.setattr("compressor.codebook.BOOKS", tmp_path)
    (tmp_path / "native-20.codebook").write_bytes(data)
    message = rf"^the code book native-20\.codebook cannot be read \(.*{WAYS_TO_BREAK[how]}.*\): reinstall Percel$"
    with pytest.raises(ModelError, match=message):
        book_named("native-20-11111111", "int4")
    with pytest.raises(ModelError, match=message):
        book_for("native-20", "int4", 512)


def test_a_broken_book_does_not_stand_in_the_way_of_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, data = book_for("native-40", "int4", 512).name, book_path("native-40").read_bytes()
    monkeypatch.setattr("compressor.codebook.BOOKS", tmp_path)
    book_named.cache_clear()
    (tmp_path / "native-20.codebook").write_bytes(b"no book")
    (tmp_path / "native-40.codebook").write_bytes(b"a broken one that replaced it")
    (tmp_path / f"{name}.codebook").write_bytes(data)
    assert book_named(name, "int4").name == name


@pytest.mark.parametrize("name", ["../native-20-00000000", "a/b-00000000", "x" * 300 + "-00000000", "native-20", "\0"])
def test_a_name_that_leads_elsewhere_is_none(name: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(repr(name[:80]))} is no name of a code book$"):
        book_named(name, "int4")


def test_a_codec_whose_name_leads_elsewhere_has_the_plain_book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compressor.codebook.BOOKS", tmp_path / "books")
    (tmp_path / "books").mkdir()
    (tmp_path / "native-20.codebook").write_bytes(b"not to be read")
    assert book_for("../native-20", "int4", 512).name == ""


def test_the_same_samples_make_the_same_book() -> None:
    rng = np.random.default_rng(0)
    words = rng.integers(0, 16, (50, 64), dtype=np.uint8)
    samples = [words[rng.integers(50, size=(20, 8))].reshape(20, 512) for _ in range(100)]
    first = make_book("native-20", samples, own=448, cell=4)
    assert all(make_book("native-20", samples, own=448, cell=4) == first for _ in range(5))


@pytest.mark.slow
def test_the_book_of_the_highest_rate_knows_pieces_and_what_is_misread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    words = [*PROSE.split(), "水の音", "naïve"]
    text = " ".join(words[place] for place in rng.integers(len(words), size=3000))
    codec = load_codec(f"native-{available_rates()[-1]}", device="cpu")
    corpus = Corpus({"prose": cells_of(text)}, {})
    (cache,) = codec.encode([" ".join(rng.permutation(words))])
    path = write_book(codec, corpus, tmp_path, seed=1, chunks=20)
    monkeypatch.setattr("compressor.codebook.BOOKS", tmp_path)
    book = book_for(codec.name, "int4", 512)
    assert book.name == book_name(codec.name, path.read_bytes())
    assert book.pieces is not None
    assert book.habits is not None
    symbols = streams_of(cache.levels, book).symbols
    frame = book.pieces.pack(symbols)
    assert len(frame) < 0.7 * len(pack_frame(symbols))
    assert (book.unpack("symbols", [frame], [len(symbols)]) == symbols).all()
    assert len(codec.encode([text[:900]])[0].residual) < len(book.tag) + 200
    assert codec.read(codec.encode([text[:900]])) == [text[:900]]


STORY = (
    "The old man walked down to the river every morning before the sun was up, and there he sat until the ferry came "
    "over. Nobody had ever asked him why. When the war was over, his brother wrote to him from the other side of the "
    "country, and for the first time in twenty years he did not go down to the water, but stayed at home to answer.\n"
)


def test_frames_of_pieces_and_of_zstd_lie_side_by_side() -> None:
    """Text that is like the training text is cut into pieces, and what is misread of it is told by habits."""
    book = book_for("native-80", "int4", 512)
    cache = load_codec("native-80", device="cpu").encode([STORY])[0]
    text = streams_of(cache.levels, book).symbols
    rng = np.random.default_rng(0)
    plain = [text, rng.integers(0, 16, 448, np.uint8), np.zeros(0, np.uint8), np.full(900, 3, np.uint8)]
    frames = [book.pack("symbols", text), pack_frame(plain[1]), b"", pack_frame(plain[3])]
    assert is_pieces(frames[0])
    assert len(frames[0]) < 0.3 * len(text)
    assert (book.unpack("symbols", frames, [len(each) for each in plain]) == np.concatenate(plain)).all()
    assert not cache.residual or cache.residual[0] in BY_HABITS


def test_what_all_tokens_share_is_stored_once() -> None:
    rng = np.random.default_rng(0)
    words = rng.integers(0, 16, (50, 64), dtype=np.uint8)
    samples = [words[rng.integers(50, size=(20, 8))].reshape(20, 512) for _ in range(100)]
    for levels in samples:
        levels[:, 448:] = 7
    book = replace(
        symbol_book(samples, own=448, cell=1),
        width=512,
        dictionaries={"symbols": b"", "shared": b""},
        shared=load(make_book("native-20", samples, own=448, cell=1))["alike"].tobytes(),
    )
    one, other = np.full(64, 0x77, np.uint8), np.arange(64, dtype=np.uint8)
    assert book.shared == bytes([0x77]) * 32
    frames = [book.pack("shared", plain) for plain in (one, other, one[:0])]
    assert (frames[0], frames[2]) == (b"", b"")
    found = book.unpack("shared", frames, [64, 64, 0])
    assert (found == np.concatenate([one, other])).all()
