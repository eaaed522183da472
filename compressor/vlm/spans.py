"""Owns how a page is written into a prompt: the tags that a model was trained to see around and between features.

The text is what the model's own processor writes; the processors themselves cannot always be built (some need
torchvision for videos), and need pixels where a query has none.
"""

from collections.abc import Sequence

from compressor.errors import ModelError
from compressor.vlm.families import Family


def page_text(family: Family, image_token: str, counts: Sequence[int], *, rows: int = 0, columns: int = 0) -> str:
    """The text of one page.

    `counts` are the features of each tile in reading order and of the whole image, which comes last; of the whole
    image alone where it was not cut into `rows` and `columns`. Raises ModelError where these do not fit together.
    """
    if family.tiles is None or rows * columns <= 1:
        alone = family.tiles.alone if family.tiles else ""
        return family.opening + alone + image_token * sum(counts) + family.closing
    places = [(row, column) for row in range(1, rows + 1) for column in range(1, columns + 1)]
    if len(counts) - len(places) not in (0, 1):
        raise ModelError(f"{family.label} gave features for {len(counts)} tiles of a page cut into {len(places)}")
    text = family.opening
    for (row, column), count in zip(places, counts, strict=False):
        text += family.tiles.tile.format(row=row, column=column) + image_token * count
        if column == columns:
            text += family.tiles.row_end
    for count in counts[len(places) :]:
        text += family.tiles.whole + image_token * count
    return text + family.closing
