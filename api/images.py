"""Owns the picture of a chunk: its text as the encoder sees it."""

import io


def chunk_image(text: str) -> bytes:
    """PNG bytes of a chunk's image."""
    from compressor.codec.typography import draw, set_text

    file = io.BytesIO()
    draw(set_text(text)).save(file, "PNG")
    return file.getvalue()
