"""A context file is safetensors that any reader of the format takes, however it was written."""

import io
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

import compressor.contextfile
from compressor.contextfile import write_context
from compressor.errors import CacheError, ContextTooLong


def test_pieces_become_one_tensor_with_its_metadata(tmp_path: Path) -> None:
    pieces = [np.random.default_rng(n).normal(size=(n, 6)).astype(np.float16) for n in (3, 1, 5)]
    with (tmp_path / "c").open("wb") as file:
        assert write_context(file, iter(pieces), 9, {"said": 'a "title" of é水'}) == 6
    with safe_open(tmp_path / "c", "np") as found:
        assert list(found.keys()) == ["tokens"]
        assert found.metadata() == {"said": 'a "title" of é水'}
        assert (found.get_tensor("tokens") == np.concatenate(pieces)).all()


def test_no_pieces_are_no_tokens(tmp_path: Path) -> None:
    with (tmp_path / "c").open("wb") as file:
        assert write_context(file, [], 0, {"said": "no Unicode: \udcff"}) == 0
    with safe_open(tmp_path / "c", "np") as found:
        assert found.get_tensor("tokens").shape == (0, 0)
        assert found.metadata() == {"said": "no Unicode: ?"}


def test_tokens_of_two_widths_cannot_share_a_file() -> None:
    pieces = [np.zeros((2, 6), np.float16), np.zeros((2, 8), np.float16)]
    with pytest.raises(CacheError, match="caches of several kinds cannot share one context: widths 6 and 8"):
        write_context(io.BytesIO(), pieces, 4, {})


def test_metadata_that_no_header_holds_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compressor.contextfile, "HEADER_LIMIT", 1000)
    message = r"takes 1,\d\d\d bytes, and a safetensors file has room for 1,000: ask for fewer chunks, or of a part"
    with pytest.raises(ContextTooLong, match=message):
        write_context(io.BytesIO(), [], 0, {"chunks": "x" * 1000})
