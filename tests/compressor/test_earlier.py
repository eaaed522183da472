"""What is told of caches of versions 1 to 4 whose frames cannot be unpacked; golden files are in test_cachefile."""

import numpy as np
import pytest
import zstandard

from compressor.earlier import tokens_of

FACTS = {"codec": "native-20@0123456789ab", "format": "int4", "shape": [4, 200], "strips": 8}


def parts(frame: bytes) -> dict[str, np.ndarray]:
    return {"tokens": np.frombuffer(frame, np.uint8)}


def test_a_frame_of_an_unknown_dictionary_names_it() -> None:
    samples = [np.random.default_rng(place).bytes(20) * 40 for place in range(200)]
    unknown = zstandard.train_dictionary(4096, samples)
    frame = zstandard.ZstdCompressor(dict_data=unknown).compress(samples[0])
    with pytest.raises(ValueError, match=f"its dictionary {unknown.dict_id()} is not installed"):
        tokens_of(FACTS, parts(frame))


def test_a_frame_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="600 bytes in place of 800"):
        tokens_of(FACTS, parts(zstandard.ZstdCompressor().compress(bytes(600))))
