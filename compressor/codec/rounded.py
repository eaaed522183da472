"""Owns linear layers that give in float32 what they give in bf16, for a CPU that does not compute in bf16 itself.

What a glyph writes is looked up in a table that was made in bf16. Unrounded sums would put 7 % of the numbers of rare
glyphs, which no training set apart, on the other side of a step.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear


class RoundedLinear(nn.Module):
    """A linear layer whose sums are rounded to bf16, once, as a bf16 layer's are: (..., in) -> (..., out) float32."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self._weight = layer.weight.detach().to(torch.bfloat16).float()
        self._bias = layer.bias.detach().to(torch.bfloat16).float()

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self._weight, self._bias).to(torch.bfloat16).float()


def round_linears(module: nn.Module) -> None:
    """Replaces every linear layer within a float32 module."""
    for name, child in list(module.named_children()):
        if isinstance(child, nn.Linear):
            setattr(module, name, RoundedLinear(child))
        else:
            round_linears(child)
