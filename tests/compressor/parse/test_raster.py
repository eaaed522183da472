"""Pages of a PDF become images in a child process, or one error that names the pages."""

from pathlib import Path

import numpy as np
import pymupdf
import pytest

from compressor.errors import ParserFailed
from compressor.limits import Limits
from compressor.parse.raster import DPI, raster_pages


@pytest.fixture
def paper(tmp_path: Path) -> Path:
    with pymupdf.open() as document:
        for number in range(3):
            page = document.new_page(width=300, height=400)
            page.insert_text((40, 60), f"page {number + 1} " * 4)
        document.save(tmp_path / "paper.pdf")
    return tmp_path / "paper.pdf"


def test_pages_are_drawn_in_order_at_the_stated_dpi(paper: Path) -> None:
    images = raster_pages(paper, range(2, 4), name="paper.pdf", longest=4096, limits=Limits())
    assert [image.size for image in images] == [(300 * DPI // 72, 400 * DPI // 72)] * 2
    assert all((np.asarray(image) < 128).any() for image in images)
    assert images[0].tobytes() != images[1].tobytes()


def test_no_side_is_longer_than_the_model_wants(paper: Path) -> None:
    (image,) = raster_pages(paper, range(1, 2), name="paper.pdf", longest=200, limits=Limits())
    assert image.size == (150, 200)


def test_a_file_that_cannot_be_drawn_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "cut.pdf").write_bytes(b"%PDF-1.7\n")
    with pytest.raises(ParserFailed, match=r"pages 1 to 2 of cut\.pdf could not be drawn \("):
        raster_pages(tmp_path / "cut.pdf", range(1, 3), name="cut.pdf", longest=500, limits=Limits())


def test_a_file_that_takes_too_long_is_one_error(paper: Path) -> None:
    with pytest.raises(ParserFailed, match=r"page 1 of paper\.pdf took longer than 0\.01 s to draw"):
        raster_pages(paper, range(1, 2), name="paper.pdf", longest=500, limits=Limits(seconds=0.01))
