"""Owns the plan of a decoder's memory, made before anything is loaded. Knows no torch and no model.

Weights and keys and values are counted exactly. Working memory is what one chunk and one layer need at a time, as
transformers computes attention today: with a mask over all that was read, and keys repeated for every query head.
How often each lives at once was fitted to measurements on a CPU, which it meets within fifteen percent; a GPU was not
measured.
"""

from dataclasses import dataclass

from compressor.errors import DeviceFull

CHUNK_TOKENS = 4096  # read in one pass: long enough to keep a GPU busy, and what bounds its activations
SHORTEST_CHUNK = 256
MASK_NUMBERS = 1 << 30  # of one pass: beyond, chunks grow shorter as the context grows longer
LAYER_COPIES = 2  # of one layer's keys and values: as they were, and grown by a chunk
HEAD_COPIES = 2  # of the same repeated for every query head, which a kernel lays out once more
STREAMS = 6  # copies of a chunk's hidden states that live at once: residual, normed, queries, output, two embeddings
INNER_STREAMS = 3  # of its wider activations inside a layer: gate, up, their product


@dataclass(frozen=True, slots=True)
class Shape:
    """What of a language model decides its memory. Numbers, not bytes."""

    parameters: int  # shared ones counted once
    kv_numbers: int  # that a token leaves behind, over all layers
    layer_kv_numbers: int  # the most that it leaves in one layer
    layer_head_numbers: int  # the same, repeated for every query head
    state_numbers: int  # that a context holds however long it is
    width: int
    inner_width: int
    vocabulary: int
    max_tokens: int


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Bytes on the device that computes."""

    tokens: int
    weights: int
    kv: int  # keys, values and fixed state of the whole context
    working: int  # at the peak, while the last chunk is read

    @property
    def total(self) -> int:
        """All of them."""
        return self.weights + self.kv + self.working

    def __str__(self) -> str:
        parts = f"weights {_gib(self.weights)}, keys and values {_gib(self.kv)}, working {_gib(self.working)}"
        return f"{_gib(self.total)} for {self.tokens} tokens ({parts})"


def chunk_of(tokens: int) -> int:
    """Tokens to read in one pass of a context that grows to so many tokens, so that memory does not grow with both."""
    return max(SHORTEST_CHUNK, min(CHUNK_TOKENS, MASK_NUMBERS // max(1, tokens)))


def plan_memory(
    shape: Shape, tokens: int, *, number_bytes: int, chunk: int | None = None, apart: bool = False
) -> MemoryPlan:
    """The plan of a context of that many tokens, answer included; `number_bytes` is 2 for bf16, 4 for float32.

    Chunks are as `chunk_of` says where `chunk` is None. `apart`: keys and values are put together from pages that were
    read apart and lie beside the context until it is whole.
    """
    rows = min(chunk or chunk_of(tokens), tokens)
    chunk_numbers = rows * (STREAMS * shape.width + INNER_STREAMS * shape.inner_width)
    joined_numbers = tokens * LAYER_COPIES * shape.layer_kv_numbers
    layer_numbers = joined_numbers + tokens * HEAD_COPIES * shape.layer_head_numbers
    mask_numbers = rows * tokens  # what is added to the scores of every query and key
    kv = (tokens * shape.kv_numbers + shape.state_numbers) * number_bytes
    working = (chunk_numbers + layer_numbers + mask_numbers) * number_bytes + shape.vocabulary * (4 + number_bytes)
    working += shape.state_numbers * number_bytes  # kept, to be gone back to
    if apart:  # pages have gone before the question is read
        kv, working = 2 * kv, max(joined_numbers * number_bytes, working - kv)
    return MemoryPlan(tokens=tokens, weights=shape.parameters * number_bytes, kv=kv, working=working)


def largest_context(
    shape: Shape, available: int, *, number_bytes: int, chunk: int | None = None, apart: bool = False
) -> int:
    """The most tokens that fit into so many bytes and into the model's positions; 0 where the weights do not."""
    fitting, beyond = 0, shape.max_tokens + 1
    while beyond - fitting > 1:
        middle = (fitting + beyond) // 2
        if plan_memory(shape, middle, number_bytes=number_bytes, chunk=chunk, apart=apart).total <= available:
            fitting = middle
        else:
            beyond = middle
    return fitting


def check_memory(
    shape: Shape, tokens: int, available: int, *, number_bytes: int, chunk: int | None = None, apart: bool = False
) -> MemoryPlan:
    """The plan of a context that fits. Raises DeviceFull with the numbers, and what would fit."""
    plan = plan_memory(shape, tokens, number_bytes=number_bytes, chunk=chunk, apart=apart)
    if plan.total <= available:
        return plan
    most = largest_context(shape, available, number_bytes=number_bytes, chunk=chunk, apart=apart)
    advice = f"at most {most} tokens fit" if most else "not even the weights fit, choose a smaller model"
    raise DeviceFull(f"the context needs {plan}; there are {_gib(available)}: {advice}")


def _gib(count: int) -> str:
    return f"{count / 2**30:.2f} GiB"
