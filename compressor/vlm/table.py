"""Owns rows of a model's table of token embeddings, read out of its weight files without the model."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from compressor.errors import ModelError
from compressor.vlm.fingerprint import check_weights

_ENDING = "embed_tokens.weight"  # in every family, whatever stands before it


def read_embeddings(directory: Path, ids: Sequence[int], *, width: int) -> Tensor:
    """The embeddings of some tokens, (tokens, width) of the dtype that the model is stored in.

    Raises ModelError where the table is not there, has another width, or is too short for a token.
    """
    from safetensors import SafetensorError, safe_open

    found: list[tuple[str, Path]] = []
    try:
        for path in check_weights(directory):
            with safe_open(path, "pt") as file:
                found += [(name, path) for name in file.keys() if name.endswith(_ENDING)]  # noqa: SIM118, no mapping
        if not found:
            raise ModelError(f"the weights of {directory.name} hold no table of embeddings (*.{_ENDING})")
        name, path = min(found, key=lambda item: len(item[0]))  # a draft model's copy lies deeper
        with safe_open(path, "pt") as file:
            table = file.get_slice(name)
            rows, columns = table.get_shape()
            if columns != width or max(ids, default=0) >= rows:
                raise ModelError(
                    f"{name} of {directory.name} has {rows} rows of {columns}; "
                    f"{max(ids, default=0) + 1} of {width} are needed"
                )
            known = {one: table[one : one + 1] for one in dict.fromkeys(ids)}  # (1, width) each
    except (OSError, SafetensorError) as error:
        raise ModelError(f"the weights of {directory.name} cannot be read: {error}") from error
    return torch.cat([known[one] for one in ids]) if ids else torch.empty(0, width)
