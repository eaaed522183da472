"""Owns the choice of device and of the number format that it is fast in."""

import torch


def choose_device(device: str) -> str:
    """ "auto" is CUDA where there is one, else the CPU; anything else is kept."""
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def has_native_bf16(device: str) -> bool:
    """Whether the device multiplies bf16 in hardware; emulated, it is slower than float32."""
    if device != "cpu":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
