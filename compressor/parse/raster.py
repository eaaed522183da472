"""Owns PDF pages as images: drawn by PyMuPDF in a child process, under the limits of a parse.

With `pdf` one of the two files that use PyMuPDF.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from compressor.errors import ParserFailed
from compressor.limits import Limits
from compressor.parse.child import address_space, limit_process
from compressor.parse.source import display_name

if TYPE_CHECKING:
    from PIL.Image import Image

DPI = 144  # of a page whose long side stays within what the model wants
_ROOT = Path(__file__).resolve().parents[2]


def raster_pages(path: Path, numbers: Sequence[int], *, name: str, longest: int, limits: Limits) -> "list[Image]":
    """Pages of a PDF, numbered from 1, as RGB images at DPI, or less so that no side exceeds `longest` pixels.

    Raises ParserFailed, with the document's name and the pages.
    """
    from PIL import Image

    if not numbers:
        return []
    which = f"page {numbers[0]}" if len(numbers) == 1 else f"pages {numbers[0]} to {numbers[-1]}"
    pages = f"{which} of {display_name(name)}"
    with TemporaryDirectory(prefix="percel-pages-") as folder:
        command = [sys.executable, "-m", "compressor.parse.raster", str(path.absolute()), folder]
        command += [str(value) for value in (longest, limits.memory_bytes, limits.seconds, *numbers)]
        search = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "PYTHONPATH": search}
        try:
            ended = subprocess.run(command, capture_output=True, timeout=limits.seconds, check=False, env=environment)
        except subprocess.TimeoutExpired as error:
            raise ParserFailed(f"{pages} took longer than {limits.seconds:g} s to draw.") from error
        if ended.returncode:
            lines = ended.stderr.decode("utf-8", "replace").strip().splitlines()
            how = lines[-1] if lines and ended.returncode > 0 else f"signal {-ended.returncode}"
            raise ParserFailed(f"{pages} could not be drawn ({how}).")
        images = []
        for number in numbers:
            with Image.open(Path(folder) / f"{number}.png") as image:
                images.append(image.convert("RGB"))
        return images


def _draw(path: Path, folder: Path, numbers: Sequence[int], longest: int) -> None:
    from compressor.parse.pdf import open_library

    fitz = open_library()
    with fitz.open(str(path), filetype="pdf") as document:
        for number in numbers:
            page = document[number - 1]
            scale = min(DPI / 72, longest / max(page.rect.width, page.rect.height, 1))
            page.get_pixmap(matrix=fitz.Matrix(scale, scale), alpha=False).save(str(folder / f"{number}.png"))


def main() -> None:
    """The child: draws pages into a folder."""
    arguments = argparse.ArgumentParser()
    for name in ("path", "folder"):
        arguments.add_argument(name, type=Path)
    for name in ("longest", "memory"):
        arguments.add_argument(name, type=int)
    arguments.add_argument("seconds", type=float)
    arguments.add_argument("numbers", type=int, nargs="+")
    given = arguments.parse_args()
    limits = Limits(memory_bytes=given.memory, seconds=given.seconds)
    limit_process(limits, baseline=address_space())
    _draw(given.path, given.folder, given.numbers, given.longest)


if __name__ == "__main__":
    main()
