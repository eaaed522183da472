"""What lives while a context is read is what its plan says, tensor by tensor and in the process's memory."""

import subprocess
import sys
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from bench.shapes import SHAPES, BenchShape, build_model, page_decoder
from compressor.device import free_memory
from compressor.vlm.memory import plan_memory
from compressor.vlm.shape import model_shape

ROUTED = replace(
    SHAPES["deepseek-ocr-2"],
    text={
        **SHAPES["deepseek-ocr-2"].text,
        "vocab_size": 2000,
        "hidden_size": 256,
        "intermediate_size": 512,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "moe_intermediate_size": 128,
        "mlp_layer_types": ["dense", "sparse"],
    },
    vision={"encoder_config": {**SHAPES["deepseek-ocr-2"].vision["encoder_config"], "num_hidden_layers": 1}},
)
# Little else than keys and values: 196,608 numbers a token, as many as the largest models have.
LONG = replace(
    SHAPES["small"],
    text={
        **SHAPES["small"].text,
        "num_hidden_layers": 48,
        "num_attention_heads": 16,
        "num_key_value_heads": 16,
        "head_dim": 128,
        "rope_parameters": {**SHAPES["small"].text["rope_parameters"], "mrope_section": [24, 20, 20]},
    },
)


class Living(TorchDispatchMode):
    """The most bytes of tensors that were made within and lived at once."""

    def __init__(self) -> None:
        super().__init__()
        self.most = self._now = 0
        self._known: dict[int, int] = {}

    def __torch_dispatch__(
        self, func: object, types: object, args: Sequence[object] = (), kwargs: Mapping[str, object] | None = None
    ) -> object:
        given = {self._place(tensor) for tensor in tree_iter((args, kwargs)) if isinstance(tensor, torch.Tensor)}
        made = func(*args, **(kwargs or {}))  # type: ignore[operator]
        for tensor in tree_iter(made):
            if isinstance(tensor, torch.Tensor) and self._place(tensor) not in given | self._known.keys():
                self._count(tensor.untyped_storage())
        return made

    def _place(self, tensor: torch.Tensor) -> int:
        return tensor.untyped_storage()._cdata

    def _count(self, storage: torch.UntypedStorage) -> None:
        self._known[storage._cdata] = storage.nbytes()
        self._now += storage.nbytes()
        self.most = max(self.most, self._now)
        weakref.finalize(storage, self._forget, storage._cdata)

    def _forget(self, place: int) -> None:
        self._now -= self._known.pop(place)


@pytest.mark.parametrize("chunk", [256, 512])
@pytest.mark.parametrize("shape", [SHAPES["small"], ROUTED], ids=["dense", "routed"])
def test_tensors_that_live_at_once_take_what_is_planned(shape: BenchShape, chunk: int) -> None:
    tokens = 1024
    model = build_model(shape, tokens=tokens, device="cpu", dtype=torch.float32)
    decoder = page_decoder(model, shape)
    plan = plan_memory(model_shape(model), tokens, number_bytes=4, chunk=chunk)
    layout = decoder.lay_out([[number % 1000 + 100 for number in range(tokens)]])
    with Living() as living:
        decoder.read(layout, chunk=chunk)
    assert 0.9 < living.most / (plan.kv + plan.working) < 1.1


def test_experts_take_more_than_a_dense_layer_of_their_width() -> None:
    model = build_model(ROUTED, tokens=1, device="meta", dtype=torch.float32)
    shape = model_shape(model)
    assert (shape.experts, shape.routed, shape.expert_width) == (64, 6, 128)
    dense = plan_memory(replace(shape, routed=0), 64, number_bytes=4)
    routed = plan_memory(shape, 64, number_bytes=4)
    assert routed.working - dense.working == 64 * (6 * 2 * 256 * (4 + 4) - 3 * 512 * 4)


HOLES = """
import ctypes
from pathlib import Path
import torch
from compressor.device import keep_no_holes
def resident():
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024
{call}
before = resident()
for side in (3000, 2900, 2800):
    held = [torch.zeros(side * 1000) for _ in range(20)]  # some 12 MB each
    between = [torch.zeros(200) for _ in range(2000)]
    kept = held[::2], between
    del held
    kept = kept[1]
print(resident() - before)
"""


@pytest.mark.timeout(600)
def test_what_large_tensors_took_goes_back() -> None:
    left = {}
    for call in ("", "keep_no_holes('cpu')"):
        done = subprocess.run(
            [sys.executable, "-c", HOLES.format(call=call)], capture_output=True, text=True, check=True, timeout=300
        )
        left[call] = int(done.stdout)
    assert left["keep_no_holes('cpu')"] < 20_000_000 < left[""]


USED = """
import torch
from bench.context import Peak
from bench.shapes import build_model, page_decoder
from compressor.device import has_native_bf16
from compressor.vlm.memory import SPARE_TOKENS, plan_memory
from compressor.vlm.shape import model_shape
from tests.compressor.vlm.test_memory_live import LONG
tokens, dtype = 4096, torch.bfloat16 if has_native_bf16("cpu") else torch.float32
model = build_model(LONG, tokens=2 * tokens, device="cpu", dtype=dtype)
decoder = page_decoder(model, LONG)
decoder.read(decoder.lay_out([[100] * 64]))  # libraries load what they need
plan = plan_memory(model_shape(model), tokens, number_bytes=dtype.itemsize)
peak = Peak("cpu", plan.weights)
context = decoder.read(decoder.lay_out([[number % 1000 + 100 for number in range(tokens)]]))
decoder.read(decoder.lay_out([[100] * SPARE_TOKENS], start=tokens), context)  # what is kept for an answer is used too
print(peak.read() / plan.total)
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(free_memory("cpu") < 8 * 2**30, reason="a model and its context need up to 8 GiB of memory")
def test_a_process_takes_what_is_planned() -> None:
    done = subprocess.run([sys.executable, "-c", USED], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert 0.9 < float(done.stdout) < 1.1
