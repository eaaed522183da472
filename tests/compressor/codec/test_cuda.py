"""A reader on a CUDA device: as the plain one reads, within what doubt allows for.

The arithmetic between the kernels is looked at everywhere, with torch's own operators in place of the kernels; the
kernels themselves where there is such a device.
"""

import numpy as np
import pytest
import torch
from torch.nn.functional import layer_norm

from compressor.codec import cuda
from compressor.codec.cuda import CudaReader
from compressor.codec.model import HIGH_CLASSES, LOW_CLASSES
from compressor.codec.native import load_codec, set_texts
from compressor.codec.residual import Doubt
from compressor.codec.weights import RATES, load_levels
from compressor.quantise import recall
from compressor.styles import Style

LOGIT = 0.35  # the most that a logit moved between a CPU and an H100, .25, and a little more
TEXTS = [
    "The station at Haverbridge reported a stage of 3.412 m, order ZX-99183/b.\n" * 40,
    "kJ8#q_~]]zQ0x9f3b7Ae{}|\\^`7b2c4d5e-9f1a-4c3b\n" * 20,
    "漢字 and text, 한국어 مرحبا שלום 😀\n" * 30,
    "x",
    "",
]
on_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")


def _with_torch(name: str, warps: int, arguments: list) -> None:
    if name == "norm_cells":
        x, table, weight, bias, y, rows, period = arguments
        y.copy_(layer_norm(x.float() + table.repeat(rows // period, 1), (cuda.DIM,), weight, bias))
    else:
        logits, found, spread, _ = arguments
        low, high = logits[:, :LOW_CLASSES], logits[:, LOW_CLASSES : LOW_CLASSES + HIGH_CLASSES]
        found.copy_(low.argmax(1) + 256 * high.argmax(1))
        spread.copy_(torch.maximum(1 / low.softmax(1).amax(1), 1 / high.softmax(1).amax(1)))


@pytest.mark.parametrize("rate", RATES)
@torch.inference_mode()
def test_it_reads_as_the_plain_reader(rate: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "_launch", _with_torch)
    level = load_levels(rate, torch.device("cpu"))[-1]
    strips = 32
    levels = torch.randint(0, 16, (strips * 10 // rate, 512), generator=torch.manual_seed(rate), dtype=torch.uint8)
    tokens = recall(levels, level.code.digits)
    plain = level.reader(tokens)
    chosen = CudaReader(level.reader).choose(tokens, strips)
    for logits, same in zip(plain, chosen, strict=False):
        torch.testing.assert_close(same, logits, atol=1e-3, rtol=0)
    assert (chosen.found == plain[0].argmax(-1) + 256 * plain[1].argmax(-1)).all()


@pytest.mark.gpu
@on_cuda
@pytest.mark.parametrize("rate", RATES)
def test_it_reads_what_a_cpu_reads(rate: int) -> None:
    gpu, cpu = load_codec(f"native-{rate}", device="cuda"), load_codec(f"native-{rate}", device="cpu")
    styles = [np.full(len(text), Style.CODE if place == 1 else 0, np.uint8) for place, text in enumerate(TEXTS)]
    grids = set_texts(TEXTS, styles)
    levels = np.concatenate(cpu.draw_and_encode(grids)[-1])
    written = np.concatenate(gpu.draw_and_encode(grids)[-1])
    assert (levels == written).mean() > 0.9999
    (found, doubt), (other, doubted) = cpu._read_levels(levels), gpu._read_levels(levels)
    codes = (found ^ other) & 0x1FFFFF != 0
    assert not (codes & (doubt & Doubt.CHARACTER == 0)).any()
    assert not (codes & (doubted & Doubt.CHARACTER == 0)).any()
    tokens = recall(torch.from_numpy(levels[:64]), cpu._levels[-1].code.digits)
    plain = cpu._levels[-1].reader(tokens.to(cpu._dtype))
    with torch.inference_mode():
        assert gpu._cuda is not None
        chosen = gpu._cuda.choose(tokens.to("cuda", torch.bfloat16), 64 * gpu.strips_per_token)
    for logits, same in zip(plain, chosen, strict=False):
        assert float((logits.float() - same.float().cpu()).abs().max()) < LOGIT
    assert gpu.read(cpu.encode(TEXTS, styles)) == cpu.read(gpu.encode(TEXTS, styles)) == TEXTS


@pytest.mark.gpu
@on_cuda
def test_batches_that_do_not_fit_together_are_read_one_after_the_other() -> None:
    codec = load_codec("native-20", device="cuda")
    texts = [*TEXTS * 3, TEXTS[0] * 4]  # the last is longer than a batch
    expected = codec.encode(texts)
    codec._batch = 64
    again = codec.encode(texts)
    assert [cache.residual for cache in again] == [cache.residual for cache in expected]
    assert all((one.levels == other.levels).all() for one, other in zip(again, expected, strict=True))
