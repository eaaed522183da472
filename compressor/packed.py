"""Owns linear layers whose weights lie in memory as a CPU's products want them.

In bf16 a plain layer is laid out anew at every call, which for a question's few tokens is most of the work: packed, a
batch of 64 tokens takes two thirds of the time and one of 4,096 half. On one core, where batches run, the numbers are
the same bit for bit. In float32 it is bias and ReLU that go along with the product: a codec's reader takes four fifths
of the time.
"""

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from compressor.device import has_native_bf16

Then = Literal["none", "relu", "gelu"]  # what is done with a layer's outputs, in the layer's own step


class PackedLinear(nn.Module):
    """A linear layer, and the ReLU or GELU behind it: (..., in) -> (..., out). Its weight is no parameter.

    It computes in its weight's bf16 or float32; what follows takes the sums before they are rounded to bf16.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, *, then: Then = "none") -> None:
        super().__init__()
        # Operators of torch's own compiler; no public ones take a packed weight.
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), None)
        self._bias = None if bias is None else bias.detach()
        self._then = then

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = torch.ops.mkldnn._linear_pointwise.default(x, self._weight, self._bias, self._then, [], "none")
        return y

    def add_to(self, residual: Tensor, x: Tensor) -> Tensor:
        """residual + layer(x) in one step; without what follows the layer."""
        y: Tensor = torch.ops.mkldnn._linear_pointwise.binary(x, residual, self._weight, self._bias, "add")
        return y


def can_pack(device: str, dtype: torch.dtype) -> bool:
    """Whether packed layers run here: on a CPU, in bf16 where it computes in that itself."""
    native = dtype is torch.float32 or has_native_bf16(device)
    return device == "cpu" and native and torch.backends.mkldnn.is_available()


def pack_linears(module: nn.Module) -> None:
    """Replaces every linear layer within a module, together with a ReLU that is the module's next child.

    On its own a ReLU takes a tenth of a reading's time.
    """
    children = [*module.named_children(), ("", None)]
    for (name, child), (next_name, following) in pairwise(children):
        if isinstance(child, nn.Linear):
            rectified = isinstance(following, nn.ReLU)
            setattr(module, name, PackedLinear(child.weight, child.bias, then="relu" if rectified else "none"))
            if rectified:
                setattr(module, next_name, nn.Identity())
        elif child is not None:
            pack_linears(child)
