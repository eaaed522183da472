"""Attention: each text of a batch as if it were there alone, whatever lies beside it."""

from itertools import pairwise

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from compressor.attention import attend, places_of

HEADS, WIDTH = 4, 128
LENGTHS = [100, 1, 16, 47, 48, 49, 63, 64, 95, 2, 190, 256, 51]  # the last one has no 13 tokens behind it
TOKENS = 992


def batch(seed: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(TOKENS, 3 * WIDTH, generator=torch.Generator().manual_seed(seed)).to(dtype)


def alone(qkv: torch.Tensor) -> torch.Tensor:
    """In float32, by the kernel, without neighbours."""
    query, key, value = qkv.float().view(-1, 3, HEADS, WIDTH // HEADS).permute(1, 2, 0, 3).unsqueeze(1)
    return scaled_dot_product_attention(query, key, value)[0].transpose(0, 1).reshape(-1, WIDTH)


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
@torch.inference_mode()
def test_a_text_attends_to_itself_only(dtype: torch.dtype, atol: float) -> None:
    assert TOKENS - 16 < sum(LENGTHS) <= TOKENS
    qkv = batch(1, dtype)
    places = places_of(LENGTHS, TOKENS, qkv)
    attended = attend(qkv, places, HEADS)
    assert attended.dtype == dtype
    starts = [0, *torch.tensor(LENGTHS).cumsum(0).tolist()]
    for start, stop in pairwise(starts):
        torch.testing.assert_close(attended[start:stop].float(), alone(qkv[start:stop]), atol=atol, rtol=0.02)
    assert attended.shape == (TOKENS, WIDTH)
    assert attended.isfinite().all()  # padding too: what is not finite would spread


@torch.inference_mode()
def test_neighbours_change_no_bit() -> None:
    qkv, other = batch(1, torch.bfloat16), batch(2, torch.bfloat16) * 100
    mine = slice(sum(LENGTHS[:10]), sum(LENGTHS[:11]))  # 190 tokens, shown with two of its neighbours
    other[mine] = qkv[mine]
    places = places_of(LENGTHS, TOKENS, qkv)
    assert places[10].mask is not None
    assert torch.equal(attend(qkv, places, HEADS)[mine], attend(other, places, HEADS)[mine])


@pytest.mark.parametrize(("length", "tokens"), [(1, 1), (5, 8), (16, 16), (34, 48), (48, 64), (256, 256)])
@torch.inference_mode()
def test_a_text_alone_in_its_batch_does_not_see_its_padding(length: int, tokens: int) -> None:
    qkv = batch(1, torch.float32)[:tokens]
    attended = attend(qkv, places_of([length], tokens, qkv), HEADS)
    torch.testing.assert_close(attended[:length], alone(qkv[:length]), atol=1e-5, rtol=0.02)
    assert attended.isfinite().all()


def test_keys_come_in_whole_steps_from_within_the_batch() -> None:
    places = places_of(LENGTHS, TOKENS, torch.zeros(1))
    assert sum(place.queries for place in places) == TOKENS
    start = 0
    for place, length in zip(places, LENGTHS, strict=True):
        stop = start + length
        assert place.first_key <= start
        assert stop <= place.first_key + place.keys <= TOKENS
        if length >= 16:
            assert place.keys % 16 == 0
        start = stop
    (only,) = places_of([50], 50, torch.zeros(1))
    assert (only.first_key, only.keys) == (0, 50)
    assert only.mask is None
