"""A plan of memory counts what is then used."""

import dataclasses
from pathlib import Path

import pytest
import torch

from compressor.errors import DeviceFull, UnsupportedModel
from compressor.vlm.families import FAMILIES
from compressor.vlm.load import load_decoder
from compressor.vlm.memory import SPARE_TOKENS, Shape, check_memory, chunk_of, largest_context, plan_memory
from compressor.vlm.room import RoomyLayer
from compressor.vlm.shape import model_shape, read_shape
from tests.compressor.vlm.cases import case
from tests.compressor.vlm.tiny import LATENTS, build

BF16 = {"number_bytes": 2, "chunk": 4096}
# Qwen3-VL-8B's language model as published, except for the parameters
QWEN = Shape(
    parameters=8_190_735_360,
    kv_numbers=36 * 2 * 8 * 128,
    layer_kv_numbers=2 * 8 * 128,
    layer_head_numbers=2 * 32 * 128,
    state_numbers=0,
    width=4096,
    inner_width=12288,
    vocabulary=151936,
    max_tokens=262144,
)


def held_bytes(thing: object) -> dict[int, int]:
    """Of all float tensors within a cache's layers, however they keep them: by where each lies, views counted once."""
    if isinstance(thing, torch.Tensor) and thing.is_floating_point():
        storage = thing.untyped_storage()
        return {storage.data_ptr(): storage.nbytes()} if storage.nbytes() else {}
    parts = thing.values() if isinstance(thing, dict) else thing if isinstance(thing, tuple) else ()
    return {place: size for part in parts for place, size in held_bytes(part).items()}


def check_counted(model: torch.nn.Module, tmp_path: Path) -> None:
    """The plan of a model counts its weights, and what it keeps of a context, to the byte."""
    model.config.save_pretrained(tmp_path)
    shape = read_shape(tmp_path)  # no weights are there yet
    model.save_pretrained(tmp_path)
    decoder = load_decoder(tmp_path, device="cpu", dtype=torch.float32)
    used = {id(weight): weight.nbytes for part in (decoder.language, decoder.head) for weight in part.parameters()}
    context = decoder.read(decoder.lay_out([[20] * 77]))
    plan = plan_memory(shape, 77, number_bytes=4, chunk=16)
    separators = 4 * 2 * decoder.config.get_text_config().hidden_size  # of page ends and line ends, at most
    assert 0 <= plan.weights - sum(used.values()) <= separators
    held = sum(sum(held_bytes(vars(layer)).values()) for layer in context.kv.layers)
    roomy = any(isinstance(layer, RoomyLayer) for layer in context.kv.layers)  # Unlimited-OCR has layers of its own
    assert plan.kv == held + (0 if roomy else 4 * SPARE_TOKENS * shape.kv_numbers)


@pytest.mark.parametrize("name", list(FAMILIES))
def test_weights_keys_and_values_are_counted_to_the_byte(name: str, tmp_path: Path) -> None:
    check_counted(case(name).model, tmp_path)


@pytest.mark.parametrize("language", ["deepseek_v2", "deepseek_v3"])
def test_latents_are_counted_to_the_byte(language: str, tmp_path: Path) -> None:
    model = build("deepseek_vl", model_type=language, **LATENTS)
    check_counted(model, tmp_path)
    assert read_shape(tmp_path).layer_head_numbers == 4 * (12 + 8 + 16)


def test_a_language_model_of_which_nothing_is_known_has_no_plan(tmp_path: Path) -> None:
    build("deepseek_vl", model_type="phi3").config.save_pretrained(tmp_path)
    with pytest.raises(UnsupportedModel, match="how much memory a language model of type 'phi3' takes for a context"):
        read_shape(tmp_path)


@pytest.mark.parametrize(
    ("language", "fields"),
    [
        ("mixtral", {"intermediate_size": 24, "num_local_experts": 4, "num_experts_per_tok": 2}),
        ("olmoe", {"intermediate_size": 24, "num_experts": 4, "num_experts_per_tok": 2}),
        ("gpt_oss", {"intermediate_size": 24, "num_local_experts": 4, "num_experts_per_tok": 2}),  # laid out otherwise
        ("aria_text", {"intermediate_size": 24, "moe_num_experts": 4, "moe_topk": 2}),
        (
            "qwen3_moe",
            {"intermediate_size": 40, "moe_intermediate_size": 24, "num_experts": 4, "num_experts_per_tok": 2},
        ),
        ("solar_open", {"moe_intermediate_size": 24, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 1}),
    ],
)
def test_experts_are_measured_whatever_their_settings_are_called(
    language: str, fields: dict[str, int], tmp_path: Path
) -> None:
    build("deepseek_vl", model_type=language, **fields).config.save_pretrained(tmp_path)
    shape = read_shape(tmp_path)
    assert shape.experts % 4 == 0 < shape.experts
    assert (shape.routed, shape.expert_width) == (2, 24)
    assert plan_memory(shape, 100, number_bytes=2).working > 0


