"""Cells drawn on a device, and written once a kind: as the image shows them, and as the network writes them."""

import numpy as np
import torch

from compressor.codec.atlas import load_atlas
from compressor.codec.model import CODES
from compressor.codec.native import NativeCodec, load_codec, set_texts
from compressor.codec.pixels import draw_kinds, kinds_of
from compressor.codec.rounded import round_linears
from compressor.codec.typography import draw, set_text, strip_pixels
from compressor.codec.weights import RATES, load_levels
from compressor.quantise import split, store

CPU = torch.device("cpu")
TEXTS = ["The gauge reads 3.412 m, Ж漢 and 한국어.\n" * 9, "Ünïcode ↦ \x00\x7f \U000f0000", "x", ""]


def _styles(texts: list[str]) -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    return [rng.integers(0, 64, len(text)).astype(np.uint8) for text in texts]


def test_every_glyph_is_drawn_as_in_the_image_in_any_style() -> None:
    drawn = np.flatnonzero(load_atlas().first)
    text = "".join(map(chr, drawn[(drawn < 0xD800) | (drawn > 0xDFFF)].tolist())) + "\U000f0000\U0010ffff"
    for styles in (None, _styles([text])[0]):
        grid = set_text(text, styles)
        kinds = kinds_of(torch.from_numpy(grid.codes), None if styles is None else torch.from_numpy(grid.styles))
        assert (draw_kinds(kinds).numpy() == strip_pixels(draw(grid))[: len(grid.codes)]).all()


def test_tokens_are_those_that_the_network_writes_cell_by_cell() -> None:
    """At every rate, whatever else is in the batch."""
    grids = set_texts(TEXTS, _styles(TEXTS))
    by_rate = _codec(80).draw_and_encode(grids)
    levels = load_levels(80, CPU)
    for level in levels:
        round_linears(level.writer)
    for place, grid in enumerate(grids[:-1]):  # the last is empty
        pixels = strip_pixels(draw(grid))[: len(grid.codes)]
        pixels = np.pad(pixels, ((0, -len(pixels) % 8), (0, 0), (0, 0)))
        with torch.inference_mode():
            written = store(levels[0].encode(torch.from_numpy(pixels).float()), CODES[0].digits)
            for rate, level in enumerate(levels):
                if rate:
                    written = store(level.merge(split(written, CODES[rate - 1].digits)), CODES[rate].digits)
                fixed = by_rate[rate][place]
                assert (written[: len(fixed)].numpy() == fixed).mean() > 0.999
    assert all(not len(levels[-1]) for levels in by_rate)


def test_only_the_rates_that_are_wanted_come_out() -> None:
    grids = set_texts(TEXTS)
    codec = _codec(80)
    (highest,) = codec.draw_and_encode(grids, lowest=len(RATES) - 1)
    assert all((one == other).all() for one, other in zip(highest, codec.draw_and_encode(grids)[-1], strict=True))


def _codec(rate: int) -> NativeCodec:
    return load_codec(f"native-{rate}", device="cpu")
