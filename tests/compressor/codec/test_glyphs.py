"""What the cells' own numbers tell by themselves: rare glyphs, look-alikes, signs; and the files they are read from."""

import re
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from compressor.codec.atlas import load_atlas
from compressor.codec.glyphs import ALL_TOLD, glyphs_path, load_glyphs, own_numbers, write_glyphs
from compressor.codec.native import NativeCodec, load_codec, set_texts
from compressor.codec.typography import characters_of
from compressor.codec.weights import DIRECTORY, RATES, fingerprint, load_levels, save_level, weight_path
from compressor.device import has_native_bf16
from compressor.errors import ModelError
from compressor.styles import Style

CPU = torch.device("cpu")
# Article 1 of the Universal Declaration of Human Rights, or part of it.
TEXTS = {
    "Chinese": "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。",
    "Japanese": "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。",
    "Korean": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
    "Russian": "Все люди рождаются свободными и равными в своем достоинстве и правах. Они наделены разумом и совестью.",
    "Greek": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα.",
    "Thai": "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ",
    "Hindi": "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है",
    "Hebrew": "כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם.",
    "Vietnamese, decomposed": "Tất cả mọi người sinh ra đều được tự do và bình đẳng",
}


@pytest.fixture(scope="module", params=ALL_TOLD)
def level(request: pytest.FixtureRequest) -> int:
    found: int = request.param
    return found


@cache
def _codec(level: int) -> NativeCodec:
    return load_codec(f"native-{RATES[level]}", device="cpu")


def _read(codec: NativeCodec, text: str) -> str:
    """What is read before the residual."""
    (cache,) = codec.encode([text])
    raw = codec.read_raw(cache)
    return "".join(map(chr, raw.codes[characters_of(raw)].tolist()))


@pytest.mark.parametrize("script", TEXTS)
def test_scripts_that_the_network_hardly_learnt_are_read_right(level: int, script: str) -> None:
    text = TEXTS[script]
    read = _read(_codec(level), text)
    right = sum(a == b for a, b in zip(read, text, strict=True))
    assert right >= len(text) - (2 if level else 0), read


def test_rare_glyphs_are_read_without_a_residual(level: int) -> None:
    rng = np.random.default_rng(0)
    text = "".join(map(chr, rng.integers(0x4E00, 0x9FA5, size=400).tolist()))
    (cache,) = _codec(level).encode([text])
    assert cache.raw_char_accuracy >= 0.98
    assert len(cache.residual) <= 0.03 * len(text.encode())


def test_of_wide_letters_with_the_same_numbers_the_common_one_is_read() -> None:
    """At native-20 the Japanese one for "right" has those of a rare one."""
    codec = _codec(1)
    assert codec._glyphs is not None
    first, second = codec._glyphs.first, codec._glyphs.second
    assert (first[ord("権")], second[ord("権")]) == (first[ord("檂")], second[ord("檂")])
    assert _read(codec, "権利") == "権利"
    assert codec.read(codec.encode(["檂利"])) == ["檂利"]


def test_a_letter_is_of_the_script_of_its_word(level: int) -> None:
    """Each of these words has letters that look alike in both scripts, and one that tells."""
    text = "дорога, Drop, жара, Grace, фара, Harp, щека, Rope"
    assert _read(_codec(level), text) == text


def test_a_sign_that_looks_like_an_ascii_one_is_read_as_that_one(level: int) -> None:
    codec = _codec(level)
    text = "well‐known; well-known"  # the first has a U+2010
    assert _read(codec, text) == text.replace("‐", "-")
    assert codec.read(codec.encode([text])) == [text]


def test_letters_of_mathematics_that_look_like_bold_ones_are_not_taken_for_them(level: int) -> None:
    codec = _codec(level)
    text = "Bold words, and 𝗕𝗼𝗹𝗱 letters of mathematics. " * 4
    styles = np.array([Style.BOLD if letter in "Boldwrs" else 0 for letter in text], np.uint8)
    caches = codec.encode([text], [styles])
    assert codec.read(caches) == [text]
    assert (codec.read_styles(caches)[0] == styles).all()
    assert _read(codec, "Bold words") == "Bold words"
    raw = codec.read_raw(codec.encode([text], [styles])[0])
    assert "".join(map(chr, raw.codes.ravel()[:10].tolist())) == "Bold words"


def test_wide_characters_are_plain_where_their_own_numbers_say_so() -> None:
    text = TEXTS["Chinese"] * 20
    (cache,) = _codec(0).encode([text])
    assert not _codec(0).read_raw(cache).styles.any()
    assert len(cache.residual) < len(text.encode()) / 200


