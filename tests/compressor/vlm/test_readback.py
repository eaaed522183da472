"""How much a model reads back right is counted in characters, and what pages cost in its own tokens."""

from dataclasses import replace
from pathlib import Path

import pytest

from compressor.embed import reference_counter
from compressor.errors import ContextTooLong
from compressor.vlm.codec import PageCodec, open_codec
from compressor.vlm.load import load_encoder
from compressor.vlm.readback import ReadBack, character_accuracy
from compressor.vlm.recipe import Recipe
from compressor.vlm.typeset import draw_page, set_pages
from tests.compressor.vlm.saved import save_model

TEXT = "The gauge stood\nat 2.417 m."


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory) -> PageCodec:
    return open_codec(f"hf:{save_model('qwen3_vl', tmp_path_factory.mktemp('model') / 'tiny')}")


@pytest.mark.parametrize(
    ("true", "read", "accuracy"),
    [
        (["abcd efgh"], ["abcd efgh"], 1.0),
        (["abcd efgh"], ["abcd\n efgh "], 1.0),  # white space is also where lines end
        (["abcd efgh"], ["abcd efgx"], 7 / 8),
        (["abcd efgh"], ["abcd efg"], 7 / 8),
        (["abcd efgh"], ["abcd efghi"], 7 / 8),
        (["abcd"], [""], 0.0),
        (["abcd"], ["wxyz wxyz wxyz"], 0.0),  # no worse than nothing
        (["aaaa", "bb"], ["aaaa", "xx"], 4 / 6),  # by characters, not by pages
        (["ab", "cd"], ["cd", "ab"], 0.0),  # each page against its own text
        (["", "水位"], ["x", "水位"], 1.0),
        ([], [], 1.0),
    ],
)
def test_accuracy_is_by_edits(true: list[str], read: list[str], accuracy: float) -> None:
    assert character_accuracy(true, read) == pytest.approx(accuracy)


@pytest.mark.parametrize("recipe", [Recipe(), Recipe(page_width=100, page_height=100, margin=30)])
def test_a_typography_costs_what_its_pages_take_of_the_context(codec: PageCodec, recipe: Recipe) -> None:
    notes: list[tuple[int, int]] = []
    count = reference_counter()
    model = ReadBack(codec, [TEXT, TEXT], count_tokens=count, device="cpu", note=lambda *at: notes.append(at))
    measured = model.measure(recipe)
    pages = set_pages(TEXT, recipe)
    encoded = load_encoder(codec.directory).encode_many([draw_page(TEXT, page, recipe) for page in pages])
    taken = sum(len(page.ids) for page in encoded)
    assert measured.tokens == pytest.approx(1000 * taken / count([TEXT])[0], abs=0.01)
    assert notes == [(number, 2 * len(pages)) for number in range(2 * len(pages))]
    assert 0 <= measured.fidelity < 0.5  # random weights read nothing


def test_a_page_that_does_not_fit_the_context_says_so(tmp_path: Path) -> None:
    short = open_codec(f"hf:{save_model('qwen3_vl', tmp_path / 'short', max_tokens=80)}")
    model = ReadBack(short, [TEXT], count_tokens=reference_counter(), device="cpu")
    with pytest.raises(ContextTooLong, match=r"\d+ tokens do not fit the context of 80 tokens of Qwen3-VL"):
        model.measure(Recipe())


def test_there_must_be_something_to_read(codec: PageCodec) -> None:
    with pytest.raises(ValueError, match="there is no text to read back"):
        ReadBack(codec, [" ", "\n"], count_tokens=reference_counter())


def test_the_recipe_names_the_caches(codec: PageCodec) -> None:
    assert replace(codec, recipe=Recipe(dpi=72)).fingerprint != codec.fingerprint == open_codec(codec.name).fingerprint
