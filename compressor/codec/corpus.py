"""Owns the training text: documents and synthetic words, as endless batches of cells."""

import hashlib
import json
import lzma
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from compressor.codec.atlas import PLANES, load_atlas
from compressor.codec.typography import BLANK, CONTINUATION, STRIP_CELLS, points_of
from compressor.errors import DamagedDocument, ModelError
from compressor.styles import Style

LINE_FEED = 0x0A
HOLD_OUT = 50  # every fiftieth document takes no part in training
PRINTABLE = np.arange(0x21, 0x7F, dtype=np.int32)
# What keys, amounts and dates are made of: prose alone holds too few digits to learn them as well as letters.
STRING_ALPHABETS = (PRINTABLE, np.array(list(map(ord, "0123456789" * 3 + ".,:/-")), np.int32))
SHORT_ENDS = 0.2  # share of rows that end early, as the last token of a chunk does
LATIN_LETTERS = np.array([*range(0xC0, 0x180), *range(0x1E00, 0x1F00)], np.int32)
# Signs that real documents hold one at a time; scattered over some of the text so that they are learnt in place.
SIGNS = np.array(
    list(
        map(
            ord,
            "\t€£¥¢§©®°±²³µ¶·¼½¾×÷¡¿«»‐‑‒–—―‘’‚“”„†‡•…‰′″‹›⁄₀₁₂₃₄™№Ω←↑→↓↔⇒∀∂∃∅∆∇∈−∏∑√∞∩∪∫≈≠≡≤≥─│├└█■□▪●◦★☐☑✓✗",
        )
    ),
    np.int32,
)
# Blocks that synthetic words are made of: (first, last, weight). Every glyph of the font also takes part on its own.
BLOCKS = (
    (0x00A0, 0x00FF, 5), (0x0100, 0x024F, 6), (0x1E00, 0x1EFF, 5), (0x0300, 0x036F, 3), (0x0370, 0x03FF, 6),
    (0x0400, 0x04FF, 7), (0x0530, 0x058F, 3), (0x0590, 0x05FF, 4), (0x0600, 0x06FF, 7), (0x0900, 0x097F, 5),
    (0x0980, 0x09FF, 4), (0x0A00, 0x0AFF, 2), (0x0B00, 0x0BFF, 3), (0x0C00, 0x0D7F, 3), (0x0E00, 0x0EFF, 5),
    (0x1000, 0x109F, 3), (0x10A0, 0x10FF, 3), (0x1200, 0x137F, 4), (0x1780, 0x17FF, 3), (0x1F00, 0x1FFF, 2),
    (0x2000, 0x206F, 5), (0x2070, 0x20CF, 4), (0x2100, 0x214F, 2), (0x2190, 0x21FF, 2), (0x2200, 0x22FF, 3),
    (0x2300, 0x23FF, 1), (0x2500, 0x25FF, 3), (0x2600, 0x27BF, 3), (0x3000, 0x303F, 3), (0x3040, 0x30FF, 7),
    (0x4E00, 0x9FFF, 16), (0xAC00, 0xD7A3, 8), (0xFF00, 0xFFEF, 2), (0x1D400, 0x1D7FF, 1), (0x1F300, 0x1FAFF, 6),
)  # fmt: skip
STYLED = 0.5  # share of rows with styled words in them
STYLES = (  # (style, weight) of runs of words
    (Style.BOLD, 5), (Style.ITALIC, 4), (Style.CODE, 5), (Style.LINK, 3), (Style.BOLD | Style.ITALIC, 1),
    (Style.BOLD | Style.LINK, 1), (Style.CODE | Style.LINK, 1), (Style.CODE | Style.BOLD, 1),
    (Style.HEADING_1, 1), (Style.HEADING_2, 1), (Style.HEADING_3, 1), (Style.HEADING_2 | Style.CODE, 1),
)  # fmt: skip
CODE_BLOCK = 0.15  # share of styled rows that are code from end to end
ANY_GLYPH = 6  # the weight of words from the whole font
COMMON = 0.8  # share of the words in Han and Hangul that keep to the common characters


@dataclass(frozen=True, slots=True)
class Corpus:
    """Cells of all documents of a kind end to end."""

    train: dict[str, NDArray[np.int32]]  # kind -> (cells,)
    held_out: dict[str, list[str]]  # kind -> texts
    digest: str = ""  # of the documents that were given


def load_texts(paths: list[Path]) -> Iterator[tuple[str, str]]:
    """(kind, text) of every document: `.jsonl[.xz]` with kind and text a line; another file is prose, or code (.py).

    Raises DamagedDocument for lines that cannot be read.
    """
    for path in paths:
        if path.name.endswith((".jsonl", ".jsonl.xz")):
            yield from _load_lines(path)
        else:
            yield ("code" if path.suffix == ".py" else "prose"), path.read_text("utf-8", errors="replace")


