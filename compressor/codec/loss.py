"""Owns what training asks of a level: to read characters and styles right, and which codes characters get.

Codes are left free where there are enough; at native-40 characters are kept from sharing one, at native-80 they share
as `classes.py` gives them out. Context tells most look-alikes apart, so that reading alone seldom parts two characters
that came to share a code.
"""

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from compressor.codec.classes import CHARACTERS
from compressor.codec.corpus import STYLES
from compressor.codec.model import Level
from compressor.codec.pixels import draw_kinds, kinds_of
from compressor.codec.typography import BLANK, STRIP_CELLS
from compressor.formats import SHARED
from compressor.quantise import quantise
from compressor.styles import STYLE_BITS, Style

APART = 1.25  # steps of the quantiser: a little more than what is sure to be stored differently
GIVEN = 0.75  # steps from zero where a number stands that was given its sign: well within its half
LOOKS = tuple(style for style, _ in STYLES)


def pixels_of(codes: NDArray[np.int32], styles: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Codes and style bits (strips, 56) -> pixels (strips, 56, 128) float32 of 0 and 1."""
    kinds = kinds_of(torch.from_numpy(codes).to(device), torch.from_numpy(styles).to(device))
    return draw_kinds(kinds).float()


def targets_of(codes: NDArray[np.int32], device: torch.device) -> Tensor:
    """Codes -> classes int64; a continuation is the last class of both bytes."""
    return torch.from_numpy(np.minimum(codes, 0x1FFFF).astype(np.int64)).to(device)


def bits_of(styles: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Style bits (strips, 56) -> (strips, 56, 6) float32 of 0 and 1, the lowest bit first."""
    bits = np.unpackbits(styles[..., None], axis=-1, count=STYLE_BITS, bitorder="little")
    return torch.from_numpy(bits).to(device, torch.float32)


def encode(below: list[Level], level: Level, pixels: Tensor) -> Tensor:
    """Float tokens of a level, which learns; those of the levels below are as stored, and they stay as they are."""
    if not below:
        return level.encode(pixels)
    with torch.no_grad():
        *lower, highest = below
        digits = quantise(encode(lower, highest, pixels), SHARED[highest.code.digits])
    return level.merge(digits)


def reading_loss(
    read: tuple[Tensor, Tensor, Tensor], codes: NDArray[np.int32], styles: NDArray[np.uint8], style_weight: float
) -> Tensor:
    """Cross entropy of both bytes of every cell's code and of its style bits, from a reader's logits."""
    low, high, style = (logits.float() for logits in read)
    target = targets_of(codes, low.device).flatten()
    return (
        functional.cross_entropy(low.flatten(0, 1), target % 256)
        + functional.cross_entropy(high.flatten(0, 1), target // 256)
        + style_weight * functional.binary_cross_entropy_with_logits(style, bits_of(styles, low.device))
    )


def crowding(below: list[Level], level: Level, step: int, device: torch.device) -> Tensor:
    """How far printable characters are from having a code of their own each, and the same one in every style.

    0 where no two can be stored alike; each step looks at one style. The line feed's mark resembles nothing.
    """
    style = LOOKS[step % len(LOOKS)]
    plain, styled = (_numbers(below, level, look, device)[:-1] for look in (Style.PLAIN, style))
    apart = (plain[:, None] - plain[None]).abs().amax(-1) + 2 * torch.eye(len(plain), device=device)
    return functional.relu(APART - apart).square().sum(1).mean() + (styled - plain).square().sum(1).mean()


def straying(below: list[Level], level: Level, given: NDArray[np.int64], device: torch.device) -> Tensor:
    """How far printable characters are from the code that each was given, (characters,); numbers are of one bit.

    0 where all are stored so.
    """
    code = level.code
    bits = given[:, None] >> np.arange(code.own) & 1
    wanted = torch.from_numpy(np.where(bits, GIVEN, -GIVEN).astype(np.float32)).to(device)
    return (_numbers(below, level, Style.PLAIN, device) - wanted).square().sum(1).mean()


def _numbers(below: list[Level], level: Level, style: Style, device: torch.device) -> Tensor:
    """The own numbers of every one of `CHARACTERS` in a style, in steps of the quantiser, (characters, own)."""
    code = level.code
    tokens = encode(below, level, _line(1 << level.level, style, device))
    return tokens[0, : len(CHARACTERS) * code.own].view(-1, code.own) / SHARED[code.digits].step


@cache
def _line(strips: int, style: Style, device: torch.device) -> Tensor:
    """All of `CHARACTERS` in the strips of one token, (strips, 56, 128)."""
    codes = np.full(strips * STRIP_CELLS, BLANK, np.int32)
    codes[: len(CHARACTERS)] = CHARACTERS
    return pixels_of(codes.reshape(strips, -1), np.full((strips, STRIP_CELLS), style, np.uint8), device)
