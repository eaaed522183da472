"""Owns the plan of a decoder's memory, made before anything is loaded. Knows no torch and no model.

Weights and keys and values are counted exactly. Working memory is what one chunk and one layer need at a time, as
transformers computes attention today: with a mask over all that was read, and keys repeated for every query head; or
as it computes experts, with every token once for each of its experts. What lives at once was counted tensor by tensor
on a CPU; a GPU was not measured.
"""

from dataclasses import dataclass

from compressor.errors import DeviceFull

CHUNK_TOKENS = 4096  # read in one pass: long enough to keep a GPU busy, and what bounds its activations
SHORTEST_CHUNK = 256
MASK_NUMBERS = 1 << 30  # of one pass: beyond, chunks grow shorter as the context grows longer
SPARE_TOKENS = 1024  # that memory is taken for beyond what is announced: a question and its answer
JOINED_COPIES = 2  # of one layer's keys and values, while pages are put together: as they were moved, and joined
STREAMS = 5  # copies of a chunk's hidden states that live at once: embeddings, residual, sum, normed, the last chunk's
QUERY_STREAMS = 2  # of its queries: as they go in, and what comes out
INNER_STREAMS = 3  # of its wider activations inside a layer: gate, up, their product
EXPERT_STREAMS = 4  # the same of a token at each of its experts, where gate and up are one tensor beside both parts
SORTED_STREAMS = 2  # of its hidden states there: sorted by expert, and what comes out; then in float32, in both orders
# That oneDNN keeps compiled for experts on a CPU, at most: two for each number of tokens that one meets.
KERNELS, KERNEL_BYTES = 1024, 600_000


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
    experts: int = 0  # in all layers
    routed: int = 0  # of a layer, that each token goes to
    expert_width: int = 0  # inside of one


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
    packed = number_bytes == 2  # kernels lay out anew what they multiply, in bf16
    head_copies = (shape.layer_head_numbers > shape.layer_kv_numbers) + packed  # repeated for every query head
    attention = tokens * head_copies * shape.layer_head_numbers + rows * tokens  # the mask, as it is added to scores
    attention += rows * QUERY_STREAMS * shape.layer_head_numbers // 2
    inner = rows * INNER_STREAMS * shape.inner_width
    experts = (
        rows
        * shape.routed
        * max(
            SORTED_STREAMS * shape.width * (number_bytes + 4),
            (shape.width + EXPERT_STREAMS * shape.expert_width) * number_bytes,
        )
    )
    kv = ((tokens + SPARE_TOKENS) * shape.kv_numbers + shape.state_numbers) * number_bytes
    working = rows * STREAMS * shape.width * number_bytes + max(max(attention, inner) * number_bytes, experts)
    working += rows * tokens  # the mask as it is made: a byte for each query and key
    working += shape.vocabulary * (4 + number_bytes) + shape.state_numbers * number_bytes  # kept, to be gone back to
    if packed:
        working += KERNEL_BYTES * min(KERNELS, 2 * min(rows, shape.experts * -(-tokens // rows)))
    if apart:  # pages have gone before the question is read
        joined = tokens * JOINED_COPIES * shape.layer_kv_numbers * number_bytes
        kv, working = 2 * kv, max(joined, working - kv)
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
    advice = f"at most {most} tokens fit" if most else "no context fits beside the weights, choose a smaller model"
    if plan.weights > available:
        advice = "not even the weights fit, choose a smaller model"
    raise DeviceFull(f"the context needs {plan}; there are {_gib(available)}: {advice}")


def _gib(count: int) -> str:
    return f"{count / 2**30:.2f} GiB"
