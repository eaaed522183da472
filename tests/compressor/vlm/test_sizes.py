"""Pages in several sizes: what is relevant is larger, and the budget is kept and used."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from compressor.vlm.families import FAMILIES
from compressor.vlm.sizes import plan_sizes, shrink
from tests.compressor.vlm.cases import CODEC
from tests.compressor.vlm.marks import IMAGE_TEXT, tokenize
from tests.compressor.vlm.tiny import build, image_processor


@st.composite
def several_pages(draw: st.DrawFn) -> list[list[int]]:
    """Tokens of up to twelve pages in one to four sizes, the largest first; a smaller one may save nothing."""
    sizes = draw(st.integers(1, 4))
    page = st.lists(st.integers(1, 60), min_size=sizes, max_size=sizes).map(lambda tokens: sorted(tokens)[::-1])
    return draw(st.lists(page, max_size=12))


@given(several_pages(), st.integers(0, 400))
def test_a_plan_keeps_the_budget_prefers_the_relevant_and_leaves_no_step_that_fits(
    tokens: list[list[int]], budget: int
) -> None:
    plan = plan_sizes(tokens, budget)
    loaded = [(page, size) for page, size in zip(tokens, plan, strict=True) if size is not None]
    taken = sum(page[size] for page, size in loaded)
    assert len(plan) == len(tokens)
    assert taken <= budget
    sizes = [size for _, size in loaded]
    assert sizes == sorted(sizes)  # 0 is the largest: none is larger than one before it
    for place, (page, size) in enumerate(loaded):
        larger_allowed = size > 0 and (place == 0 or loaded[place - 1][1] < size)
        if larger_allowed:
            assert taken - page[size] + page[size - 1] > budget


@given(several_pages(), st.integers(0, 400))
def test_a_page_is_left_out_only_where_its_smallest_size_does_not_fit(tokens: list[list[int]], budget: int) -> None:
    left = budget
    for page, size in zip(tokens, plan_sizes(tokens, budget), strict=True):
        assert (size is None) == (page[-1] > left)
        left -= page[-1] if size is not None else 0


@given(several_pages(), st.integers(0, 400), st.integers(1, 100))
def test_a_larger_budget_loads_no_fewer_tokens_where_all_pages_get_in(
    tokens: list[list[int]], budget: int, more: int
) -> None:
    plans = plan_sizes(tokens, budget), plan_sizes(tokens, budget + more)
    if None not in plans[0]:
        assert None not in plans[1]
        assert plans[1] <= plans[0]  # type: ignore[operator]  # the first page that changes is larger


def test_the_best_page_is_as_large_as_it_goes_before_the_next() -> None:
    pages = [[100, 25, 6]] * 4
    assert plan_sizes(pages, 400) == [0, 0, 0, 0]
    assert plan_sizes(pages, 399) == [0, 0, 0, 1]
    assert plan_sizes(pages, 160) == [0, 1, 1, 2]
    assert plan_sizes(pages, 24) == [2, 2, 2, 2]
    assert plan_sizes(pages, 23) == [2, 2, 2, None]
    assert plan_sizes([], 10) == []


def test_a_smaller_image_is_the_same_page() -> None:
    image = Image.effect_noise((301, 200), 80).convert("RGB")
    assert shrink(image, 1.0) is image
    assert shrink(image, 0.5).size == (150, 100)
    assert shrink(Image.new("RGB", (3, 2)), 0.1).size == (1, 1)


@pytest.mark.parametrize("name", [name for name in sorted(FAMILIES) if image_processor(name) is not None])
def test_smaller_images_take_fewer_tokens_in_the_families_that_say_so(name: str) -> None:
    from compressor.vlm.encode import PageEncoder

    encoder = PageEncoder(
        build(name),
        FAMILIES[name],
        codec=CODEC,
        image_processor=image_processor(name),
        tokenize=tokenize,
        image_text=IMAGE_TEXT,
    )
    side = 384 if name == "deepseek_ocr2" else 16  # of an image that the tiny image processor does not make smaller
    full, half = (len(page.ids) for page in encoder.encode_many([Image.new("RGB", (s, s)) for s in (side, side // 2)]))
    assert half < full if FAMILIES[name].resizes else half == full
