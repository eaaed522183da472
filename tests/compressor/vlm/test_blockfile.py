"""A block file keeps keys and values bit for bit, and no byte of it can change unnoticed."""

import dataclasses
from pathlib import Path

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


@pytest.mark.parametrize("numbers", ["f8", ["bf16"], None])
def test_numbers_of_an_unknown_type_are_damage_at_once(tmp_path: Path, numbers: object) -> None:
    block = make_block(torch.bfloat16)
    path = tmp_path / "blocks"
    facts = blockfile._facts(block) | {"numbers": numbers}
    path.write_bytes(seal(blockfile._kind(), {"0": (facts, blockfile._parts(block))}))
    message = "^block file blocks is damaged: the numbers of 0 are of no type of bf16, f16, f32; delete it"
    with pytest.raises(CacheDamaged, match=message):
        BlockFile(path)
