"""Owns how a reader runs on a CUDA device: as `model.Reader` does, in fewer passes over memory.

A cell is 512 bytes wide between layers, and torch's operators read and write them all, each anew: that takes twice the
time of the multiplications. So layers add to what stands there already, biases wait for the next norm, attention and
ReLU are torch's fused ones, and two kernels of our own do what is left: a norm, and the choice of the likeliest
characters. NVRTC compiles them, which comes with torch: no compiler is needed.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from compressor.codec.model import HIGH_CLASSES, LOW_CLASSES, Block, Code, Reader
from compressor.codec.typography import STRIP_CELLS
from compressor.styles import STYLE_BITS

DIM = 256  # numbers of a cell that the kernels know: a warp takes a cell, each of its threads 16 bytes
WARPS = 8  # in a block of threads; each has one cell at a time
ROWS_A_WARP = 8  # of a norm, whose weights a warp then loads once
LOGITS = LOW_CLASSES + HIGH_CLASSES + 8  # of a cell, side by side: styles are padded to 16 bytes

_SOURCE = """
__device__ void unpack(uint4 packed, float* v) {
    unsigned words[4] = {packed.x, packed.y, packed.z, packed.w};
    for (int i = 0; i < 4; i++) {
        v[2 * i] = __uint_as_float(words[i] << 16);
        v[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000u);
    }
}

__device__ unsigned rounded(float v) {  // to bf16, half to even
    unsigned bits = __float_as_uint(v);
    return (bits + 0x7fffu + ((bits >> 16) & 1)) >> 16;
}

__device__ float sum_of(float v) {
    for (int step = 16; step; step >>= 1) v += __shfl_xor_sync(0xffffffffu, v, step);
    return v;
}

__device__ void load(const float* from, float* v) {
    float4 low = ((const float4*)from)[0], high = ((const float4*)from)[1];
    v[0] = low.x; v[1] = low.y; v[2] = low.z; v[3] = low.w;
    v[4] = high.x; v[5] = high.y; v[6] = high.z; v[7] = high.w;
}

// y = norm(x + table[row % period]) * weight + bias; rows of 256 bf16, the rest float32
extern "C" __global__ void norm_cells(
    const uint4* x, const float* table, const float* weight, const float* bias, uint4* y, int rows, int period
) {
    int lane = threadIdx.x % 32, warps = gridDim.x * (blockDim.x / 32);
    float v[8], t[8], w[8], b[8];
    load(weight + lane * 8, w);
    load(bias + lane * 8, b);
    for (int row = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32; row < rows; row += warps) {
        unpack(x[(size_t)row * 32 + lane], v);
        load(table + (size_t)(row % period) * 256 + lane * 8, t);
        float sum = 0, squares = 0;
        for (int i = 0; i < 8; i++) sum += v[i] += t[i];
        float mean = sum_of(sum) / 256;
        for (int i = 0; i < 8; i++) squares += (v[i] - mean) * (v[i] - mean);
        float scale = rsqrtf(sum_of(squares) / 256 + 1e-5f);
        unsigned words[4];
        for (int i = 0; i < 4; i++) {
            unsigned low = rounded((v[2 * i] - mean) * scale * w[2 * i] + b[2 * i]);
            words[i] = low | rounded((v[2 * i + 1] - mean) * scale * w[2 * i + 1] + b[2 * i + 1]) << 16;
        }
        y[(size_t)row * 32 + lane] = make_uint4(words[0], words[1], words[2], words[3]);
    }
}

// The best of so many logits a thread: its class, and one by its probability.
__device__ float likeliest_of(const float* v, int count, int lane, int* found) {
    float best = v[0];
    int at = 0;
    for (int i = 1; i < count; i++) if (v[i] > best) { best = v[i]; at = i; }
    at = at / 8 * 256 + lane * 8 + at % 8;
    for (int step = 16; step; step >>= 1) {
        float other = __shfl_xor_sync(0xffffffffu, best, step);
        int place = __shfl_xor_sync(0xffffffffu, at, step);
        if (other > best || (other == best && place < at)) { best = other; at = place; }
    }
    float sum = 0;
    for (int i = 0; i < count; i++) sum += __expf(v[i] - best);
    *found = at;
    return sum_of(sum);
}

// Rows of 256 logits of the low byte, then 512 of the high one, then 8 more.
extern "C" __global__ void choose_cells(const uint4* logits, long long* found, float* spread, int rows) {
    int row = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= rows) return;
    const uint4* mine = logits + (size_t)row * 97 + lane;
    float v[16];
    int low, high;
    unpack(mine[0], v);
    float low_spread = likeliest_of(v, 8, lane, &low);
    unpack(mine[32], v);
    unpack(mine[64], v + 8);
    float high_spread = likeliest_of(v, 16, lane, &high);
    if (lane == 0) {
        found[row] = low + 256 * high;
        spread[row] = fmaxf(low_spread, high_spread);
    }
}
"""


class Chosen(NamedTuple):
    """What is read of cells."""

    low: Tensor  # (strips, 56, 256) logits of the low byte
    high: Tensor  # (strips, 56, 512) of the high one
    style: Tensor  # (strips, 56, 6)
    found: Tensor  # (strips, 56) int64, the likeliest characters
    spread: Tensor  # (strips, 56) float32, one by the probability of the byte that is less sure


def fits(reader: Reader, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a reader can run so: on a CUDA device, in bf16, of the width that the kernels know.

    AMD's devices go by the name of CUDA, too, and have warps of another size.
    """
    return (
        device.type == "cuda"
        and torch.version.hip is None
        and dtype is torch.bfloat16
        and reader.norm.normalized_shape == (DIM,)
    )


