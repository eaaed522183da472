"""Owns the projector: tokens of one model's vision half as embeddings of another model's decoder. Experimental.

None is trained yet; what an untrained one gives is well formed and means nothing.
"""

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from compressor.errors import ModelError

CODEC_KEY = "percel_codec"  # of a projector file's metadata: whose pages it was trained on


class Projector(nn.Module):
    """Two layers, then scaled to the size of the decoder's own embeddings, which its first norm expects."""

    size: Tensor

    def __init__(self, codec: str, source_width: int, width: int, size: float) -> None:
        """`codec` is the fingerprint of the pages it reads; `size` the root mean square of the decoder's embeddings."""
        super().__init__()
        self.codec = codec
        self.norm = nn.LayerNorm(source_width)
        self.inner = nn.Linear(source_width, width)
        self.outer = nn.Linear(width, width)
        self.register_buffer("size", torch.tensor(size))

    @property
    def source_width(self) -> int:
        """Of the features it takes."""
        return self.inner.in_features

    @property
    def width(self) -> int:
        """Of the embeddings it gives."""
        return self.outer.out_features

    def forward(self, features: Tensor) -> Tensor:
        """Features (tokens, source width) -> embeddings (tokens, width)."""
        embeddings: Tensor = self.outer(nn.functional.gelu(self.inner(self.norm(features))))
        return embeddings * self.size / embeddings.pow(2).mean(-1, keepdim=True).sqrt().clamp_min(1e-6)


def save_projector(projector: Projector, path: Path) -> None:
    """Writes a projector's weights and the codec that it reads."""
    tensors = {name: tensor.contiguous().cpu() for name, tensor in projector.state_dict().items()}
    save_file(tensors, path, metadata={CODEC_KEY: projector.codec})


def load_projector(path: Path) -> Projector:
    """A projector out of its file. Raises ModelError where the file is none."""
    try:
        with safe_open(path, "pt") as file:
            codec = (file.metadata() or {})[CODEC_KEY]
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no mapping
        width, source_width = tensors["inner.weight"].shape
        projector = Projector(codec, source_width, width, 1.0)
        projector.load_state_dict(tensors)
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise ModelError(f"{path.name} is not a projector file: {error}") from error
    return projector.eval()
