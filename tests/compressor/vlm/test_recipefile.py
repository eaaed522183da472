"""A recipe file gives back its recipe, and what is wrong with one is said once, with its name."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from compressor.errors import ModelError
from compressor.vlm.recipe import Recipe
from compressor.vlm.recipefile import read_recipe, write_recipe


def file(folder: Path, text: str) -> Path:
    path = folder / "page.json"
    path.write_text(text)
    return path


def test_a_recipe_comes_back_as_it_was(tmp_path: Path) -> None:
    recipe = Recipe(dpi=72, font="DejaVuSerif", font_size=7.5, line_height=8.0, ink="#111111", paper="#eeeeee")
    write_recipe(recipe, tmp_path / "new" / "page.json")
    assert read_recipe(tmp_path / "new" / "page.json") == recipe
    write_recipe(Recipe(), tmp_path / "new" / "page.json")
    assert read_recipe(tmp_path / "new" / "page.json") == Recipe()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["page.json"]


def test_a_field_that_is_left_out_is_as_built_in_and_whole_numbers_are_sizes(tmp_path: Path) -> None:
    read = read_recipe(file(tmp_path, '{"percel_recipe": 1, "font_size": 9, "line_height": 11, "dpi": 72}'))
    assert read.digest == replace(Recipe(), dpi=72).digest


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"the recipe .*page\.json is not JSON: Expecting property name"),
        ("[]", r"page\.json is no recipe: it holds no object with 'percel_recipe'; `percel tune-render` makes one"),
        ('{"dpi": 96}', r"page\.json is no recipe: it holds no object with 'percel_recipe'"),
        ('{"percel_recipe": 2}', r"page\.json has version 2, this program reads version 1"),
        (
            '{"percel_recipe": 1, "size": 9}',
            r"cannot be used: a recipe has no 'size'; it has dpi, page_width, .* paper",
        ),
        ('{"percel_recipe": 1, "dpi": "96"}', r'cannot be used: a page\'s dpi must be a whole number, not "96"'),
        ('{"percel_recipe": 1, "dpi": 96.5}', r"cannot be used: a page's dpi must be a whole number, not 96\.5"),
        ('{"percel_recipe": 1, "margin": true}', r"cannot be used: a page's margin must be a whole number, not true"),
        ('{"percel_recipe": 1, "font_size": NaN}', r"cannot be used: a page's font_size must be 7 to 14, not nan"),
        ('{"percel_recipe": 1, "dpi": 20}', r"page\.json cannot be used: a page's dpi must be 45 to 300, not 20"),
        ('{"percel_recipe": 1, "font": null}', r"cannot be used: a page's font must be a string, not null"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        read_recipe(file(tmp_path, text))


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"the recipe .*none\.json cannot be read: No such file or directory"):
        read_recipe(tmp_path / "none.json")
    (tmp_path / "binary").write_bytes(b"\xff\x00")
    with pytest.raises(ModelError, match=r"the recipe .*binary is not JSON: 'utf-8' codec can't decode"):
        read_recipe(tmp_path / "binary")


def test_a_file_holds_every_field(tmp_path: Path) -> None:
    write_recipe(Recipe(), tmp_path / "page.json")
    assert json.loads((tmp_path / "page.json").read_text()) == {"percel_recipe": 1, **asdict(Recipe())}