class CudaReader:
    """A reader's weights as they are used on its device."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._first, self._second = (layer for layer in reader.lift if isinstance(layer, nn.Linear))
        self._first_weight = _by_cell(self._first.weight, reader.code)
        # What stands beside x until a norm adds it: the place of a cell, and all biases up to there.
        beside = reader.place.float() + _bias(self._second)
        self._blocks = []
        for block in reader.blocks:
            assert isinstance(block, Block)
            self._blocks.append((block, _Norm(block.norm_attention, beside), _Norm(block.norm_mlp, beside)))
            beside = beside + _bias(block.down)
        self._norm = _Norm(reader.norm, beside)
        heads = (reader.low, reader.high, reader.style)
        self._head = functional.pad(torch.cat([head.weight for head in heads]), (0, 0, 0, 8 - STYLE_BITS))
        self._head_bias = functional.pad(torch.cat([head.bias for head in heads]), (0, 8 - STYLE_BITS))

    def choose(self, tokens: Tensor, strips: int) -> Chosen:
        """Tokens (n, digits * width) bf16 -> what is read of the first strips."""
        logits = self.logits(tokens)[: strips * STRIP_CELLS]
        found = torch.empty(len(logits), dtype=torch.int64, device=logits.device)
        spread = torch.empty(len(logits), dtype=torch.float32, device=logits.device)
        _launch("choose_cells", len(logits), [logits, found, spread, len(logits)])
        found, spread, logits = (each.unflatten(0, (strips, STRIP_CELLS)) for each in (found, spread, logits))
        low, high, style = logits.split([LOW_CLASSES, HIGH_CLASSES, LOGITS - LOW_CLASSES - HIGH_CLASSES], -1)
        return Chosen(low, high, style[..., :STYLE_BITS], found, spread)

    def logits(self, tokens: Tensor) -> Tensor:
        """Tokens -> logits (cells, LOGITS): of the low byte, of the high one, of styles, of nothing."""
        x = _rectified(self._see(tokens), self._first_weight, self._first.bias)
        x = torch.mm(x, self._second.weight.t())
        for block, norm_attention, norm_mlp in self._blocks:
            x.addmm_(self._attend(block, norm_attention(x)), block.out.weight.t())
            x.addmm_(_rectified(norm_mlp(x), block.up.weight, block.up.bias), block.down.weight.t())
        return functional.linear(self._norm(x), self._head, self._head_bias)

    def _see(self, tokens: Tensor) -> Tensor:
        """What each cell is read from, (n, digits * width) -> (cells, numbers): cell by cell, then the shared ones."""
        code, cells = self._reader.code, self._reader.cells
        sight = 2 * code.sight + 1
        seen = tokens.new_zeros(len(tokens), cells, self._first_weight.shape[1])
        own = tokens[:, : cells * code.own].view(len(tokens), cells, code.own)
        own = functional.pad(own, (0, 0, code.sight, code.sight)).unfold(1, sight, 1).transpose(2, 3)
        seen[..., : sight * code.own].view(own.shape).copy_(own)
        slices = cells // code.cells
        shared = tokens[:, cells * code.own :][:, : slices * code.shared].view(len(tokens), slices, 1, code.shared)
        by_slice = seen.view(len(tokens), slices, code.cells, -1)
        by_slice[..., sight * code.own : sight * code.own + code.shared] = shared
        return seen.flatten(0, 1)

    def _attend(self, block: Block, x: Tensor) -> Tensor:
        """(cells, 256) -> (cells, 256)."""
        qkv = functional.linear(x, block.qkv.weight).view(-1, self._reader.context, 3, block.heads, DIM // block.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):  # cuDNN's plans anew for every number of strips
            mixed = functional.scaled_dot_product_attention(q, k, v)
        return mixed.transpose(1, 2).reshape(-1, DIM)


class _Norm:
    """A layer norm of x and what stands beside it (period, 256)."""

    def __init__(self, norm: nn.LayerNorm, beside: Tensor) -> None:
        self._beside = beside.contiguous()
        self._weight, self._bias = norm.weight.float(), norm.bias.float()

    def __call__(self, x: Tensor) -> Tensor:
        y = torch.empty_like(x)
        tensors = [x, self._beside, self._weight, self._bias, y]
        _launch("norm_cells", -(-len(x) // ROWS_A_WARP), [*tensors, len(x), len(self._beside)])
        return y


def _rectified(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch._addmm_activation(bias, x, weight.t())  # public ones take a pass of their own for the ReLU


def _by_cell(weight: Tensor, code: Code) -> Tensor:
    """The first layer's weight for numbers that come cell by cell, not number by number, in whole 16 bytes."""
    sight = 2 * code.sight + 1
    own, shared = weight.split([sight * code.own, code.shared], 1)
    own = own.view(-1, code.own, sight).transpose(1, 2).flatten(1)
    return functional.pad(torch.cat([own, shared], 1), (0, -weight.shape[1] % 8))


def _bias(layer: nn.Module) -> Tensor:
    assert isinstance(layer, nn.Linear)
    return layer.bias.float()


def _launch(name: str, warps: int, arguments: list[Any]) -> None:
    if warps:
        # Torch's operators go to the device of their tensors, a kernel of our own to the current one.
        with torch.cuda.device(arguments[0].device):
            kernel = _kernel(name, torch.cuda.current_device())
            kernel(grid=(-(-warps // WARPS), 1, 1), block=(32 * WARPS, 1, 1), args=arguments)


@cache
def _kernel(name: str, device: int) -> Callable[..., None]:
    """Compiled for the current device, once a process."""
    kernel: Callable[..., None] = torch.cuda._compile_kernel(_SOURCE, name)
    return kernel
