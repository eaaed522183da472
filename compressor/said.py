"""Owns answers as a model says them: piece by piece, and at the end whether there would have been more."""

from collections.abc import Generator
from typing import TypeVar

Piece = TypeVar("Piece")
Said = Generator[str, None, bool]  # the pieces -> whether it is cut off, as it may have no more tokens


def noted(pieces: Generator[Piece, None, bool], said: list[Piece]) -> Generator[Piece, None, bool]:
    """The same pieces, and each of them in `said`."""
    try:
        while True:
            piece = next(pieces)
            said.append(piece)
            yield piece
    except StopIteration as end:
        return bool(end.value)
    finally:
        pieces.close()