def test_settings_that_do_not_say_how_many_experts_a_token_goes_to_are_refused_by_name() -> None:
    model = build("deepseek_vl", model_type="deepseek_v2", **LATENTS | {"num_experts_per_tok": None})
    message = (
        "^how much memory a language model of type 'deepseek_v2' takes for a context is not known: "
        "its settings do not say num_experts_per_tok or moe_topk or moe_k or top_k_experts$"
    )
    with pytest.raises(UnsupportedModel, match=message):
        model_shape(model)


def test_a_real_shape_takes_what_the_arithmetic_says() -> None:
    plan = plan_memory(QWEN, 100_000, **BF16)
    assert plan.weights == 16_381_470_720
    assert plan.kv == (100_000 + SPARE_TOKENS) * 147_456
    parts = "weights 15.26 GiB, keys and values 13.87 GiB, working 4.42 GiB"
    assert str(plan) == f"33.55 GiB for 100000 tokens ({parts})"


def test_pages_that_were_read_apart_are_counted_beside_their_context() -> None:
    whole, apart = (plan_memory(QWEN, 100_000, **BF16, apart=apart) for apart in (False, True))
    assert apart.kv == 2 * whole.kv
    assert apart.working == 100_000 * 2 * 2 * 8 * 128 * 2  # of one layer: as they were moved, and joined
    small = dataclasses.replace(QWEN, kv_numbers=10)
    whole, apart = (plan_memory(small, 100_000, **BF16, apart=apart) for apart in (False, True))
    assert apart.total == whole.total  # they have gone when the question is read, which needs more
    most = largest_context(QWEN, 24 * 2**30, **BF16, apart=True)
    with pytest.raises(DeviceFull, match=f"at most {most} tokens fit"):
        check_memory(QWEN, most + 1, 24 * 2**30, **BF16, apart=True)


def test_longer_contexts_take_more() -> None:
    totals = [plan_memory(QWEN, tokens, **BF16).total for tokens in (1, 1000, 4096, 100_000, 200_000)]
    assert totals == sorted(set(totals))


@pytest.mark.parametrize("gib", [20, 24, 40])
def test_the_largest_context_fits_and_one_token_more_does_not(gib: int) -> None:
    most = largest_context(QWEN, gib * 2**30, **BF16)
    assert 0 < most < QWEN.max_tokens
    assert check_memory(QWEN, most, gib * 2**30, **BF16).total <= gib * 2**30
    with pytest.raises(DeviceFull, match=f"the context needs .*; there are {gib}.00 GiB: at most {most} tokens fit"):
        check_memory(QWEN, most + 1, gib * 2**30, **BF16)


def test_chunks_grow_shorter_where_contexts_grow_long() -> None:
    assert [chunk_of(tokens) for tokens in (0, 1000, 1 << 18, 1 << 20, 1 << 24)] == [4096, 4096, 4096, 1024, 256]
    long = dataclasses.replace(QWEN, max_tokens=1 << 21)
    assert plan_memory(long, 1 << 20, number_bytes=2) == plan_memory(long, 1 << 20, number_bytes=2, chunk=1024)
    mask = 2 * chunk_of(1 << 20) * (1 << 20)
    assert mask == 2 * chunk_of(1 << 18) * (1 << 18) == 2 << 30


def test_the_models_positions_bound_the_largest_context() -> None:
    assert largest_context(QWEN, 10**15, **BF16) == QWEN.max_tokens


def test_a_device_that_is_too_small_for_the_weights_is_named() -> None:
    with pytest.raises(DeviceFull, match=r"there are 8\.00 GiB: not even the weights fit, choose a smaller model"):
        check_memory(QWEN, 1000, 8 * 2**30, **BF16)


def test_a_model_that_is_not_on_the_list_has_no_plan(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(UnsupportedModel, match="models of type 'llama' are not supported; these are: deepseek_ocr2"):
        read_shape(tmp_path)