def _load_lines(path: Path) -> Iterator[tuple[str, str]]:
    opener = lzma.open if path.suffix == ".xz" else open
    number = 0
    try:
        with opener(path, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):  # noqa: B007 - for the message
                if not line.isspace():
                    yield _document_of(line)
    except (EOFError, lzma.LZMAError, ValueError, RecursionError) as error:
        raise DamagedDocument(
            f'{path.name} cannot be read at or behind line {number} ({error}): lines like {{"kind": "prose", "text": '
            '"..."} in UTF-8 are read'
        ) from error


def _document_of(line: str) -> tuple[str, str]:
    """Raises ValueError."""
    row = json.loads(line)
    if not isinstance(row, dict) or not all(isinstance(row.get(key), str) for key in ("kind", "text")):
        raise ValueError("no kind and text")
    # JSON may hold half of a pair of UTF-16, which is no character.
    return row["kind"], row["text"].encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def standard_library() -> Iterator[tuple[str, str]]:
    """The Python standard library on this machine: text of the kind `code`."""
    for path in sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py")):
        if "site-packages" not in path.parts:
            yield "code", path.read_text("utf-8", errors="replace")


def cells_of(text: str) -> NDArray[np.int32]:
    """Text -> its cells end to end, a wide character as itself and a continuation."""
    points = np.frombuffer(text.encode("utf-32-le", errors="replace"), np.uint32).astype(np.int32)
    points = points[points < 0x1FFFF]
    wide = load_atlas().wide[points]
    cells = np.full(len(points) + int(wide.sum()), CONTINUATION, np.int32)
    cells[np.cumsum(1 + wide) - 1 - wide] = points
    return cells


def build_corpus(paths: list[Path]) -> Corpus:
    """Reads all documents; every fiftieth of a kind is held out whole."""
    train: dict[str, list[NDArray[np.int32]]] = {}
    held_out: dict[str, list[str]] = {}
    seen: dict[str, int] = {}
    given = list(load_texts(paths))
    digest = hashlib.sha256()
    for kind, text in given:
        digest.update(f"{kind}\0{text}\0".encode())
    for kind, text in (*given, *standard_library()):
        seen[kind] = seen.get(kind, 0) + 1
        if seen[kind] % HOLD_OUT == 0:
            held_out.setdefault(kind, []).append(text)
        else:
            train.setdefault(kind, []).append(cells_of(text.replace("\r\n", "\n") + "\n"))
    return Corpus({kind: np.concatenate(parts) for kind, parts in train.items()}, held_out, digest.hexdigest())


