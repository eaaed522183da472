"""Entropy coding gives back what it was given, in fewer bytes with the dictionary of a rate, and says what it lacks."""

from pathlib import Path

import numpy as np
import pytest
import zstandard

from compressor.codec.corpus import Corpus, cells_of
from compressor.codec.dictionary import write_dictionary
from compressor.codec.native import NativeCodec, load_codec
from compressor.codec.weights import available_rates
from compressor.coding import code_tokens, decode, decode_tokens, dictionary_number, dictionary_path
from compressor.formats import INT4, pack

TEXT = (
    "The harbour office keeps the gauge readings of every lock since 1987. When the water stood at 2.417 m, the "
    "ferry left at 07:40 and came back before noon; the keeper wrote both into the book and signed the page. "
)


@pytest.mark.parametrize("rate", available_rates())
def test_the_dictionary_of_every_rate_saves_bytes_and_loses_none(rate: int) -> None:
    codec = load_codec(f"native-{rate}", device="cpu")
    (cache,) = codec.encode([TEXT * 5])
    packed = pack(cache.levels, INT4)
    without, coded = code_tokens(packed, "another codec"), code_tokens(packed, codec.name)
    assert coded.size < 0.95 * without.size < packed.size
    for stored in (without, coded):
        assert (decode_tokens(stored, *packed.shape) == packed).all()


def test_a_frame_of_an_unknown_dictionary_names_it() -> None:
    samples = [np.random.default_rng(place).bytes(20) * 40 for place in range(200)]
    unknown = zstandard.train_dictionary(4096, samples)
    frame = zstandard.ZstdCompressor(dict_data=unknown).compress(samples[0])
    with pytest.raises(ValueError, match=f"its dictionary {unknown.dict_id()} is not installed"):
        decode(np.frombuffer(frame, np.uint8), len(samples[0]))


def test_a_dictionary_is_learnt_from_training_text(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    words = TEXT.split()
    text = " ".join(words[place] for place in rng.integers(len(words), size=4000))
    codec: NativeCodec = load_codec("native-10", device="cpu")
    path = write_dictionary(codec, Corpus({"prose": cells_of(text)}, {}), tmp_path, seed=1, chunks=40)
    assert path == dictionary_path("native-10", tmp_path)
    learnt = zstandard.ZstdCompressionDict(path.read_bytes())
    (cache,) = codec.encode([text[:900]])
    plain = pack(cache.levels, INT4).tobytes()
    frame = zstandard.ZstdCompressor(dict_data=learnt).compress(plain)
    assert len(frame) < 0.85 * len(zstandard.ZstdCompressor().compress(plain))


def test_a_dictionary_that_is_replaced_stays_under_its_number(tmp_path: Path) -> None:
    codec = load_codec("native-10", device="cpu")
    words = np.random.default_rng(0).permutation(TEXT.split() * 150).tolist()
    corpus = Corpus({"prose": cells_of(" ".join(words))}, {})
    path = write_dictionary(codec, corpus, tmp_path, seed=1, chunks=20)
    first = path.read_bytes()
    write_dictionary(codec, corpus, tmp_path, seed=2, chunks=20)
    assert path.read_bytes() != first
    assert (tmp_path / f"native-10-{dictionary_number(first)}.zdict").read_bytes() == first