def test_another_precision_reads_mixed_scripts_the_same(level: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    words = [word for text in TEXTS.values() for word in re.findall(r"\S{1,8}", text)]
    texts = [" ".join(rng.choice(words, size=120).tolist()) for _ in range(12)]
    codec = _codec(level)
    monkeypatch.setattr("compressor.codec.native.has_native_bf16", lambda device: not has_native_bf16(device))
    other = load_codec(codec.name, device="cpu")
    assert other._dtype is not codec._dtype
    assert other.read(codec.encode(texts)) == texts
    assert codec.read(other.encode(texts)) == texts


def test_the_committed_numbers_are_those_that_glyphs_become(level: int, tmp_path: Path) -> None:
    """Another kind of CPU may round a few the other way, which is why they are committed."""
    codec = _codec(level)
    committed = load_file(glyphs_path(codec.name, DIRECTORY))
    anew = load_file(write_glyphs(codec, level, tmp_path))
    assert (anew["characters"] == committed["characters"]).all()
    same = (anew["numbers"] == committed["numbers"]).all((1, 2))
    assert same.mean() > 0.99


def test_numbers_are_those_of_the_cells_of_the_glyph(level: int) -> None:
    codec = _codec(level)
    glyphs = load_glyphs(codec.name, level, DIRECTORY, CPU)
    assert glyphs is not None
    (grid,) = set_texts(["aж漢"])
    own = own_numbers(torch.from_numpy(codec.draw_and_encode([grid])[-1][0]), level)[0]
    bits = 4 * torch.arange(own.shape[-1])
    keys = (own.long() << bits).sum(-1)
    assert glyphs.first[[ord("a"), ord("ж"), ord("漢")]].tolist() == keys[:3].tolist()
    assert glyphs.second[[ord("a"), ord("漢")]].tolist() == [-1, int(keys[3])]
    assert load_atlas().wide[ord("漢")]


def test_a_broken_file_is_named(level: int, tmp_path: Path) -> None:
    codec = _codec(level)
    broken = glyphs_path(codec.name, tmp_path)
    broken.write_bytes(glyphs_path(codec.name, DIRECTORY).read_bytes()[:-9])
    message = rf"the glyphs' numbers {broken.name} cannot be read \(.+\): reinstall Percel"
    with pytest.raises(ModelError, match=message):
        load_glyphs(codec.name, level, tmp_path, CPU)


def test_a_file_of_another_rate_is_refused(level: int, tmp_path: Path) -> None:
    codec = _codec(level)
    shutil.copy(glyphs_path(f"native-{RATES[1 - level]}", DIRECTORY), glyphs_path(codec.name, tmp_path))
    message = (
        rf"{codec.name}.glyphs cannot be read \(numbers of the shape \(\d+, 2, \d\) are another rate's\): reinstall"
    )
    with pytest.raises(ModelError, match=message):
        load_glyphs(codec.name, level, tmp_path, CPU)


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    shutil.copy(weight_path(0), tmp_path)
    glyphs_path("native-10", tmp_path).mkdir()
    with pytest.raises(
        ModelError, match=r"the glyphs' numbers native-10.glyphs cannot be read \(.+\): reinstall Percel"
    ):
        load_codec("native-10", device="cpu", directory=tmp_path)


def test_numbers_of_other_weights_go_where_weights_are_written(tmp_path: Path) -> None:
    glyphs = glyphs_path("native-10", tmp_path)
    glyphs.write_bytes(b"another's, or broken")
    level, *_ = load_levels(10, CPU)
    save_level(level, level.shape, 0, sources="test", held_out={}, directory=tmp_path)
    assert not glyphs.exists()
    text = TEXTS["Korean"]
    codec = load_codec("native-10", device="cpu", directory=tmp_path)
    assert codec.read(codec.encode([text])) == [text]


def test_numbers_are_part_of_the_fingerprint_of_their_own_rate_alone(tmp_path: Path) -> None:
    for place in range(len(RATES)):
        shutil.copy(weight_path(place), tmp_path)
    bare = [fingerprint(rate, tmp_path) for rate in RATES]
    assert bare[3] == fingerprint(80)
    fingerprint.cache_clear()
    shutil.copy(glyphs_path("native-20", DIRECTORY), tmp_path)
    assert fingerprint(10, tmp_path) == bare[0]
    assert fingerprint(20, tmp_path) == fingerprint(20) != bare[1]
    assert fingerprint(40, tmp_path) == bare[2]
