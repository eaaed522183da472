"""Owns the picture of a chunk: its text and styles as the encoder sees them."""

import io

import numpy as np
from numpy.typing import NDArray


def chunk_image(text: str, styles: NDArray[np.uint8]) -> bytes:
    """PNG bytes of a chunk's image; `styles` are (characters,) of Style."""
    from compressor.codec.typography import draw, set_text

    file = io.BytesIO()
    draw(set_text(text, styles)).save(file, "PNG")
    return file.getvalue()
