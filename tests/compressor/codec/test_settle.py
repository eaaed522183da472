"""What is read of cells is the same wherever logits move as they do between devices, or it is doubtful."""

from functools import cache

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from compressor.codec import glyphs as glyphs_module
from compressor.codec.glyphs import ALL_TOLD, load_glyphs
from compressor.codec.lookalikes import NONE
from compressor.codec.native import NativeCodec, load_codec, set_texts
from compressor.codec.residual import CODE, Doubt
from compressor.codec.typography import STYLE_SHIFT
from compressor.codec.weights import DIRECTORY, RATES

WORDS = "дорога Drop κόσμος 人人生 すべて 모든 מנהל मनुष्यों มีอิสระ ადამიანი የሰው tất cả 𝐛𝐨𝐥𝐝 𝗕𝗼𝗹𝗱 one‐two ;$ا١l|"
MOVED = 0.25  # of each logit, either way; bf16 and float32 differ by half as much


class Moved(nn.Module):
    """A reader whose logits are a little off, as another device's are."""

    def __init__(self, reader: nn.Module) -> None:
        super().__init__()
        self.reader = reader
        self.random = torch.Generator().manual_seed(1)

    def forward(self, tokens: Tensor) -> tuple[Tensor, ...]:
        low, high, style = self.reader(tokens)
        return self._move(low, MOVED), self._move(high, MOVED), self._move(style, 4 * MOVED)

    def _move(self, logits: Tensor, most: float) -> Tensor:
        return logits.float() + most * (2 * torch.rand(logits.shape, generator=self.random) - 1)


@cache
def _codec(level: int) -> NativeCodec:
    return load_codec(f"native-{RATES[level]}", device="cpu")


def _texts(level: int, rng: np.random.Generator, count: int) -> list[str]:
    """Words, pieces of words of several scripts, letters that look alike, and any characters."""
    known = _codec(level)._glyphs
    assert known is not None
    alike = known.alike.ambiguous.nonzero()[:, 0].tolist()
    texts = []
    for _ in range(count):
        pieces = [
            "".join(map(chr, rng.choice(alike, size=4))),
            *(str(word) for word in rng.choice(WORDS.split(), size=8)),
        ]
        pieces += [word[: rng.integers(1, 4)] + pieces[0][:2] for word in pieces]
        pieces += ["".join(map(chr, rng.integers(0x20, 0xD800, size=6)))]
        texts.append("".join(word + " " * int(rng.integers(2)) for word in rng.permutation(pieces)))
    return texts


def _styles(rng: np.random.Generator, count: int) -> NDArray[np.uint8]:
    """Runs of one to eight characters, half of them plain."""
    runs = (rng.integers(64, size=count) * rng.integers(2, size=count)).astype(np.uint8)
    return np.repeat(runs, rng.integers(1, 9, size=count))[:count]


@pytest.mark.parametrize("level", ALL_TOLD)
def test_what_a_device_reads_otherwise_is_doubtful(level: int) -> None:
    """Whether it is also read right does not matter here: the residual tells what is not."""
    rng = np.random.default_rng(0)
    codec, other = _codec(level), load_codec(f"native-{RATES[level]}", device="cpu")
    other._levels[-1].reader = Moved(other._levels[-1].reader)  # type: ignore[assignment]
    texts = _texts(level, rng, 40)
    grids = set_texts(texts, [_styles(rng, len(text)) for text in texts])
    levels = np.concatenate(codec.draw_and_encode(grids)[-1])
    cells, doubt = codec._read_levels(levels)
    moved, _ = other._read_levels(levels)
    otherwise = (cells ^ moved) & CODE != 0
    assert otherwise.mean() > 0.01  # else this tells nothing
    assert not (otherwise & (doubt & Doubt.CHARACTER == 0)).any()
    assert not ((cells ^ moved) >> STYLE_SHIFT != 0)[doubt & Doubt.STYLE == 0].any()


@pytest.mark.parametrize("level", ALL_TOLD)
def test_a_part_of_a_chunk_is_read_as_in_the_whole(level: int) -> None:
    rng = np.random.default_rng(2)
    text = "".join(_texts(level, rng, 12))
    codec = _codec(level)
    (cache,) = codec.encode([text], [_styles(rng, len(text))])
    whole, doubt = codec._read_levels(cache.levels)
    parts = np.concatenate([codec._read_levels(cache.levels[start : start + 3])[0] for start in range(0, 999, 3)])
    assert not ((whole != parts) & (doubt == 0)).any()


@pytest.mark.parametrize("level", ALL_TOLD)
def test_a_sign_is_certain_only_where_all_that_look_like_it_are_read_as_it(level: int) -> None:
    """At native-20 a Thai vowel has the numbers of a dollar, and not its pixels."""
    known = _codec(level)._glyphs
    assert known is not None
    for members in known.narrow.groups():
        read_as = {int(known.alike.plain[member]) for member in members}
        assert len(read_as) == 1 or not known.alike.sign[members].any()


def test_numbers_that_too_many_glyphs_share_are_those_of_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the network alone would choose among them, and each would tell a script of its own."""
    before = load_glyphs("native-10", 0, DIRECTORY, torch.device("cpu"))
    monkeypatch.setattr(glyphs_module, "MOST_ALIKE", 1)
    after = load_glyphs("native-10", 0, DIRECTORY, torch.device("cpu"))
    assert before is not None
    assert after is not None
    shared = [member for listed in (before.narrow, before.wide) for group in listed.groups() for member in group]
    assert (before.first[shared] != NONE).all()
    assert (after.first[shared] == NONE).all()
    assert (after.second[shared] == NONE).all()
    assert after.first[ord("字")] == before.first[ord("字")] != NONE
