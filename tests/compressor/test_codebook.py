"""A code book gives back the tokens it was given, in fewer bytes where it is of their rate, and says what it lacks."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

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
)
from compressor.codec.book import write_book
from compressor.codec.corpus import Corpus, cells_of
from compressor.codec.native import load_codec
from compressor.codec.weights import available_rates
from compressor.formats import INT4, level_numbers

TEXT = (
    "The harbour office keeps the gauge readings of every lock since 1987. When the water stood at 2.417 m, the "
    "ferry left at 07:40 and came back before noon; the keeper wrote both into the book and signed the page. "
)


def levels_again(levels: NDArray[np.uint8], book: CodeBook) -> NDArray[np.uint8]:
    found = np.full_like(levels, 99)
    fill(found, streams_of(levels, book), book, numbers_of(book, np.arange(INT4.levels, dtype=np.uint8)))
    return found


@pytest.mark.parametrize("rate", available_rates())
def test_the_book_of_every_rate_saves_bytes_and_loses_none(rate: int) -> None:
    codec = load_codec(f"native-{rate}", device="cpu")
    (cache,) = codec.encode([TEXT * 5])
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


def test_a_file_that_is_no_book_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compressor.codebook.BOOKS", tmp_path)
    (tmp_path / "native-20.codebook").write_bytes(b"no book")
    with pytest.raises(ValueError, match=r"native-20\.codebook is no code book: "):
        book_named("native-20-11111111", "int4")


def test_the_same_samples_make_the_same_book() -> None:
    rng = np.random.default_rng(0)
    words = rng.integers(0, 16, (50, 64), dtype=np.uint8)
    samples = [words[rng.integers(50, size=(20, 8))].reshape(20, 512) for _ in range(100)]
    first = make_book("native-20", samples, own=448, cell=4)
    assert all(make_book("native-20", samples, own=448, cell=4) == first for _ in range(5))
