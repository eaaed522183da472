"""Packed layers: on one core the same numbers as plain ones, bit for bit, whatever the shape."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch.nn.functional import gelu, linear

from compressor.packed import PackedLinear, can_pack, pack_linears

pytestmark = pytest.mark.skipif(not can_pack("cpu"), reason="this CPU does not compute in bf16 itself")


@pytest.fixture(autouse=True)
def one_core() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("rows", [1, 7, 48, 128, 777])
@pytest.mark.parametrize(("inputs", "outputs"), [(384, 1536), (1536, 384), (112, 30)])
@pytest.mark.parametrize("bias", [True, False])
@torch.inference_mode()
def test_a_packed_layer_gives_the_same_bits(rows: int, inputs: int, outputs: int, bias: bool) -> None:
    torch.manual_seed(rows)
    layer = nn.Linear(inputs, outputs, bias=bias).bfloat16()
    x = torch.randn(rows, inputs).bfloat16()
    assert torch.equal(PackedLinear(layer.weight, layer.bias)(x), layer(x))


@pytest.mark.parametrize("rows", [1, 48, 777])
@torch.inference_mode()
def test_what_follows_a_layer_is_rounded_once(rows: int) -> None:
    torch.manual_seed(rows)
    layer = nn.Linear(384, 384).bfloat16()
    x, residual = torch.randn(2, rows, 384).bfloat16()
    exact = linear(x.float(), layer.weight.float(), layer.bias.float())
    half_a_bit = {"rtol": 2**-8, "atol": 1e-3}
    bent = PackedLinear(layer.weight, layer.bias, then="gelu")(x)
    torch.testing.assert_close(bent.float(), gelu(exact), **half_a_bit)
    kept = residual.clone()
    added = PackedLinear(layer.weight, layer.bias).add_to(residual, x)
    torch.testing.assert_close(added.float(), kept.float() + exact, **half_a_bit)
    assert torch.equal(residual, kept)


@torch.inference_mode()
def test_all_linear_layers_of_a_module_are_packed_with_the_relu_behind_them() -> None:
    inner = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Tanh(), nn.ReLU(), nn.Linear(16, 4, bias=False))
    module = nn.Sequential(nn.Linear(8, 16), inner).bfloat16()
    x = torch.randn(2, 3, 8).bfloat16()
    plain = module(x)
    pack_linears(module)
    assert [type(child) for child in inner] == [PackedLinear, nn.Identity, nn.Tanh, nn.ReLU, PackedLinear]
    assert isinstance(module[0], PackedLinear)
    assert torch.equal(module(x), plain)
    assert [*module.parameters()] == []
