"""Owns the memory of keys and values: taken once for all that is announced, and filled as it is read.

transformers' own layers join what they hold with what comes, anew for every chunk and every token of an answer. So all
of a layer is copied each time, lies in memory twice meanwhile, and leaves holes of all sizes.
"""

from torch import Tensor
from transformers import Cache
from transformers.cache_utils import DynamicLayer

from compressor.vlm.memory import SPARE_TOKENS


class RoomyLayer(DynamicLayer):
    """Keys and values of all tokens, at the start of memory that has room for more; what is cut off is written over."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.announced = 0  # tokens in all, as far as that is known
        self._room: tuple[Tensor, Tensor] | None = None  # (1, heads, tokens that fit, width) each

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Adds keys and values (1, heads, tokens, width) and gives all of them, as views."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        if self._room is None or end > self._room[0].shape[-2]:
            tokens = max(end, self.announced) + SPARE_TOKENS
            self._room = _grown(key_states, self.keys, tokens), _grown(value_states, self.values, tokens)
        keys, values = self._room
        keys[..., start:end, :] = key_states
        values[..., start:end, :] = value_states
        self.keys, self.values = keys[..., :end, :], values[..., :end, :]
        return self.keys, self.values


def make_room(cache: Cache) -> None:
    """Has a new cache's layers take their memory once; those that are more than keys and values stay as they are."""
    cache.layers = [RoomyLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]


def _grown(like: Tensor, held: Tensor | None, tokens: int) -> Tensor:
    """Memory for so many tokens, with what is held at its start."""
    room = like.new_empty(*like.shape[:-2], tokens, like.shape[-1])
    if held is not None and held.numel():
        room[..., : held.shape[-2], :] = held
    return room
