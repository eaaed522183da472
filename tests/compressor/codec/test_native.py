"""Caches of the committed weights read back exactly, at every rate and from any place."""

import io
from dataclasses import replace
from functools import cache
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from compressor.cache import Cache, Reading
from compressor.codec.model import CODES
from compressor.codec.native import NativeCodec, load_codec, set_texts
from compressor.codec.residual import Coded, read_residual, write_residual
from compressor.codec.typography import STRIP_CELLS, draw, set_text, strip_pixels
from compressor.codec.weights import available_rates, load_levels
from compressor.device import has_native_bf16
from compressor.errors import CacheDamaged, ModelError, UnknownCodec
from compressor.quantise import split
from compressor.styles import Style

PROSE = (
    "The station at Haverbridge reported a stage of 3.412 m on 14 March 2024, order ZX-99183/b, "
    "and invoice €12,480.55 was paid — “in full”, said Ms. O’Hara.\n"
) * 30
HARD = "kJ8#q_~]]zQ0x9f3b7Ae{}|\\^`7b2c4d5e-9f1a-4c3b-8d2e-0a1b2c3d4e5f\n" * 20


@pytest.fixture(scope="session", params=[f"native-{rate}" for rate in available_rates()])
def codec(request: pytest.FixtureRequest) -> NativeCodec:
    return load_codec(request.param, device="cpu")


def test_the_default_rates_are_installed() -> None:
    assert available_rates() == [10, 20, 40, 80]


def test_caches_read_back_exactly(codec: NativeCodec) -> None:
    texts = [PROSE, HARD, "漢字かな交じり文と한국어\n" * 9, "مرحبا بالعالم שלום नमस्ते 😀 \U0002f800 \x00\x7f", "", "x"]
    caches = codec.encode(texts)
    assert codec.read(caches) == texts
    assert [cache.characters for cache in caches] == [len(text) for text in texts]


@given(st.lists(st.text(max_size=200), min_size=1, max_size=4))
@settings(max_examples=30, deadline=None)
def test_any_text_reads_back_exactly_at_every_rate_through_a_png(texts: list[str]) -> None:
    grids = set_texts(texts)
    codecs = _codecs()
    by_rate = codecs[-1].draw_and_encode(grids)
    for codec, levels in zip(codecs, by_rate, strict=True):
        assert codec.read(codec.verify(texts, grids, levels)) == texts
    for grid in grids:
        file = io.BytesIO()
        draw(grid).save(file, "PNG")
        assert (strip_pixels(Image.open(file)) == strip_pixels(draw(grid))).all()


@cache
def _codecs() -> list[NativeCodec]:
    return [load_codec(f"native-{rate}", device="cpu") for rate in available_rates()]


def _default() -> NativeCodec:
    return _codecs()[1]


