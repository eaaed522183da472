"""A block file keeps keys and values bit for bit, and no byte of it can change unnoticed."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from compressor.errors import CacheDamaged, ModelError
from compressor.sealed import seal
from compressor.vlm import blockfile
from compressor.vlm.blockfile import BlockFile, write_blocks
from compressor.vlm.blocks import Block, assemble, read_block
from tests.compressor.vlm.cases import BEFORE, QUESTION, case


def make_block(dtype: torch.dtype, *, tokens: int = 3) -> Block:
    layers = [tuple(torch.randn(1, 2, tokens, 4).to(dtype) for _ in range(2)) for _ in range(2)]
    return Block("hf:tiny@0123456789ab", *layers, start=2, span=tokens)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_blocks_come_back_bit_for_bit(dtype: torch.dtype, tmp_path: Path) -> None:
    blocks = {"0": make_block(dtype), "1": make_block(dtype, tokens=700)}
    path = tmp_path / "blocks"
    path.write_bytes(write_blocks(blocks))
    with BlockFile(path) as file:
        for entry, loaded in zip(["1", "0"], file.load_many(["1", "0"]), strict=True):
            block = blocks[entry]
            pairs = zip(block.keys + block.values, loaded.keys + loaded.values, strict=True)
            assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in pairs)
            assert (loaded.codec, loaded.start, loaded.span) == (block.codec, block.start, block.span)


@pytest.mark.parametrize("name", ["qwen3_vl", "unlimited_ocr"])
def test_stored_blocks_answer_as_fresh_ones(name: str, tmp_path: Path) -> None:
    decoder = case(name).decoder
    blocks = {"0": read_block(decoder, [BEFORE])}
    blocks |= {f"{n + 1}": read_block(decoder, [page]) for n, page in enumerate(case(name).stored())}
    path = tmp_path / "blocks"
    path.write_bytes(write_blocks(blocks))
    with BlockFile(path) as file:
        loaded = [file.load(entry) for entry in blocks]
    logits = []
    for some in (list(blocks.values()), loaded):
        context = assemble(decoder, some)
        logits.append(decoder.read(decoder.lay_out([QUESTION], start=context.next_position), context).logits)
    assert torch.equal(*logits)


def test_every_flipped_byte_is_detected(tmp_path: Path) -> None:
    data = write_blocks({"0": make_block(torch.bfloat16)})
    path = tmp_path / "blocks"
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(CacheDamaged, match="block file blocks is damaged"), BlockFile(path) as file:
            file.load("0")


def test_layers_of_different_shapes_are_refused() -> None:
    block = make_block(torch.float32)
    uneven = dataclasses.replace(block, keys=(block.keys[0], block.keys[1][..., :2]))
    with pytest.raises(ModelError, match="the layers of this block differ in shape: it cannot be stored"):
        write_blocks({"0": uneven})


def check_damaged(path: Path, message: str, facts: dict[str, object], **parts: np.ndarray) -> None:
    block = make_block(torch.bfloat16)
    entry = (blockfile._facts(block) | facts, blockfile._parts(block) | parts)
    path.write_bytes(seal(blockfile._kind(), {"0": entry}))
    with pytest.raises(CacheDamaged, match=f"^block file blocks is damaged: {message}; delete it"):
        BlockFile(path)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"numbers": "f8"}, "the numbers of 0 are of no type of bf16, f16, f32"),
        ({"numbers": ["bf16"]}, "the numbers of 0 are of no type of bf16, f16, f32"),
        ({"numbers": None}, "the numbers of 0 are of no type of bf16, f16, f32"),
        ({"codec": None}, "codec, start or span of 0 is not told"),
        ({"start": "2"}, "codec, start or span of 0 is not told"),
        ({"span": True}, "codec, start or span of 0 is not told"),
        ({"start": -1}, "start or span of 0 is below 0"),
        ({"span": -3}, "start or span of 0 is below 0"),
    ],
)
def test_wrong_facts_are_damage_at_once(tmp_path: Path, facts: dict[str, object], message: str) -> None:
    check_damaged(tmp_path / "blocks", message, facts)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((3, 2, 3, 8), "keys and values of 0 are not of the same layers and tokens"),
        ((2, 2, 4, 8), "keys and values of 0 are not of the same layers and tokens"),
        ((2, 2, 24), "keys and values of 0 are not of the same layers and tokens"),
        ((2, 2, 3, 7), "a vector of 0 is cut off within a number"),
    ],
)
def test_parts_that_no_model_makes_are_damage_at_once(tmp_path: Path, shape: tuple[int, ...], message: str) -> None:
    check_damaged(tmp_path / "blocks", message, {}, values=np.zeros(shape, np.uint8))


def test_values_may_have_heads_and_a_width_of_their_own(tmp_path: Path) -> None:
    block = make_block(torch.bfloat16)
    values = tuple(torch.randn(1, 1, 3, 6).bfloat16() for _ in range(2))
    path = tmp_path / "blocks"
    path.write_bytes(write_blocks({"0": dataclasses.replace(block, values=values)}))
    with BlockFile(path) as file:
        assert all(map(torch.equal, file.load("0").values, values))
