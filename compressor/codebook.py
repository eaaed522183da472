"""Owns code books: how the tokens of a rate become bytes that zstd packs well, and numbers again.

A native token's first 7/8 are its cells' own numbers, the same wherever a glyph stands; what cells share comes after
them, at native-80 nothing. A book names the cells that its rate writes most by one byte each, its symbols; a cell that
is none of them escapes, and is written out apart. Symbols repeat as letters do, shared numbers do not, so each go into
a frame of their own, with a dictionary of their own: a chunk is too short to learn one from. Where a book has pieces,
they take the place of the symbols' dictionary (`pieces.py`); what its rate tends to misread is in it (`habits.py`).
A file says by name which book an entry needs; one that is replaced stays installed under its name.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import zstandard
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from compressor.errors import ModelError
from compressor.formats import FORMATS, INT4, pack, packed_width, unpack
from compressor.frames import FRAME_LIMIT, pack_frame, unpack_frames
from compressor.habits import Habits
from compressor.pieces import Pieces, is_pieces
from compressor.sealed import save_sorted

SYMBOL_BYTES = 112_640  # of the dictionary of symbols: zstd's own default; twice as much saves 2 to 3 % more
SHARED_BYTES = 4096  # of the other one: more saves nothing
ESCAPE = 255  # the symbol of a cell that has none
BOOKS = Path(__file__).parent / "codec" / "weights"
BLOCK_TOKENS = 256  # are looked up at once: what comes in between stays in a core's cache
TAG_DIGITS = 4  # of a name's eight, for those who have no room for it
_CODEC = re.compile(r"[\w-]{1,64}", re.ASCII)  # of no other codec is there a book: its name becomes that of a file
_NAME = re.compile(rf"({_CODEC.pattern})-[0-9a-f]{{8}}", re.ASCII)
_WORDS = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64, 16: np.complex128}  # bytes -> what is moved as one

Stream = Literal["symbols", "shared"]
STREAMS: tuple[Stream, ...] = ("symbols", "shared")


@dataclass(frozen=True, slots=True)
class CodeBook:
    """How tokens are coded: of one width, or, without a name, of any."""

    name: str  # "native-20-0123abcd"; "" for the plain book of a format, whose symbols are bytes as stored
    format: str
    width: int  # numbers of a token; 0: any
    own: int  # of these, its cells' own; 0: all
    cells: NDArray[np.uint8]  # (symbols, numbers of a cell) levels
    dictionaries: dict[Stream, bytes]
    shared: bytes = b""  # what every token shares as stored, where that is always the same
    pieces: Pieces | None = None
    habits: Habits | None = None

    @property
    def tag(self) -> str:
        """What `book_tagged` finds it by."""
        return self.name.rpartition("-")[2][:TAG_DIGITS]

    @property
    def cell_bytes(self) -> int:
        """Bytes of a cell that is written out."""
        return packed_width(self.cells.shape[1], FORMATS[self.format])

    def cell_numbers(self, levels: NDArray[np.uint8]) -> NDArray[np.int64]:
        """The own numbers of each cell of tokens (tokens, width) as one: (cells,)."""
        cells = levels[:, : self.own].reshape(-1, self.cells.shape[1])
        numbers = cells[:, 0].astype(np.int64)
        for column in cells.T[1:]:
            numbers = numbers * FORMATS[self.format].levels + column
        return numbers

    def own_of(self, width: int) -> int:
        """Numbers of a token of so many that are its cells' own."""
        own: int = self.own or width
        return own

    def size(self, stream: Stream, tokens: int, width: int) -> int:
        """Bytes of a stream before it is packed."""
        own, cell = self.own_of(width), int(self.cells.shape[1])
        if stream == "symbols":
            return tokens * own // cell
        return tokens * packed_width(width - own, FORMATS[self.format])

    def pack(self, stream: Stream, plain: NDArray[np.uint8]) -> bytes:
        """A stream as a frame."""
        if stream == "symbols" and self.pieces:
            # What repeats itself, or is like no training text, may take fewer bytes without pieces.
            return min(self.pieces.pack(plain), pack_frame(plain), key=len)
        if stream == "shared" and self.shared and plain.tobytes() == self.shared * (plain.size // len(self.shared)):
            return b""
        return pack_frame(plain, self.dictionaries[stream])

    def unpack(self, stream: Stream, frames: Sequence[bytes | memoryview], sizes: Sequence[int]) -> NDArray[np.uint8]:
        """The inverse for many frames, each of so many bytes: (bytes,). Raises ValueError."""
        both = zip(frames, sizes, strict=True)
        special = np.array([self._is_special(stream, frame, size) for frame, size in both], np.bool_)
        if not special.any():
            return unpack_frames(frames, sizes, self.dictionaries[stream])
        if special.all():
            if stream == "symbols" and self.pieces:
                return self.pieces.unpack(frames, sizes)
            return np.frombuffer(self.shared * (sum(sizes) // len(self.shared)), np.uint8)
        plain = np.empty(sum(sizes), np.uint8)
        for kind in (False, True):
            places = np.flatnonzero(special == kind).tolist()
            alike = self.unpack(stream, [frames[place] for place in places], [sizes[place] for place in places])
            plain[np.repeat(special == kind, sizes)] = alike
        return plain

    def escapes(self, symbols: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Which symbols stand for cells that escaped; none where there is a symbol for every cell."""
        return symbols == ESCAPE if len(self.cells) <= ESCAPE else np.zeros(len(symbols), np.bool_)

    def _is_special(self, stream: Stream, frame: bytes | memoryview, size: int) -> bool:
        """Whether a frame is not zstd's."""
        if stream == "symbols":
            return self.pieces is not None and is_pieces(frame)
        return bool(self.shared) and not len(frame) and 0 < size <= FRAME_LIMIT


@dataclass(frozen=True, slots=True)
class Streams:
    """Tokens as a book writes them, not yet packed; (bytes,) each."""

    symbols: NDArray[np.uint8]
    shared: NDArray[np.uint8]
    escaped: NDArray[np.uint8]  # the cells that escaped, in their order
    escapes: NDArray[np.bool_]  # (symbols,) which of them stand for those


@dataclass(frozen=True, slots=True)
class Numbers:
    """What each symbol and each byte of what is shared stands for, to be looked up."""

    values: NDArray[Any]  # (levels of the format,)
    of_symbol: NDArray[Any]  # (256,) words
    of_shared: NDArray[Any]  # (256,) words


def streams_of(levels: NDArray[np.uint8], book: CodeBook) -> Streams:
    """Levels (tokens, width) -> streams."""
    format, own = FORMATS[book.format], book.own_of(levels.shape[1])
    cells = np.ascontiguousarray(levels[:, :own]).reshape(-1, book.cells.shape[1])
    words, known = _words(cells), _words(book.cells)
    order = np.argsort(known)
    symbols = order[np.searchsorted(known, words, sorter=order).clip(0, len(known) - 1)]
    escaped = known[symbols] != words
    return Streams(
        symbols=np.where(escaped, ESCAPE, symbols).astype(np.uint8),
        shared=pack(levels[:, own:], format).ravel(),
        escaped=pack(cells[escaped], format).ravel() if escaped.any() else np.zeros(0, np.uint8),
        escapes=escaped,
    )


def numbers_of(book: CodeBook, values: NDArray[Any]) -> Numbers:
    """For `fill`: `values` are what each level of the book's format is to become, (levels,)."""
    cells = np.zeros((256, book.cells.shape[1]), np.uint8)
    cells[: len(book.cells)] = book.cells
    return Numbers(values, _words(values[cells]), _words(values[_stored_bytes(book.format)]))


def fill(target: NDArray[Any], streams: Streams, book: CodeBook, numbers: Numbers) -> None:
    """The numbers of tokens into `target` (tokens, width), of the type of `values`. Raises ValueError for misfits."""
    (tokens, width), own, format = target.shape, book.own_of(target.shape[1]), FORMATS[book.format]
    symbols = streams.symbols.reshape(tokens, own // book.cells.shape[1])
    shared = streams.shared.reshape(tokens, packed_width(width - own, format))
    cells, rest = target[:, :own].view(numbers.of_symbol.dtype), target[:, own:].view(numbers.of_shared.dtype)
    for start in range(0, tokens, BLOCK_TOKENS):
        block = slice(start, start + BLOCK_TOKENS)
        # Twice as fast as an index: "clip" has no place looked at, and a byte is always within 256.
        cells[block] = numbers.of_symbol.take(symbols[block], mode="clip")
        if own < width:
            rest[block] = numbers.of_shared.take(shared[block], mode="clip")
    if streams.escaped.size:
        escaped = streams.escaped.reshape(-1, book.cell_bytes)
        levels = unpack(escaped, format)
        cells[streams.escapes.reshape(symbols.shape)] = _words(numbers.values[levels])


def coded_bytes(levels: NDArray[np.uint8], codec: str, format: str) -> int:
    """What tokens (tokens, width) of a codec, "native-20", take on disk."""
    book = book_for(codec, format, levels.shape[1])
    streams = streams_of(levels, book)
    packed = (book.pack(name, getattr(streams, name)) for name in STREAMS)
    return sum(map(len, packed)) + streams.escaped.size


def book_for(codec: str, format: str, width: int) -> CodeBook:
    """The book for new tokens of a codec, "native-20": its own or the plain one. Raises ModelError for a broken one."""
    book = _installed(book_path(codec)) if _CODEC.fullmatch(codec) else None
    return book if book and (book.format, book.width) == (format, width) else book_named("", format)


@cache
def book_named(name: str, format: str) -> CodeBook:
    """A book that a file names. Raises ValueError for one that is not installed, ModelError for a broken one.

    It lies under its own name where another one replaced it, else under its codec's; no other file is touched.
    """
    if not name:
        return CodeBook("", format, 0, 0, _stored_bytes(format), {"symbols": b"", "shared": b""})
    known = _NAME.fullmatch(name)
    if known is None:
        raise ValueError(f"{name[:80]!r} is no name of a code book")
    for stem in (name, known[1]):
        book = _installed(book_path(stem))
        if book and book.name == name:
            return book
    raise ValueError(f"its code book {name} is not installed")


def book_tagged(codec: str, tag: str) -> CodeBook:
    """The book of a codec, "native-20", whose name goes on with a tag, TAG_DIGITS of its digits.

    Raises ValueError for one that is not installed, ModelError for a broken one.
    """
    path = book_path(codec)
    for each in (path, *sorted(path.parent.glob(f"{codec}-{tag}*{path.suffix}"))):
        book = _installed(each)
        if book and book.name.startswith(f"{codec}-{tag}"):
            return book
    raise ValueError(f"its code book {codec}-{tag}... is not installed")


def symbol_book(samples: Sequence[NDArray[np.uint8]], *, own: int, cell: int) -> CodeBook:
    """A book of the cells that are most frequent in chunks like these, levels (tokens, width) of int4 each, no more.

    Of a token's numbers the first `own` are its cells', `cell` each.
    """
    return CodeBook("", INT4.name, 0, own, _frequent_cells(samples, own, cell), {})


def make_book(
    codec: str,
    samples: Sequence[NDArray[np.uint8]],
    *,
    own: int,
    cell: int,
    pieces: Pieces | None = None,
    habits: Habits | None = None,
) -> bytes:
    """The file of a book for chunks like these, as `symbol_book` takes them; a thousand or so are needed.

    Pieces are of the symbols that `symbol_book` names.
    """
    book = symbol_book(samples, own=own, cell=cell)
    streams = [streams_of(levels, book) for levels in samples]
    tensors: dict[str, NDArray[Any]] = {"cells": book.cells}
    for name, size in (("symbols", SYMBOL_BYTES), ("shared", SHARED_BYTES)):
        plain: list[bytes | bytearray | memoryview] = [getattr(each, name).tobytes() for each in streams]
        needed = plain[0] and not (name == "symbols" and pieces) and not (name == "shared" and _alike(samples, own))
        words = zstandard.train_dictionary(size, plain).as_bytes() if needed else b""
        tensors[name] = np.frombuffer(words, np.uint8)
    if _alike(samples, own):
        tensors["alike"] = pack(samples[0][:1, own:], INT4).ravel()
    for learnt in (pieces, habits):
        tensors |= learnt.tensors() if learnt else {}
    return save_sorted(
        tensors, {"codec": codec, "format": INT4.name, "width": str(samples[0].shape[1]), "own": str(own)}
    )


def _alike(samples: Sequence[NDArray[np.uint8]], own: int) -> bool:
    """Whether all tokens share the same numbers."""
    first = samples[0][:1, own:]
    return bool(first.size) and all((levels[:, own:] == first).all() for levels in samples)


def book_path(codec: str, directory: Path | None = None) -> Path:
    """Where the book of a codec, "native-20", lies; `directory` None: where books are installed."""
    return (directory or BOOKS) / f"{codec}.codebook"


def book_name(codec: str, data: bytes) -> str:
    """By which files name a book."""
    return f"{codec}-{hashlib.sha256(data).hexdigest()[:8]}"


def _frequent_cells(samples: Sequence[NDArray[np.uint8]], own: int, cell: int) -> NDArray[np.uint8]:
    """Up to 255 cells, (symbols, numbers of a cell); all that there can be where one more byte value names them."""
    if INT4.levels**cell <= ESCAPE + 1:
        return np.ascontiguousarray(np.indices((INT4.levels,) * cell, np.uint8).reshape(cell, -1).T)
    words = [_words(np.ascontiguousarray(levels[:, :own]).reshape(-1, cell)) for levels in samples]
    found, counts = np.unique(np.concatenate(words), return_counts=True)
    return found[np.argsort(-counts, kind="stable")][:ESCAPE].view(np.uint8).reshape(-1, cell)


def _installed(path: Path) -> CodeBook | None:
    """The book in a file; None where there is no such file."""
    return _read(path) if path.exists() else None


@cache
def _read(path: Path) -> CodeBook:
    try:
        data = path.read_bytes()
        tensors, facts = load(data), _metadata(data)
        book = CodeBook(
            name=book_name(facts["codec"], data),
            format=facts["format"],
            width=int(facts["width"]),
            own=int(facts["own"]),
            cells=tensors["cells"],
            dictionaries={"symbols": tensors["symbols"].tobytes(), "shared": tensors["shared"].tobytes()},
            shared=tensors["alike"].tobytes() if "alike" in tensors else b"",
            pieces=Pieces.from_tensors(tensors),
            habits=Habits.from_tensors(tensors),
        )
        _check(book)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"the code book {path.name} cannot be read ({error}): reinstall Percel") from error
    return book


def _check(book: CodeBook) -> None:
    """Raises ValueError for a book that tokens cannot be coded with."""
    cells, levels = book.cells, FORMATS[book.format].levels
    if cells.dtype != np.uint8 or cells.ndim != 2 or cells.shape[1] not in _WORDS or not 0 < len(cells) <= 256:
        raise ValueError(f"its cells are {cells.dtype} {cells.shape}")
    if cells.max() >= levels or not 0 < book.own <= book.width or book.own % cells.shape[1]:
        raise ValueError(f"its cells do not fit {book.own} of {book.width} numbers of {book.format}")
    if book.shared and len(book.shared) != packed_width(book.width - book.own, FORMATS[book.format]):
        raise ValueError(f"its tokens share {len(book.shared)} bytes")
    one = np.zeros(1, np.uint8)
    for dictionary in book.dictionaries.values():
        unpack_frames([pack_frame(one)], [1], dictionary)  # takes the dictionary in, as the next frames need it


def _metadata(data: bytes) -> dict[str, str]:
    length = int.from_bytes(data[:8], "little")
    facts: dict[str, str] = json.loads(data[8 : 8 + length])["__metadata__"]
    return facts


def _stored_bytes(format: str) -> NDArray[np.uint8]:
    """The levels in each stored byte of a format: (256, 2), or (256, 1) for int8."""
    return unpack(np.arange(256, dtype=np.uint8)[:, None], FORMATS[format])


def _words(rows: NDArray[Any]) -> NDArray[Any]:
    """Rows (n, k) as n words that can be moved, and compared, as one."""
    rows = np.ascontiguousarray(rows)
    return rows.view(_WORDS[rows.itemsize * rows.shape[1]]).ravel()
