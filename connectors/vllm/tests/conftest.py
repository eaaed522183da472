"""Page files as Percel itself writes them."""

import hashlib
from pathlib import Path

import pytest
import torch
from compressor.decoders.vllm import page_name
from compressor.vlm.page import PageCache, PageTokens, store_page
from compressor.vlm.pagefile import write_pages
from tests.servers_s3 import aws, between, bucket, s3_server, s3_url

from percel_vllm.names import read_name

__all__ = ["aws", "between", "bucket", "s3_server", "s3_url"]  # fixtures of every test

MODEL = "hf:qwen3_vl@0123456789ab"
ENTRY = "000001.0000"


def make_page(format: str = "int8", *, levels: int = 2, seed: int = 0) -> PageCache:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.tensor([7, *[9] * 6, 8])
    deepstack = torch.randn(levels, 6, 32, generator=generator) if levels else None
    tokens = PageTokens(torch.randn(6, 32, generator=generator), deepstack, (2, 3), ids)
    return store_page(tokens, codec=MODEL, image_token=9, format=format)


def put_page(blobs: Path, page: PageCache, *, model: str = MODEL, tenant: str = "default") -> str:
    """Writes a page file where Percel's directory of blobs has it; the page's name in requests."""
    data = page_bytes(page)
    digest = hashlib.sha256(data).hexdigest()
    key = f"{tenant}/{digest[:2]}/{digest[2:4]}/{digest}"
    (blobs / key).parent.mkdir(parents=True, exist_ok=True)
    (blobs / key).write_bytes(data)
    return page_name(model, key, ENTRY)


def page_bytes(page: PageCache) -> bytes:
    """A page file that holds a page, after another."""
    return write_pages({"000000.0000": make_page(seed=5), ENTRY: page})


def page_path(blobs: Path, name: str) -> Path:
    """The file behind a page's name."""
    return blobs / read_name(name).blob


def numbers(page: PageCache, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """What Percel itself reads of a page, all levels beside each other."""
    levels = (page.features, *page.deepstack)
    return torch.cat([level.unpack(0, len(level), device="cpu", dtype=torch.float32) for level in levels], 1).to(dtype)


@pytest.fixture
def blobs(tmp_path: Path) -> Path:
    folder = tmp_path / "blobs"
    folder.mkdir()
    return folder
