"""Owns what a model directory is: its family, and the fingerprint that its caches carry.

The fingerprint covers the settings of model and image processor, and of every tensor its name, type, shape and a
sample of its bytes: models that differ in a training run differ in nearly every byte. It does not depend on how the
tensors are shared out among files, and takes a second for a large model where hashing all of it takes a minute.
"""

import hashlib
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from compressor.errors import ModelError
from compressor.vlm.families import Family, find_family

CODE_VERSION = 1  # raise it when the same model and image give other tokens
SETTINGS = ("config.json", "preprocessor_config.json", "processor_config.json")  # those that are there
INDEX = "model.safetensors.index.json"  # which file holds which tensor, of models in several
SAMPLE_BYTES = 64  # from the start, the middle and the end of every tensor
HEADER_LIMIT = 1 << 28  # bytes; a longer header is no header


@dataclass(frozen=True, slots=True)
class _Sample:
    """What the fingerprint takes of one tensor."""

    name: str
    facts: str  # type and shape
    bytes: bytes


def read_family(directory: Path) -> Family:
    """The family of a model directory. Raises UnsupportedModel; ModelError where there is no model."""
    return find_family(read_model_type(directory))


def read_model_type(directory: Path) -> str:
    """What config.json of a model directory calls its class. Raises ModelError where there is no model."""
    if not directory.is_dir():
        raise ModelError(f"there is no model directory {directory}; give the path of a downloaded model")
    try:
        config = json.loads((directory / "config.json").read_text("utf-8"))
        model_type = config["model_type"]
    except FileNotFoundError as error:
        raise ModelError(f"{directory.name} is not a model directory: it has no config.json") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"config.json of {directory.name} names no model_type") from error
    return str(model_type)


def read_fingerprint(directory: Path, family: Family) -> str:
    """The name that caches of this model carry, "hf:qwen3_vl@0123456789ab". Raises ModelError."""
    digest = hashlib.sha256(f"{CODE_VERSION} {family.model_type} {family.image_backend}".encode())
    for name in SETTINGS:
        path = directory / name
        if path.exists():
            digest.update(f"{name} {_settled(path)}".encode())
    for sample in sorted(_samples(directory), key=lambda sample: sample.name):
        digest.update(f"{sample.name} {sample.facts}".encode())
        digest.update(sample.bytes)
    return f"hf:{family.model_type}@{digest.hexdigest()[:12]}"


def _settled(path: Path) -> str:
    """JSON without what only says who wrote it, in one spelling."""
    try:
        fields = json.loads(path.read_text("utf-8"))
        fields.pop("transformers_version", None)
    except (ValueError, AttributeError) as error:
        raise ModelError(f"{path.name} of {path.parent.name} is not a JSON object") from error
    return json.dumps(fields, sort_keys=True)


def check_weights(directory: Path) -> list[Path]:
    """The weight files of a model directory. Raises ModelError where there are none, or fewer than its index names."""
    paths = sorted(directory.glob("*.safetensors"))
    if not paths:
        raise ModelError(f"there are no weights in {directory.name}: it holds no .safetensors file")
    absent = sorted(_indexed(directory) - {path.name for path in paths})
    if absent:
        raise ModelError(
            f"{directory.name} lacks {len(absent)} of the weight files that its {INDEX} names, the first is "
            f"{absent[0]}: finish its download"
        )
    return paths


def _indexed(directory: Path) -> set[str]:
    """The weight files that a directory's index names; a model in one file has none."""
    try:
        named = json.loads((directory / INDEX).read_text("utf-8"))["weight_map"].values()
        return {str(name) for name in named}
    except FileNotFoundError:
        return set()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{INDEX} of {directory.name} cannot be read") from error


def _samples(directory: Path) -> Iterator[_Sample]:
    for path in check_weights(directory):
        try:
            yield from _file_samples(path)
        except (ValueError, KeyError, TypeError, struct.error) as error:
            raise ModelError(f"{path.name} of {directory.name} is damaged: its header cannot be read") from error


def _file_samples(path: Path) -> Iterator[_Sample]:
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > min(HEADER_LIMIT, path.stat().st_size - 8):
            raise ValueError("the header is longer than the file")
        header = json.loads(file.read(length))
        for name, tensor in header.items():
            if name == "__metadata__":
                continue
            start, end = tensor["data_offsets"]
            sample = b""
            for place in (start, (start + end) // 2, max(start, end - SAMPLE_BYTES)):
                file.seek(8 + length + place)
                sample += file.read(min(SAMPLE_BYTES, end - place))
            yield _Sample(name, f"{tensor['dtype']} {tensor['shape']}", sample)
