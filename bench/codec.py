"""Rate against fidelity and bytes, by kind of text, on documents that took no part in training.

    python -m bench.codec --text train-text.jsonl.xz [--scripts FOLDER] [--codec native-20]... [--chars 400000]

Kinds come from the file; random printable strings and, with --scripts, UTF-8 texts by script are added.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np

from bench.report import OUT, count, new_plot, save_plot, show, write
from compressor.codebook import coded_bytes
from compressor.codec.corpus import HOLD_OUT, PRINTABLE, load_texts, standard_library, style_words
from compressor.codec.measure import Figures, chunks_of, measure
from compressor.codec.native import NativeCodec, load_codec
from compressor.codec.typography import read_styles
from compressor.codec.weights import available_rates
from compressor.embed import reference_counter
from compressor.formats import FORMATS, pack
from compressor.styles import Style

GOALS = {
    "native-10": {"prose": 0.9999, "tech": 0.9998, "code": 0.9998, "spanish": 0.9998, "random": 0.9995},
    "native-20": {"prose": 0.9999, "tech": 0.9995, "code": 0.9995, "spanish": 0.9995, "random": 0.995},
    "native-40": {"prose": 0.998, "tech": 0.99, "code": 0.99, "spanish": 0.99, "random": 0.9},
    "native-80": {"prose": 0.95},
}
STYLED_CHUNKS = 32
ENTROPY_CHUNKS = 32  # of prose, for the look at what coding the tokens saves


def held_out_texts(paths: list[Path], chars: int) -> dict[str, list[str]]:
    """kind -> texts of documents that training holds out, `chars` characters a kind at most.

    Kinds of which none is held out are told and left out.
    """
    seen: dict[str, int] = {}
    texts: dict[str, list[str]] = {}
    for kind, text in (*load_texts(paths), *standard_library()):
        seen[kind] = seen.get(kind, 0) + 1
        if seen[kind] % HOLD_OUT == 0:
            texts.setdefault(kind, []).append(text)
    for kind in seen.keys() - texts.keys():
        print(f"{kind}: not measured; of fewer than {HOLD_OUT} documents none is held out of training", file=sys.stderr)
    return {kind: list(_cut(parts, chars)) for kind, parts in texts.items()}


def _cut(texts: list[str], chars: int) -> Iterator[str]:
    each = max(1, chars // len(texts))
    for text in texts:
        start = max(0, (len(text) - each) // 2)
        yield text[start : start + each]


def random_text(chars: int) -> str:
    """Printable strings between spaces, 4 to 40 characters long: what no reader can guess."""
    rng = np.random.default_rng(0)
    words = [
        "".join(map(chr, PRINTABLE[rng.integers(len(PRINTABLE), size=rng.integers(4, 41))]))
        for _ in range(max(1, chars // 23))
    ]
    return " ".join(words)


def coded_share(codec: NativeCodec, texts: list[str]) -> float:
    """What entropy coding leaves of the bytes of tokens: how much it saves on disk."""
    chunks = [chunk for text in texts for chunk in chunks_of(text)][:ENTROPY_CHUNKS]
    caches = codec.encode(chunks)
    coded = sum(coded_bytes(cache.levels, codec.name, cache.format) for cache in caches)
    return coded / max(1, sum(pack(cache.levels, FORMATS[cache.format]).size for cache in caches))


def measure_styled(codec: NativeCodec, texts: list[str]) -> dict[str, object]:
    """Prose with runs of styled words, every fourth chunk code from end to end: what styles cost and how they read."""
    chunks = [chunk for text in texts for chunk in chunks_of(text)][:STYLED_CHUNKS]
    rng = np.random.default_rng(0)
    styles = [
        np.full(len(chunk), Style.CODE, np.uint8) if place % 4 == 3 else style_words(rng, chunk)
        for place, chunk in enumerate(chunks)
    ]
    plain, styled = codec.encode(chunks), codec.encode(chunks, styles)
    right = [read_styles(codec.read_raw(cache)) == true for cache, true in zip(styled, styles, strict=True)]
    size = sum(len(chunk.encode()) for chunk in chunks)
    return {
        "codec": codec.name,
        "raw, plain": f"{sum(cache.raw_char_accuracy for cache in plain) / len(plain):.5f}",
        "raw, styled": f"{sum(cache.raw_char_accuracy for cache in styled) / len(styled):.5f}",
        "styles right": f"{sum(int(part.sum()) for part in right) / sum(map(len, right)):.5f}",
        "residual, plain": f"{sum(len(cache.residual) for cache in plain) / size:.3%}",
        "residual, styled": f"{sum(len(cache.residual) for cache in styled) / size:.3%}",
        "exact": codec.read(styled) == chunks
        and all((read == true).all() for read, true in zip(codec.read_styles(styled), styles, strict=True)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, nargs="+", required=True)
    parser.add_argument("--scripts", type=Path, help="folder of UTF-8 texts, one a script")
    parser.add_argument("--codec", action="append", help="repeat for more; default: every rate that is installed")
    parser.add_argument("--chars", type=count, default=400_000, help="characters a kind")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    kinds = held_out_texts(arguments.text, arguments.chars)
    kinds["random"] = [random_text(arguments.chars)]
    if arguments.scripts:
        scripts = {f"script {path.stem}": [path.read_text("utf-8")] for path in sorted(arguments.scripts.glob("*.txt"))}
        if not scripts:
            parser.error(f"{arguments.scripts} holds no .txt file")
        kinds |= scripts
    for kind, texts in kinds.items():
        if not any(texts):
            parser.error(f"there is no character of the kind {kind!r} to measure")
    counter = reference_counter()
    rows: list[tuple[str, str, Figures]] = []
    styled: list[dict[str, object]] = []
    coded: dict[str, float] = {}
    for name in arguments.codec or [f"native-{rate}" for rate in available_rates()]:
        codec = load_codec(name)
        rows += [(name, kind, measure(codec, texts, counter)) for kind, texts in kinds.items()]
        if "prose" in kinds:
            coded[name] = coded_share(codec, kinds["prose"])
            styled.append(measure_styled(codec, kinds["prose"]))
    show("Codec: rate, fidelity before the residual, bytes", [_row(name, kind, f) for name, kind, f in rows])
    if styled:
        show("Prose with styled words, and code from end to end", styled)
    for name, left in coded.items():
        print(f"{name}: entropy coding leaves {left:.1%} of the bytes of prose's tokens")
    print("A cache takes more bytes than text zipped in the same way; it saves decoder positions, prefill and context.")
    facts = [{"kind": kind, **asdict(figures)} for _, kind, figures in rows]
    print(write("codec", {"figures": facts, "styled": styled, "entropy_coded_share_of_tokens": coded}, arguments.out))
    print(draw(rows, arguments.out))


def _row(name: str, kind: str, f: Figures) -> dict[str, object]:
    goal = GOALS.get(name, {}).get(kind)
    return {
        "codec": name,
        "kind": kind,
        "chars": f.chars,
        "ratio": f"{f.ratio:.1f}x{f.token_width}",
        "raw": f"{f.raw_char_accuracy:.5f}",
        "goal": "" if goal is None else ("met" if f.raw_char_accuracy >= goal else "MISSED"),
        "words": f"{f.word_precision:.5f}",
        "numbers": f"{f.numbers_exact:.5f}",
        "ids": f"{f.ids_exact:.5f}",
        "residual": f"{f.residual_share:.3%}",
        "exact": "yes" if f.exact else "NO",
        "bytes/1k tokens": f"{f.cache_bytes_per_1000_text_tokens:,.0f}",
        "encode ch/s": f"{f.encode_chars_per_s:,.0f}",
        "read ch/s": f"{f.read_chars_per_s:,.0f}",
    }


def draw(rows: list[tuple[str, str, Figures]], out: Path) -> Path:
    """Share of characters read wrong against text tokens per vision token, and bytes beside it."""
    figure = new_plot(11)
    wrong, stored = figure.subplots(1, 2)
    kinds = [kind for kind in dict.fromkeys(kind for _, kind, _ in rows) if not kind.startswith("script ")]
    for kind in kinds:
        points = sorted((f.ratio, max(1 - f.raw_char_accuracy, 1e-6)) for _, k, f in rows if k == kind)
        wrong.plot(*zip(*points, strict=True), marker="o", label=kind)
        points = sorted((f.ratio, f.cache_bytes_per_1000_text_tokens) for _, k, f in rows if k == kind)
        stored.plot(*zip(*points, strict=True), marker="o", label=kind)
    wrong.set(
        yscale="log", xlabel="text tokens per vision token (512 wide)", title="characters wrong before the residual"
    )
    wrong.legend()
    stored.set(xlabel="text tokens per vision token", title="cache bytes per 1,000 text tokens", ylim=(0, None))
    return save_plot(figure, "codec", out)


if __name__ == "__main__":
    main()
