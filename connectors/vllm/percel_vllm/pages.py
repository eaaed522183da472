"""Owns the reading of Percel's page files: one page out of a sealed file, every byte of it checked, and its numbers.

The format, version 1: a safetensors file whose metadata holds `percel_pages`, `entries` (JSON: entry -> facts and a
sha256 over its parts) and `header_sha256` (over the header with that field zeroed); an entry's parts are uint8
tensors `<entry>.<part>`. Percel writes it in compressor/sealed.py and compressor/vlm/pagefile.py. Nothing in it is
ever run or unpickled. Knows nothing of vLLM.
"""

import hashlib
import json
import math
import struct
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from percel_vllm.blobs import PageFile
from percel_vllm.names import PageError

VERSION = "1"
PARTS = ("ids", "features", "scales", "deepstack", "deepstack_scales")  # in the order that the checksum takes them
HEADER_LIMIT = 1 << 28  # bytes; a longer header is no header
HEAD_BYTES = 1 << 16  # asked for first: the header of some hundred pages
_UNSIGNED = b"0" * 64
_ROW_NUMBERS = {"int8": (1, 1), "int4": (2, 1), "bf16": (1, 2), "f32": (1, 4)}  # so many numbers in so many bytes
_PLAIN = {"bf16": torch.bfloat16, "f32": torch.float32}


@dataclass(frozen=True, slots=True)
class Page:
    """A page as its file's header describes it."""

    file: PageFile
    entry: str
    model: str  # fingerprint of what made it
    format: str
    rows: int  # features
    width: int  # numbers of a feature, its deepstack levels not counted
    levels: int  # of deepstack
    sha256: str
    places: tuple[tuple[int, int, tuple[int, ...]], ...]  # start, end and shape of each part, in the order of PARTS

    @property
    def sent_width(self) -> int:
        """Numbers of a row as vLLM takes it: the feature, then each level."""
        return self.width * (1 + self.levels)


def open_page(file: PageFile, entry: str) -> Page:
    """What the header says of a page; of the rest at most what came along is read. Raises PageError."""
    try:
        header, data = _read_header(file)
        metadata = header.pop("__metadata__")
        if metadata.get("percel_pages") != VERSION:
            raise PageError(f"{file.name} is no page file of version {VERSION}")
        facts = json.loads(metadata["entries"]).get(entry)
        if facts is None:
            raise PageError(f"{file.name} holds no page {entry}")
        return _described(file, entry, facts, header, data)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError, struct.error) as error:
        raise PageError(f"page file {file.name} is damaged: its header cannot be read ({error})") from error


def _read_header(file: PageFile) -> tuple[dict[str, Any], int]:
    """The header, compared with its checksum, and where the tensors begin."""
    head = file.read(0, HEAD_BYTES)
    size = file.size()
    (length,) = struct.unpack("<Q", head[:8])
    if not 0 < length <= min(HEADER_LIMIT, size - 8):
        raise PageError(f"page file {file.name} is damaged: it is cut off, or none")
    text = head[8 : 8 + length]
    if len(text) < length:
        text += file.read(8 + len(text), length - len(text))
    header = json.loads(text)
    signature = header["__metadata__"]["header_sha256"].encode()
    if hashlib.sha256(text.replace(signature, _UNSIGNED, 1)).hexdigest().encode() != signature:
        raise PageError(f"page file {file.name} is damaged: the checksum of its header differs")
    ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
    if 8 + length + max(ends, default=0) != size:
        raise PageError(f"page file {file.name} is damaged: it is cut off")
    return header, 8 + length


def _described(file: PageFile, entry: str, facts: dict[str, Any], header: dict[str, Any], data: int) -> Page:
    places = []
    for part in PARTS:
        tensor = header[f"{entry}.{part}"]
        start, end = tensor["data_offsets"]
        shape = tuple(tensor["shape"])
        known = {type(number) for number in (start, end, *shape)} == {int} and len(shape) == 2
        # with Python's integers: a product of NumPy's may wrap, and fit by that
        if not known or min(start, *shape) < 0 or tensor["dtype"] != "U8" or end - start != math.prod(shape):
            raise ValueError(f"{entry}.{part} is not what its shape says")
        places.append((data + start, data + end, shape))
    numbers, taken = _ROW_NUMBERS[facts["format"]]
    rows, row_bytes = places[1][2]
    levels = facts["levels"]
    if type(levels) is not int or row_bytes % taken or (levels and not rows):
        raise ValueError(f"the levels or rows of {entry} are none")
    scaled = rows if facts["format"] in ("int8", "int4") else 0
    wanted = {2: (scaled, 4), 3: (levels * rows, row_bytes), 4: (levels * scaled, 4)}
    if any(places[number][2] != shape for number, shape in wanted.items()):
        raise ValueError(f"the parts of {entry} do not fit together")
    return Page(
        file=file,
        entry=entry,
        model=str(facts["codec"]),
        format=str(facts["format"]),
        rows=rows,
        width=row_bytes * numbers // taken,
        levels=levels,
        sha256=str(facts["sha256"]),
        places=tuple(places),
    )


def read_parts(page: Page) -> list[Tensor]:
    """A page's parts, uint8 in their shapes, in one read, compared with their checksum. Raises PageError."""
    first = min(start for start, _, _ in page.places)
    held = page.file.read(first, max(end for _, end, _ in page.places) - first)
    if isinstance(held, bytes):
        held = bytearray(held)  # tensors are made of what may be written to
    digest = hashlib.sha256()
    parts = []
    for start, end, shape in page.places:
        part = memoryview(held)[start - first : end - first]
        if len(part) != end - start:
            raise PageError(f"page file {page.file.name} is damaged: it is cut off")
        digest.update(struct.pack("<Q", len(part)))
        digest.update(part)
        parts.append(torch.frombuffer(part, dtype=torch.uint8).view(shape) if part else torch.empty(shape))
    if digest.hexdigest() != page.sha256:
        raise PageError(f"page file {page.file.name} is damaged: the checksum of {page.entry} differs")
    return parts


def load_page(page: Page, *, device: torch.device | str, dtype: torch.dtype) -> Tensor:
    """A page's numbers (rows, sent_width) on a device: features, then each level of deepstack beside them.

    Raises PageError, also for numbers that are not finite in that dtype.
    """
    _, features, scales, deepstack, deepstack_scales = read_parts(page)
    out = torch.empty(page.rows, page.sent_width, device=device, dtype=dtype)
    out[:, : page.width] = _numbers(page.format, features, scales, device)
    for level in range(page.levels):
        rows = slice(level * page.rows, (level + 1) * page.rows)
        columns = slice((1 + level) * page.width, (2 + level) * page.width)
        out[:, columns] = _numbers(page.format, deepstack[rows], deepstack_scales[rows], device)
    if not bool(torch.isfinite(out).all()):
        raise PageError(f"{page.entry} of page file {page.file.name} holds numbers that are not finite as {dtype}")
    return out


def _numbers(format: str, values: Tensor, scales: Tensor, device: torch.device | str) -> Tensor:
    """Stored rows (rows, bytes) and their scales -> (rows, width) float32, or as stored where that is plain."""
    values = values.to(device)
    if format in _PLAIN:
        return values.view(_PLAIN[format])
    steps = scales.view(torch.float32).to(device)  # (rows, 1); little-endian, as every machine that runs vLLM
    if format == "int8":
        return values.view(torch.int8).to(torch.float32).mul_(steps)
    levels = torch.stack([values >> 4, values & 15], dim=-1).flatten(-2).to(torch.float32)
    return levels.sub_(8).mul_(steps)
