"""Owns the choice of device and of the number format that it is fast in."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from compressor.errors import DeviceFull, DeviceLost, ModelError


def choose_device(device: str) -> str:
    """ "auto" is CUDA where there is one, else the CPU; anything else is kept. Raises ModelError."""
    available = torch.cuda.is_available()
    if device.startswith("cuda") and not available:
        raise ModelError(f"the device is set to {device}, but there is no CUDA device here")
    if device != "auto":
        return device
    return "cuda" if available else "cpu"


@contextmanager
def device_faults(device: str) -> Iterator[None]:
    """Turns what a CUDA device fails with into this package's errors: DeviceFull, DeviceLost."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        torch.cuda.empty_cache()
        raise DeviceFull(f"the memory of {device} is too small for this batch: {error}") from error
    except torch.AcceleratorError as error:
        raise DeviceLost(f"{device} failed, a new process is needed: {error}") from error


def has_native_bf16(device: str) -> bool:
    """Whether the device multiplies bf16 in hardware; emulated, it is slower than float32."""
    if device != "cpu":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def rounded(count: int, step: int) -> int:
    """A batch's size rounded up: to a power of two below `step`, to whole steps above.

    On a CPU every new shape costs a compilation and memory that oneDNN keeps: without this a process that meets
    thousands of lengths grows by gigabytes.
    """
    if count < step:
        return 1 << max(0, count - 1).bit_length()
    return -(-count // step) * step


def pad_rows(batch: torch.Tensor, step: int) -> torch.Tensor:
    """Rows of zeros behind a batch, up to its rounded size."""
    missing = rounded(len(batch), step) - len(batch)
    return torch.cat([batch, batch.new_zeros(missing, *batch.shape[1:])]) if missing else batch
