"""Positions are those that the model itself would give, without its state."""

import pytest
import torch

from compressor.vlm.layout import lay_out
from compressor.vlm.page import PageCache, PageTokens, store_page
from tests.compressor.vlm.cases import BEFORE, ORDERS, QUESTION, case
from tests.compressor.vlm.tiny import GRID, IMAGE, pixels


def page(rows: int, columns: int) -> PageCache:
    ids = torch.tensor([11, *rows * columns * [IMAGE], 12, 13])
    tokens = PageTokens(torch.randn(rows * columns, 4), None, (rows, columns), ids)
    return store_page(tokens, codec="c", image_token=IMAGE)


@pytest.mark.parametrize("name", GRID)
def test_grid_positions_are_the_models_own(name: str) -> None:
    model = case(name).model.model
    order = ORDERS[1]
    layout = case(name).decoder.lay_out(case(name).prompt(case(name).stored(), order))
    grids = torch.cat([pixels(name, number)["image_grid_thw"] for number in order])
    ids = layout.ids[None]
    expected, _ = model.get_rope_index(ids, image_grid_thw=grids, mm_token_type_ids=(ids == IMAGE).int())
    assert torch.equal(layout.positions[1:], expected[:, 0])
    assert layout.positions[0].tolist() == list(range(len(layout)))


def test_a_page_on_a_grid_takes_as_many_positions_as_its_longer_side() -> None:
    layout = lay_out([BEFORE, page(2, 3), QUESTION], grid=True)
    assert layout.positions[1].tolist() == [0, 1, 2, *6 * [3], 6, 7, 8, 9, 10, 11]
    assert layout.positions[2].tolist() == [0, 1, 2, 3, 3, 3, 4, 4, 4, 6, 7, 8, 9, 10, 11]
    assert layout.positions[3].tolist() == [0, 1, 2, 3, 4, 5, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    assert layout.next_position == 12


def test_text_after_a_page_without_tags_goes_on_after_its_longer_side() -> None:
    tokens = PageTokens(torch.randn(6, 4), None, (2, 3), torch.tensor(6 * [IMAGE]))
    layout = lay_out([store_page(tokens, codec="c", image_token=IMAGE), [5]], grid=True, start=10)
    assert layout.positions[1:, -1].tolist() == [13, 13, 13]


def test_positions_in_a_line_count_tokens() -> None:
    layout = lay_out([page(2, 3), QUESTION], grid=False, start=100)
    assert layout.positions.tolist() == [list(range(100, 113))]
    assert layout.next_position == 113


def test_two_stretches_laid_out_apart_are_one_laid_out_at_once() -> None:
    first, second = page(2, 3), page(4, 2)
    whole = lay_out([BEFORE, first, second, QUESTION], grid=True)
    head = lay_out([BEFORE, first], grid=True)
    tail = lay_out([second, QUESTION], grid=True, start=head.next_position)
    assert torch.equal(torch.cat([head.positions, tail.positions], 1)[1:], whole.positions[1:])
    assert torch.equal(torch.cat([head.visual, tail.visual]), whole.visual)
    assert tail.next_position == whole.next_position


def test_an_image_token_in_text_stays_text() -> None:
    layout = lay_out([[IMAGE, 5], page(1, 2)], grid=True)
    assert layout.visual.tolist() == [False, False, False, True, True, False, False]


def test_nothing_is_a_layout_without_tokens() -> None:
    layout = lay_out([], grid=True, start=7)
    assert len(layout) == 0
    assert layout.next_position == 7
