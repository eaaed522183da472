"""Owns how rows of numbers are stored: int8 or int4 with a scale a row, or bf16 or f32 as they are.

Unlike the native codec's tokens these rows come from foreign models, with ranges that differ between rows, so every
row keeps its own scale.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from compressor.errors import ModelError

RowFormat = Literal["int8", "int4", "bf16", "f32"]
ROW_FORMATS: tuple[RowFormat, ...] = get_args(RowFormat)
SCALE_BYTES = 4
CPU_BLOCK = 1 << 17  # numbers that are dequantised at a time
_TOP = {"int8": 127, "int4": 7}  # the largest level; the scale maps a row's largest magnitude to it
# Shares of a row's largest magnitude that the scale may reach to. In 15 levels it pays to clip the few numbers that
# are far out; in 255 there is nothing to gain.
_CLIPS = {"int8": (1.0,), "int4": (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)}
_PLAIN = {"bf16": torch.bfloat16, "f32": torch.float32}


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows as stored, on the CPU."""

    format: RowFormat
    values: Tensor  # (rows, bytes of a row) uint8
    scales: Tensor  # (rows,) float32; (0,) in the plain formats

    def __len__(self) -> int:
        return len(self.values)

    @property
    def width(self) -> int:
        """Numbers in a row."""
        return self.values.shape[1] * 2 // row_bytes(self.format, 2)

    @property
    def stored_bytes(self) -> int:
        """Of values and scales."""
        return self.values.nbytes + self.scales.nbytes

    def unpack(self, start: int, end: int, *, device: torch.device | str, dtype: torch.dtype) -> Tensor:
        """Rows [start, end) as numbers, (end - start, width) of that dtype, made on the device."""
        values = self.values[start:end].to(device)
        if self.format in _PLAIN:
            return values.view(_PLAIN[self.format]).to(dtype)
        scales = self.scales[start:end, None].to(device)
        numbers = torch.empty(len(values), self.width, device=device, dtype=dtype)
        # On a CPU a few rows at a time stay in a core's own memory: nine times as fast as all at once.
        step = max(1, CPU_BLOCK // self.width) if numbers.device.type == "cpu" else max(1, len(values))
        # Where the wide numbers are not the ones asked for, a block of them is made again and again in one place.
        wide = None if dtype == torch.float32 else torch.empty(min(step, len(values)), self.width, device=device)
        for first in range(0, len(values), step):
            rows = slice(first, first + step)
            part = numbers[rows]
            block = part if wide is None else wide[: len(part)]
            self._levels(values[rows], block)
            block.mul_(scales[rows])
            if wide is not None:
                part.copy_(block)
        return numbers

    def _levels(self, values: Tensor, out: Tensor) -> None:
        """Stored bytes of some rows -> their levels, into `out` (rows, width) float32."""
        if self.format == "int8":
            out.copy_(values.view(torch.int8))
            return
        pairs = out.view(*values.shape, 2)
        pairs[..., 0], pairs[..., 1] = values >> 4, values & 15
        out.sub_(8)


def row_bytes(format: RowFormat, width: int) -> int:
    """Bytes that a row's values take, the scale left out; int4 needs an even width."""
    return {"int4": width // 2, "int8": width, "bf16": 2 * width, "f32": 4 * width}[format]


def pack_rows(numbers: Tensor, format: RowFormat) -> Rows:
    """Numbers (rows, width) of any float dtype, on any device -> rows as stored.

    Raises ModelError for numbers that are not finite, ValueError for int4 of an odd width.
    """
    if not bool(torch.isfinite(numbers).all()):
        raise ModelError("the model gave numbers that are not finite for a page; it was not stored")
    if format in _PLAIN:
        values = numbers.to("cpu", _PLAIN[format]).contiguous().view(torch.uint8)
        return Rows(format, values, torch.empty(0))
    if format == "int4" and numbers.shape[-1] % 2:
        raise ValueError(f"int4 rows need an even width, not {numbers.shape[-1]}")
    numbers = numbers.float()
    scales = _best_scales(numbers, format)  # (rows,)
    levels = _round(numbers, scales, format)
    if format == "int8":
        values = levels.to(torch.int8).view(torch.uint8)
    else:
        raised = (levels + 8).to(torch.uint8)
        values = (raised[:, 0::2] << 4) | raised[:, 1::2]
    return Rows(format, values.cpu().contiguous(), scales.cpu())


def _best_scales(numbers: Tensor, format: RowFormat) -> Tensor:
    """The scale of each row of (rows, width) float32 that loses the least in squares, of a few that clip it."""
    whole = numbers.abs().amax(-1).div(_TOP[format]).clamp_min(torch.finfo(torch.float32).tiny)
    best, least = whole, torch.full_like(whole, torch.inf)
    for share in _CLIPS[format]:
        scales = (whole * share).clamp_min(torch.finfo(torch.float32).tiny)
        # In units of the row's own largest level: squares of what is very large or small would leave float32.
        lost = (_round(numbers, scales, format) * share - numbers / whole[:, None]).square().sum(-1)
        best, least = torch.where(lost < least, scales, best), torch.minimum(lost, least)
    return best


def _round(numbers: Tensor, scales: Tensor, format: RowFormat) -> Tensor:
    """Numbers (rows, width) -> the nearest levels of their scales, as float32."""
    return (numbers / scales[:, None]).round().clamp(-_TOP[format], _TOP[format])


def is_scaled(format: RowFormat) -> bool:
    """Whether each row has a scale."""
    return format in _TOP


def check_format(format: object) -> RowFormat:
    """The format of that name. Raises ValueError: only a file that is not ours names another."""
    for known in ROW_FORMATS:
        if format == known:
            return known
    raise ValueError(f"rows of format {format!r} cannot be read; these can: {', '.join(ROW_FORMATS)}")
