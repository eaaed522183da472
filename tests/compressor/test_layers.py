"""Layers over texts laid end to end: a text's vector is what a layer makes of it alone, whatever is beside it."""

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import gelu, layer_norm, linear, scaled_dot_product_attention

from compressor.embed import installed_weights
from compressor.layers import HEAD, POOL, WIDTH, Weights, make_layers

LENGTHS = [5, 1, 18, 33]


@pytest.fixture(scope="module")
def published() -> Weights:
    return load_file(installed_weights() / "model.safetensors")


@pytest.fixture(scope="module")
def tokens() -> Tensor:
    return torch.randn(64, WIDTH, generator=torch.Generator().manual_seed(1))


def asked_once(weights: Weights, prefix: str, text: Tensor) -> Tensor:
    """The layer as the published model defines it, asked with the mean of a text's tokens alone."""

    def through(name: str, x: Tensor) -> Tensor:
        return linear(x, weights[f"{prefix}{name}.weight"], weights[f"{prefix}{name}.bias"])

    def normed(name: str, x: Tensor) -> Tensor:
        return layer_norm(x, (WIDTH,), weights[f"{prefix}{name}.weight"], weights[f"{prefix}{name}.bias"], 1e-12)

    mean = text.mean(0, keepdim=True)
    query, key, value = (
        through(f"attention.self.{name}", x).view(len(x), -1, HEAD).transpose(0, 1)
        for name, x in (("query", mean), ("key", text), ("value", text))
    )
    attended = scaled_dot_product_attention(query, key, value).transpose(0, 1).reshape(1, -1)
    x = normed("attention.output.LayerNorm", mean + through("attention.output.dense", attended))
    inner = gelu(through("intermediate.dense", x))
    return normed("output.LayerNorm", x + through("output.dense", inner))[0]


def test_a_layer_that_asks_once_is_the_published_layer_asked_with_a_texts_mean(published, tokens) -> None:
    last = "encoder.layer.5."
    pool = {name.replace(last, POOL): value for name, value in published.items() if name.startswith(last)}
    vectors = make_layers(pool, dtype=torch.float32, packed=False)(tokens, LENGTHS)
    wanted = [asked_once(published, last, text) for text in tokens[: sum(LENGTHS)].split(LENGTHS)]
    torch.testing.assert_close(vectors, torch.stack(wanted), atol=1e-5, rtol=1e-5)


def test_without_such_a_layer_a_text_is_the_mean_of_its_tokens(published, tokens) -> None:
    first = {name: value for name, value in published.items() if name.startswith("encoder.layer.0.")}
    layers = make_layers(first, dtype=torch.float32, packed=False)
    vectors = layers(tokens, LENGTHS)
    alone = [layers(text, [len(text)])[0] for text in tokens[: sum(LENGTHS)].split(LENGTHS)]
    torch.testing.assert_close(vectors, torch.stack(alone), atol=1e-5, rtol=1e-5)


def test_bf16_comes_near_to_float32(published, tokens) -> None:
    last = "encoder.layer.5."
    pool = {name.replace(last, POOL): value for name, value in published.items() if name.startswith(last)}
    exact, near = (make_layers(pool, dtype=of, packed=False)(tokens, LENGTHS) for of in (torch.float32, torch.bfloat16))
    assert near.dtype == torch.float32
    assert torch.cosine_similarity(exact, near).min() > 0.999


def test_a_tensor_that_is_missing_is_named(published) -> None:
    lacking = {name: value for name, value in published.items() if "layer.3.output.dense.bias" not in name}
    with pytest.raises(KeyError, match=r"encoder\.layer\.3\.output\.dense\.bias"):
        make_layers(lacking, dtype=torch.float32, packed=False)
