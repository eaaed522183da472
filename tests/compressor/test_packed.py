"""Packed layers: the same numbers as plain ones, in bf16 on one core bit for bit, whatever the shape."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch.nn.functional import gelu, linear

from compressor.packed import PackedLinear, can_pack, pack_linears

FORMATS = [
    pytest.param(
        dtype, id=str(dtype), marks=pytest.mark.skipif(not can_pack("cpu", dtype), reason=f"no packed {dtype} here")
    )
    for dtype in (torch.bfloat16, torch.float32)
]


@pytest.fixture(autouse=True)
def one_core() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("rows", [1, 7, 48, 128, 777])
@pytest.mark.parametrize(("inputs", "outputs"), [(384, 1536), (1536, 384), (112, 30)])
@pytest.mark.parametrize("bias", [True, False])
@torch.inference_mode()
def test_a_packed_layer_gives_the_same_numbers(
    dtype: torch.dtype, rows: int, inputs: int, outputs: int, bias: bool
) -> None:
    torch.manual_seed(rows)
    layer = nn.Linear(inputs, outputs, bias=bias).to(dtype)
    x = torch.randn(rows, inputs).to(dtype)
    assert_same(PackedLinear(layer.weight, layer.bias)(x), layer(x))


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("rows", [1, 48, 777])
@torch.inference_mode()
def test_what_follows_a_layer_is_rounded_once(dtype: torch.dtype, rows: int) -> None:
    torch.manual_seed(rows)
    layer = nn.Linear(384, 384).to(dtype)
    x, residual = torch.randn(2, rows, 384).to(dtype)
    exact = linear(x.float(), layer.weight.float(), layer.bias.float())
    # half a bit of bf16; sums of float32 in another order
    rtol, atol = (2**-8, 1e-3) if dtype is torch.bfloat16 else (1e-5, 1e-5)
    bent = PackedLinear(layer.weight, layer.bias, then="gelu")(x)
    torch.testing.assert_close(bent.float(), gelu(exact), rtol=rtol, atol=atol)
    kept = residual.clone()
    added = PackedLinear(layer.weight, layer.bias).add_to(residual, x)
    torch.testing.assert_close(added.float(), kept.float() + exact, rtol=rtol, atol=atol)
    assert torch.equal(residual, kept)


@pytest.mark.parametrize("dtype", FORMATS)
@torch.inference_mode()
def test_all_linear_layers_of_a_module_are_packed_with_the_relu_behind_them(dtype: torch.dtype) -> None:
    inner = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Tanh(), nn.ReLU(), nn.Linear(16, 4, bias=False))
    module = nn.Sequential(nn.Linear(8, 16), inner).to(dtype)
    x = torch.randn(2, 3, 8).to(dtype)
    plain = module(x)
    pack_linears(module)
    assert [type(child) for child in inner] == [PackedLinear, nn.Identity, nn.Tanh, nn.ReLU, PackedLinear]
    assert isinstance(module[0], PackedLinear)
    assert_same(module(x), plain)
    assert [*module.parameters()] == []


def assert_same(packed: torch.Tensor, plain: torch.Tensor) -> None:
    """Bit for bit in bf16; sums of float32 may be added up in another order."""
    if plain.dtype is torch.bfloat16:
        assert torch.equal(packed, plain)
    else:
        torch.testing.assert_close(packed, plain, rtol=1e-5, atol=1e-5)
