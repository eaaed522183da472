"""Owns the caps that keep one bad file from hurting the service."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What one document may cost. Over a cap is DocumentTooLarge or ParserFailed, never a slow machine."""

    bytes: int = 100_000_000
    pages: int = 5_000
    characters: int = 10_000_000  # of extracted text
    unpacked_bytes: int = 500_000_000  # of zip-based formats, summed over members
    unpacked_ratio: int = 300  # unpacked / packed; looked at above `unpacked_ratio_floor` only
    unpacked_ratio_floor: int = 10_000_000  # bytes; small files full of repeated markup are harmless
    raster_pixels: int = 40_000_000  # of one page or embedded image that is rasterised for OCR
    ocr_seconds: float = 200.0  # of one document; pages after that are named in a warning
    memory_bytes: int = 2 * 1024**3  # of the child process, above what it has at start
    seconds: float = 300.0  # wall clock of the child process for one document
