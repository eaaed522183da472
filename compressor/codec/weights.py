"""Owns the weight files of the native codec: one a rate, which needs those of the rates below."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from compressor.codec.atlas import ATLAS_PATH
from compressor.codec.glyphs import glyphs_path
from compressor.codec.model import CODES, Level, Shape
from compressor.errors import ModelError
from compressor.formats import SHARED

DIRECTORY = Path(__file__).with_name("weights")
CODE_VERSION = "3"  # raise when the same weights and pixels would give other tokens, residual or text
HEADER_LIMIT = 1 << 20  # bytes; a longer header is no header
RATES = (10, 20, 40, 80)  # text tokens a vision token stands for, nominally; level = position


def weight_path(level: int, directory: Path = DIRECTORY) -> Path:
    """Where the weights of a level lie: 0 is native-10, 1 native-20, ..."""
    return directory / (f"native-{RATES[level]}.safetensors")


def available_rates(directory: Path = DIRECTORY) -> list[int]:
    """Rates whose weights, and those of every rate below, are installed."""
    rates = []
    for level, rate in enumerate(RATES):
        if not weight_path(level, directory).exists():
            break
        rates.append(rate)
    return rates


def read_held_out(level: int, directory: Path = DIRECTORY) -> dict[str, float]:
    """What a level read right of text held out of its training, as shares by kind; its styles are told as one more.

    Empty where the file does not say. Raises ModelError.
    """
    accuracy: dict[str, float] = json.loads(_header(weight_path(level, directory))[0].get("held_out", "{}"))
    return accuracy


def promising_rates(accuracy: float, directory: Path = DIRECTORY) -> list[int]:
    """The lowest installed rate, and those that read so large a share of some kind of held-out text right.

    Another would be tried on every chunk of a text whose budget asks for so much, and hardly ever be chosen.
    Raises ModelError.
    """
    rates = []
    for level, rate in enumerate(available_rates(directory)):
        shares = [share for kind, share in read_held_out(level, directory).items() if kind not in ("styles", "random")]
        if level == 0 or max(shares, default=1.0) >= accuracy:
            rates.append(rate)
    return rates


def save_level(
    module: nn.Module,
    shape: Shape,
    level: int,
    *,
    sources: str,
    held_out: Mapping[str, float],
    directory: Path = DIRECTORY,
) -> Path:
    """Writes one level as bf16 with its shape, the text it was trained on, and what it read of text held out.

    The numbers of glyphs that lie there go: other weights wrote them. Raises ModelError where the disk is full.
    """
    directory.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.detach().to("cpu", torch.bfloat16) for name, value in module.state_dict().items()}
    metadata = {
        "shape": json.dumps(asdict(shape)),
        "licence": "Apache-2.0",
        "sources": sources,
        "held_out": json.dumps(dict(held_out)),
    }
    path = weight_path(level, directory)
    partial = path.with_suffix(".partial")
    write_tensors(tensors, partial, metadata)
    partial.chmod(0o644)
    glyphs_path(path.stem, directory).unlink(missing_ok=True)
    return partial.replace(path)


def write_tensors(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    """Writes a safetensors file. Raises ModelError where that fails, as on a full disk."""
    try:
        save_file(tensors, path, metadata=metadata)
    except SafetensorError as error:
        raise ModelError(f"{path} cannot be written ({error})") from error


def load_levels(rate: int, device: torch.device, directory: Path = DIRECTORY) -> list[Level]:
    """Loads the levels up to a rate, float32, in eval mode. Raises ModelError if weights are missing or unreadable."""
    if rate not in RATES:
        raise ModelError(f"native-{rate} is not a rate of the native codec; choose from {_names(RATES)}")
    levels = []
    for level in range(RATES.index(rate) + 1):
        path = weight_path(level, directory)
        try:
            with safe_open(path, "pt", device=str(device)) as stored:
                shape = Shape(**json.loads(stored.metadata()["shape"]))
                state = {name: stored.get_tensor(name).float() for name in stored.keys()}  # noqa: SIM118 - not a dict
        except FileNotFoundError as error:
            installed = _names(available_rates(directory)) or "none"
            raise ModelError(
                f"native-{rate} needs {path.name}, which is not installed (installed: {installed}); "
                f"train it with `percel train-codec`"
            ) from error
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ModelError(f"{path.name} is not a weight file of the native codec: {error}") from error
        with torch.device("meta"):
            module = Level(shape, level)
        try:
            module.load_state_dict(state, assign=True)
        except RuntimeError as error:
            raise ModelError(f"{path.name} does not fit this version of the network: train it anew") from error
        levels.append(module.eval().requires_grad_(False))
    return levels


@cache
def fingerprint(rate: int, directory: Path = DIRECTORY) -> str:
    """Names the codec that makes and reads a cache: "native-20@" and 12 hex digits over all that decides its bytes.

    What weight files say of themselves besides their shape is left out. Raises ModelError.
    """
    digest = hashlib.sha256(f"{CODE_VERSION} {CODES} {SHARED}".encode())
    digest.update(hashlib.sha256(ATLAS_PATH.read_bytes()).digest())
    for path in (weight_path(level, directory) for level in range(RATES.index(rate) + 1)):
        metadata, tensors, length = _header(path)
        shape = json.loads(metadata.get("shape", "{}"))
        digest.update(json.dumps([shape, tensors], sort_keys=True).encode())
        digest.update(hashlib.sha256(path.read_bytes()[length:]).digest())
    digest.update(_glyphs_digest(glyphs_path(f"native-{rate}", directory)))
    return f"native-{rate}@{digest.hexdigest()[:12]}"


def _glyphs_digest(path: Path) -> bytes:
    """b"" where a rate has no such file. Raises ModelError."""
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise ModelError(f"the glyphs' numbers {path.name} cannot be read ({error}): reinstall Percel") from error


def _header(path: Path) -> tuple[dict[str, str], dict[str, object], int]:
    """What a weight file says of itself and of its tensors, and the bytes before these. Raises ModelError."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(length, HEADER_LIMIT)))
        return header.pop("__metadata__", {}), header, 8 + length
    except (ValueError, AttributeError) as error:
        raise ModelError(f"{path.name} is not a weight file of the native codec: {error}") from error


def _names(rates: list[int] | tuple[int, ...]) -> str:
    return ", ".join(f"native-{rate}" for rate in rates)
