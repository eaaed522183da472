"""Each chunk gets the fewest tokens that read well enough."""

from typing import Any

import numpy as np
import pytest

from compressor.cache import Cache
from compressor.codec.adaptive import Budget, encode_adaptive
from compressor.codec.native import NativeCodec, load_codec
from compressor.codec.weights import available_rates

PROSE = "The river rose through the night, and in the morning the people of the town went up to the mill.\n" * 20
RARE = "ꦲꦤꦕꦫꦏ ᠮᠣᠩᠭᠣᠯ ཨོཾམཎིཔདྨེཧཱུྃ " * 30


@pytest.fixture(scope="module")
def codecs() -> list[NativeCodec]:
    return [load_codec(f"native-{rate}", device="cpu") for rate in available_rates()]


def test_what_reads_well_gets_few_tokens_and_what_does_not_gets_more(codecs: list[NativeCodec]) -> None:
    prose, rare = encode_adaptive(codecs, [PROSE, RARE], budget=Budget())
    assert prose.codec == codecs[-1].fingerprint or prose.raw_char_accuracy >= 0.99
    assert prose.vision_tokens < len(PROSE) / 100
    rates = {codec.fingerprint: codec.rate for codec in codecs}
    assert rates[rare.codec] < rates[prose.codec]


def test_every_cache_reads_back_exactly_by_its_own_codec(codecs: list[NativeCodec]) -> None:
    texts = [PROSE, RARE, "", "x", PROSE[:300] + RARE[:300]]
    styles = [np.full(len(text), 4, np.uint8) for text in texts]
    by_name = {codec.fingerprint: codec for codec in codecs}
    for text, style, cache in zip(texts, styles, encode_adaptive(codecs, texts, styles, budget=Budget()), strict=True):
        assert by_name[cache.codec].read([cache]) == [text]
        assert (by_name[cache.codec].read_styles([cache])[0] == style).all()


def test_the_budget_decides(codecs: list[NativeCodec]) -> None:
    strict = encode_adaptive(codecs, [RARE], budget=Budget(accuracy=1.0, residual=0.0))[0]
    lax = encode_adaptive(codecs, [RARE], budget=Budget(accuracy=0.0, residual=100.0))[0]
    assert strict.codec == codecs[0].fingerprint
    assert lax.codec == codecs[-1].fingerprint


def test_of_rates_with_as_many_tokens_the_lowest_is_taken(codecs: list[NativeCodec]) -> None:
    short = encode_adaptive(codecs, ["one short line"], budget=Budget())[0]
    assert (short.codec, short.vision_tokens) == (codecs[0].fingerprint, 1)


def test_a_chosen_cache_is_what_its_codec_alone_makes(codecs: list[NativeCodec]) -> None:
    chosen = encode_adaptive(codecs, [PROSE], budget=Budget(accuracy=0.0, residual=100.0))[0]
    alone = codecs[-1].encode([PROSE])[0]
    assert (chosen.codec, chosen.digest, chosen.counts.tolist()) == (alone.codec, alone.digest, alone.counts.tolist())
    assert (chosen.levels == alone.levels).all()


def test_the_highest_rate_stops_where_too_much_is_wrong(
    codecs: list[NativeCodec], monkeypatch: pytest.MonkeyPatch
) -> None:
    verified: list[str] = []
    whole = NativeCodec.verify

    def verify(codec: NativeCodec, texts: list[str], *rest: Any) -> list[Cache]:
        verified.extend(texts if codec is codecs[-1] else [])
        return whole(codec, texts, *rest)

    monkeypatch.setattr(NativeCodec, "verify", verify)
    chosen = encode_adaptive(codecs, [PROSE, RARE], budget=Budget())
    assert verified == [PROSE]
    monkeypatch.setattr("compressor.codec.adaptive.PROBED_FROM", 1000)
    again = encode_adaptive(codecs, [PROSE, RARE], budget=Budget())
    assert verified == [PROSE, PROSE, RARE]
    assert [cache.codec for cache in chosen] == [cache.codec for cache in again]
