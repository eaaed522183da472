"""Owns pages in several sizes: an image made smaller, and which size of each page is loaded under a token budget."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image


def shrink(image: "Image", scale: float) -> "Image":
    """An image with that share of its pixels a side: the same page, so its lines and boxes stay where they are."""
    if scale == 1:
        return image
    from PIL.Image import Resampling

    width, height = (max(1, round(side * scale)) for side in image.size)
    return image.resize((width, height), Resampling.LANCZOS)


def plan_sizes(tokens: Sequence[Sequence[int]], budget: int) -> list[int | None]:
    """The size that each page is loaded in, so that all of them take at most `budget` tokens; None where it is not.

    `tokens` are those of a page in each size, the largest size first and never more in a smaller one, for as many
    sizes a page; the most relevant page comes first. First pages get in, by relevance, each as far as its smallest
    size fits beside those before it. What is left of the budget then makes them larger, the most relevant as large as
    it goes before the next: no page is larger than one that is more relevant.
    """
    left = budget
    sizes: list[int | None] = []
    for page in tokens:
        fits = page[-1] <= left
        left -= page[-1] if fits else 0
        sizes.append(len(page) - 1 if fits else None)
    largest = 0  # that a page may have beside those before it
    for number, page in enumerate(tokens):
        if sizes[number] is None:
            continue
        spare = left + page[-1]
        largest = next(size for size in range(largest, len(page)) if page[size] <= spare)
        sizes[number] = largest
        left = spare - page[largest]
    return sizes
