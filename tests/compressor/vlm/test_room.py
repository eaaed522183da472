"""Keys and values lie in memory that was taken once, and are what they were."""

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from compressor.vlm.memory import SPARE_TOKENS
from compressor.vlm.room import RoomyLayer, make_room


def tokens(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, 2, count, 4, generator=generator), torch.randn(1, 1, count, 3, generator=generator)


def test_what_is_added_is_what_transformers_own_layers_hold() -> None:
    layer, own = RoomyLayer(), DynamicLayer()
    for count, cut in ((5, 0), (1, 0), (9, 4), (2000, 0), (3, 2)):  # one goes beyond all room
        for some in (layer, own):
            keys, values = some.update(*tokens(count, count))
            assert keys is some.keys
            assert values is some.values
            some.crop(-cut)
        assert layer.get_seq_length() == own.get_seq_length()
        assert torch.equal(layer.keys, own.keys)
        assert torch.equal(layer.values, own.values)


def test_memory_is_taken_once_for_what_is_announced() -> None:
    layer = RoomyLayer()
    layer.announced = 100
    layer.update(*tokens(60, 0))
    place = layer.keys.data_ptr()
    layer.update(*tokens(40, 1))
    layer.update(*tokens(SPARE_TOKENS, 2))
    assert layer.keys.data_ptr() == place
    assert layer.keys.untyped_storage().nbytes() == 4 * 2 * 4 * (100 + SPARE_TOKENS)
    layer.update(*tokens(1, 3))
    assert layer.keys.data_ptr() != place


def test_layers_that_are_more_than_keys_and_values_stay() -> None:
    cache = DynamicCache()
    cache.layers = [DynamicLayer(), other := RoomyLayer()]
    make_room(cache)
    assert [type(layer) for layer in cache.layers] == [RoomyLayer, RoomyLayer]
    assert cache.layers[1] is other