def synthetic_words(rng: Generator, cells: int) -> NDArray[np.int32]:
    """Words of one block each, between spaces: teaches the glyphs that the documents are short of."""
    atlas = load_atlas()
    drawn = np.flatnonzero(atlas.first)
    drawn = drawn[(drawn >= 0x21) & ((drawn < 0xD800) | (drawn > 0xF8FF))]
    blocks = [drawn[(drawn >= low) & (drawn <= high)] for low, high, _ in BLOCKS] + [drawn]
    common = {0x4E00: _double_byte("gb2312", 0xB0, 0xD7), 0xAC00: _double_byte("euc_kr", 0xB0, 0xC8)}
    weights = np.array([weight for *_, weight in BLOCKS] + [ANY_GLYPH], float)
    words = []
    total = 0
    for index in rng.choice(len(blocks), size=cells // 4, p=weights / weights.sum()).tolist():
        first = BLOCKS[index][0] if index < len(BLOCKS) else 0
        letters = common[first] if first in common and rng.random() < COMMON else blocks[index]
        word = letters[rng.integers(len(letters), size=rng.integers(2, 12))]
        words.append(" " + "".join(map(chr, word.tolist())))
        total += len(word) + 1
        if total >= cells:
            break
    return cells_of("".join(words))


def _double_byte(encoding: str, first: int, last: int) -> NDArray[np.int32]:
    """The characters of rows of a national standard, from Python's own codec: the common ones of a script."""
    pairs = bytes(byte for row in range(first, last + 1) for column in range(0xA1, 0xFF) for byte in (row, column))
    return np.array([ord(character) for character in pairs.decode(encoding, errors="ignore")], np.int32)


def style_words(rng: Generator, text: str) -> NDArray[np.uint8]:
    """Style bits of a text's characters, (characters,): runs of whole words, most of the text plain."""
    return _style_words(rng, points_of(text))


def _style_words(rng: Generator, codes: NDArray[np.int32]) -> NDArray[np.uint8]:
    styles = np.zeros(len(codes), np.uint8)
    weights = np.array([weight for _, weight in STYLES], float)
    gaps = np.flatnonzero((codes == BLANK) | (codes == LINE_FEED))
    for index in rng.choice(len(STYLES), size=rng.integers(1, 2 + len(codes) // 50), p=weights / weights.sum()):
        start = int(rng.integers(len(codes)))
        end = min(start + int(rng.geometric(1 / 16)), len(codes))
        before, after = np.searchsorted(gaps, [start, end])
        start = int(gaps[before - 1]) + 1 if before else 0
        end = int(gaps[after]) if after < len(gaps) else len(codes)
        styles[start:end] = STYLES[index][0]
    return styles


class Sampler:
    """Endless random batches of strips; one random stream, so a seed repeats a run."""

    def __init__(self, corpus: Corpus, shares: dict[str, float], *, strips: int, strings: float, seed: int) -> None:
        """`shares` of the kinds of text; `strings` is the share of batches that carry random strings and accents.

        Raises ModelError for text of another kind; "scripts" are made up and not read.
        """
        self.strings = strings
        self.rng = np.random.default_rng(seed)
        self.cells = strips * STRIP_CELLS
        known = shares.keys() - {"scripts"}
        unknown = corpus.train.keys() - known
        if unknown:
            raise ModelError(
                f"the text has the kinds {', '.join(sorted(unknown))}; trained on are {', '.join(sorted(known))}"
            )
        self.texts = {kind: cells for kind, cells in corpus.train.items() if len(cells) > self.cells}
        if shares.get("scripts"):
            self.texts["scripts"] = synthetic_words(self.rng, 6_000_000)
        total = sum(shares[kind] for kind in self.texts)
        self.kinds = list(self.texts)
        self.shares = [shares[kind] / total for kind in self.kinds]

    def batch(self, rows: int) -> NDArray[np.int32]:
        """(rows, strips * 56) int32 codes."""
        rng = self.rng
        out = np.empty((rows, self.cells), np.int32)
        for row, kind in enumerate(rng.choice(len(self.kinds), size=rows, p=self.shares)):
            text = self.texts[self.kinds[kind]]
            start = rng.integers(len(text) - self.cells)
            out[row] = text[start : start + self.cells]
        if rng.random() < self.strings:
            self._scatter(out)
        edges = out.reshape(rows, -1, STRIP_CELLS)
        heads, tails = edges[..., 0], edges[..., -1]  # a wide character never straddles two strips
        heads[heads == CONTINUATION] = BLANK
        tails[load_atlas().wide[np.where(tails == CONTINUATION, BLANK, tails)]] = BLANK
        # A random end: the blank cells behind a short text.
        for short in np.flatnonzero(rng.random(rows) < SHORT_ENDS):
            out[short, int(rng.integers(1, self.cells)) :] = BLANK
        return out

    def styles(self, codes: NDArray[np.int32]) -> NDArray[np.uint8]:
        """Style bits for a batch, of its shape: half of the rows stay plain, the others have runs of styled words."""
        rng = self.rng
        styles = np.zeros(codes.shape, np.uint8)
        for row in np.flatnonzero(rng.random(len(codes)) < STYLED):
            styles[row] = Style.CODE if rng.random() < CODE_BLOCK else _style_words(rng, codes[row])
        styles[:, 1:][codes[:, 1:] == CONTINUATION] = styles[:, :-1][codes[:, 1:] == CONTINUATION]
        return styles

    def _scatter(self, out: NDArray[np.int32]) -> None:
        rng = self.rng
        rows = len(out)
        narrow = (out != CONTINUATION) & ~load_atlas().wide[np.where(out == CONTINUATION, BLANK, out)]
        # Random strings of 4 to 40 characters, over an eighth of the cells: keys, ids and numbers survive.
        for row in range(rows):
            covered = 0
            while covered < self.cells // 8:
                length = int(rng.integers(4, 41))
                start = int(rng.integers(0, self.cells - length))
                run = slice(start, start + length)
                alphabet = STRING_ALPHABETS[rng.integers(len(STRING_ALPHABETS))]
                letters = alphabet[rng.integers(len(alphabet), size=length)]
                out[row, run] = np.where(narrow[row, run], letters, out[row, run])
                covered += length
        accented = narrow & (rng.random(out.shape) < 0.1) & (rng.random(rows)[:, None] < 0.25)
        accented &= ((out >= 0x41) & (out <= 0x5A)) | ((out >= 0x61) & (out <= 0x7A))
        out[accented] = LATIN_LETTERS[rng.integers(len(LATIN_LETTERS), size=int(accented.sum()))]
        signs = narrow & (rng.random(out.shape) < 0.03) & (rng.random(rows)[:, None] < 0.25)
        signs &= ~load_atlas().wide[out.clip(0, PLANES - 1)]
        chosen = SIGNS[rng.integers(len(SIGNS), size=int(signs.sum()))]
        out[signs] = np.where(load_atlas().wide[chosen], out[signs], chosen)