def test_a_vision_token_stands_for_its_rate_of_text(codec: NativeCodec) -> None:
    cache = codec.encode([PROSE])[0]
    strips = -(-len(PROSE) // STRIP_CELLS)
    assert cache.vision_tokens == -(-strips // (codec.rate // 10))


def test_prose_and_keys_are_read_almost_without_the_residual(codec: NativeCodec) -> None:
    prose, hard = codec.encode([PROSE, HARD])
    least = {10: (0.998, 0.97), 20: (0.998, 0.97), 40: (0.97, 0.9), 80: (0.8, 0.0)}[codec.rate]
    assert prose.raw_char_accuracy > least[0]
    assert hard.raw_char_accuracy > least[1]


def test_styles_are_drawn_and_read_back_exactly(codec: NativeCodec) -> None:
    texts = [PROSE, HARD, "漢字 and text, 한국어\n" * 9, "", "x"]
    rng = np.random.default_rng(3)
    styles = [np.repeat(rng.integers(0, 64, len(text) // 9 + 1), 9)[: len(text)].astype(np.uint8) for text in texts]
    caches = codec.encode(texts, styles)
    assert codec.read(caches) == texts
    assert all((read == true).all() for read, true in zip(codec.read_styles(caches), styles, strict=True))
    assert not codec.read_styles(codec.encode([PROSE]))[0].any()


def test_a_cache_merges_to_every_higher_rate_as_its_text_encodes_there() -> None:
    texts = [PROSE, HARD[:560], HARD[:57], "x", ""]
    for lower, higher in combinations(_codecs(), 2):
        encoded = [cache.levels for cache in higher.encode(texts)]
        merged = higher.merge(lower.encode(texts))
        assert [levels.shape for levels in merged] == [levels.shape for levels in encoded]
        same = np.concatenate(merged) == np.concatenate(encoded)
        assert same.mean() > 0.99  # a batch of another size rounds a few numbers the other way
        read = higher.read_merged(lower.encode([PROSE]))[0]
        right = np.mean([one == other for one, other in zip(read, PROSE, strict=True)])
        assert right == pytest.approx(higher.encode([PROSE])[0].raw_char_accuracy, abs=0.01)


def test_a_cache_of_a_higher_rate_is_not_merged_down() -> None:
    low, high = _codecs()[:2]
    cache = high.encode(["text"])[0]
    with pytest.raises(UnknownCodec, match=rf"native-10 cannot merge a cache of {high.fingerprint}: it is of another"):
        low.merge([cache])


def test_a_glyph_has_the_same_numbers_wherever_it_stands() -> None:
    """What makes tokens repeat as letters do, so that entropy coding takes them down."""
    codec, code = _codecs()[0], CODES[0]
    levels = codec.encode(["abcab" * 200])[0].levels[:, : STRIP_CELLS * code.own]
    cells = levels.reshape(-1, code.own)[:1000].reshape(200, 5, code.own)
    assert (cells == cells[:1]).all()
    assert (cells[:, :2] == cells[:, 3:]).all()
    assert (cells[0, 0] != cells[0, 1]).any()


@pytest.mark.parametrize("level", range(3))
def test_printable_characters_share_no_code_up_to_native_40(level: int) -> None:
    codec, code = _codecs()[level], CODES[level]
    printable = "".join(map(chr, range(0x20, 0x7F)))
    numbers = split(torch.from_numpy(codec.encode([printable])[0].levels), code.digits)
    own = numbers[:, : STRIP_CELLS * codec.strips_per_token * code.own].reshape(-1, code.own)[: len(printable)]
    assert len(set(map(tuple, own.tolist()))) == len(printable)


def test_at_native_40_a_style_seldom_changes_the_numbers_of_a_character() -> None:
    """What a slice shares tells the style, so that characters are read as well, and coded as short, in every style."""
    codec, code = _codecs()[2], CODES[2]
    printable = "".join(map(chr, range(0x21, 0x7F)))
    styles = [np.full(len(printable), style, np.uint8) for style in (0, Style.BOLD, Style.CODE, Style.HEADING_2)]
    caches = codec.encode([printable] * len(styles), styles)
    numbers = [split(torch.from_numpy(cache.levels), code.digits)[:, : len(printable) * code.own] for cache in caches]
    for styled in numbers[1:]:
        alike = (styled == numbers[0]).view(len(printable), code.own).all(1)
        assert alike.float().mean() > 0.85


def test_reading_and_encoding_twice_give_the_same_bits(codec: NativeCodec) -> None:
    first, again = codec.encode([PROSE, HARD]), codec.encode([PROSE, HARD])
    assert [cache.levels.tobytes() for cache in first] == [cache.levels.tobytes() for cache in again]
    assert [cache.residual for cache in first] == [cache.residual for cache in again]


def as_numbers(cache: Cache) -> bytes:
    """The residual of a cache of PROSE, written so that no tokens are needed to understand it."""
    true = set_text(PROSE).cells.ravel()
    found = true.copy()
    if cache.residual:
        coded = Coded(cache.levels, cache.codec.partition("@")[0])
        found[read_residual(cache.residual, chunk_cells=1 << 20, coded=coded).places] ^= 1
    return write_residual(true, found, np.zeros(true.shape, np.uint8))


def test_a_range_is_read_from_its_own_tokens_only(codec: NativeCodec) -> None:
    cache = codec.encode([PROSE])[0]
    blank = np.zeros_like(cache.levels)
    first = 2000 // (STRIP_CELLS * codec.strips_per_token)
    blank[first : first + 8] = cache.levels[first : first + 8]
    partly = Cache(
        cache.codec, cache.format, blank, cache.counts, as_numbers(cache), cache.digest, cache.raw_char_accuracy
    )
    assert codec.read_ranges([Reading(partly, 2000, 2100)]) == [PROSE[2000:2100]]


@pytest.mark.parametrize(("start", "end"), [(0, 0), (0, 1), (55, 57), (111, 113), (1000, 1700), (4300, len(PROSE))])
def test_ranges_are_verbatim(codec: NativeCodec, start: int, end: int) -> None:
    mixed = ("漢" + PROSE)[: len(PROSE)]
    caches = codec.encode([PROSE, mixed])
    readings = [Reading(cache, start, end) for cache in caches]
    assert codec.read_ranges(readings) == [PROSE[start:end], mixed[start:end]]


def test_a_batch_reads_as_its_members_do(codec: NativeCodec) -> None:
    texts = [PROSE[:700], HARD[:333], PROSE[100:2500]]
    together = codec.encode(texts)
    assert codec.read(together) == [codec.read([cache])[0] for cache in together]


def test_changed_tokens_are_noticed() -> None:
    codec = _default()
    cache = codec.encode([PROSE])[0]
    changed = Cache(cache.codec, cache.format, 15 - cache.levels, cache.counts, b"", cache.digest, 1.0)
    with pytest.raises(CacheDamaged, match=r"a cache does not read back to its text: run `percel doctor --repair`"):
        codec.read([changed])


@pytest.mark.parametrize(
    "change",
    [
        {"counts": np.full(400, STRIP_CELLS, np.uint8)},
        {"counts": np.full(2, 200, np.uint8)},
        {"levels": np.zeros((0, 512), np.uint8)},
        {"levels": np.zeros((40, 256), np.uint8)},
    ],
)
def test_tokens_and_counts_that_do_not_fit_are_damage_and_no_other_text_is_read_for_them(change) -> None:
    codec = _default()
    cache, secret = codec.encode([PROSE, "secret " * 200])
    made_up = replace(cache, **change)
    message = r"a cache has tokens or counts that its codec cannot have made: run `percel doctor --repair`"
    for read in (
        lambda: codec.read([made_up, secret]),
        lambda: codec.read_ranges([Reading(made_up, 0, 9000), Reading(secret, 0, 9)]),
        lambda: codec.read_styles([made_up, secret]),
        lambda: codec.read_merged([made_up, secret]),
        lambda: codec.read_raw(made_up),
    ):
        with pytest.raises(CacheDamaged, match=message):
            read()


def test_a_cache_of_another_codec_is_refused_by_name() -> None:
    codec = _default()
    other = _codecs()[0]
    with pytest.raises(UnknownCodec, match=rf"made by {other.fingerprint}; the codec at hand is {codec.fingerprint}"):
        codec.read(other.encode(["text"]))


def test_unknown_names_and_fingerprints_are_refused() -> None:
    with pytest.raises(UnknownCodec, match=r"native-11 is not a native codec; choose from native-10, native-20"):
        load_codec("native-11", device="cpu")
    with pytest.raises(UnknownCodec, match=r"caches of native-20@000000000000 cannot be read here"):
        load_codec("native-20@000000000000", device="cpu")


def test_missing_weights_name_the_file(tmp_path) -> None:
    with pytest.raises(ModelError, match=r"native-10 needs native-10.safetensors, which is not installed"):
        load_levels(10, torch.device("cpu"), tmp_path)


def test_another_precision_and_thread_count_read_the_same_text(
    codec: NativeCodec, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [PROSE, HARD, "漢字かな交じり文と한국어 " * 20]
    caches = codec.encode(texts)
    threads = torch.get_num_threads()
    monkeypatch.setattr("compressor.codec.native.has_native_bf16", lambda device: not has_native_bf16(device))
    other = load_codec(codec.name, device="cpu")
    assert other._dtype is not codec._dtype
    try:
        torch.set_num_threads(1)
        assert codec.read(caches) == texts
        assert other.read(caches) == texts
    finally:
        torch.set_num_threads(threads)
