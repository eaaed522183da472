"""Owns the recipe file: a typography as JSON that people can read and edit, checked when it is read.

`{"percel_recipe": 1, "dpi": 96, "font": "DejaVuSans", ...}`; a field that is left out is as in the built-in recipe.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_type_hints

from compressor.errors import ModelError
from compressor.vlm.recipe import Recipe

VERSION_KEY = "percel_recipe"
VERSION = 1
_TYPES: Mapping[type, str] = {int: "a whole number", float: "a number", str: "a string"}


def write_recipe(recipe: Recipe, path: Path) -> None:
    """Writes a recipe file, or replaces it at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps({VERSION_KEY: VERSION, **asdict(recipe)}, indent=2) + "\n", "utf-8")
    partial.replace(path)


def read_recipe(path: Path) -> Recipe:
    """The recipe of a file. Raises ModelError, with the file's name and what is wrong."""
    try:
        fields = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ModelError(f"the recipe {path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise ModelError(f"the recipe {path} is not JSON: {error}") from error
    if not isinstance(fields, dict) or VERSION_KEY not in fields:
        raise ModelError(
            f"{path} is no recipe: it holds no object with {VERSION_KEY!r}; `percel tune-render` makes one"
        )
    version = fields.pop(VERSION_KEY)
    if version != VERSION:
        raise ModelError(f"the recipe {path} has version {version!r}, this program reads version {VERSION}")
    try:
        return recipe_of(fields)
    except ModelError as error:
        raise ModelError(f"the recipe {path} cannot be used: {error}") from error


def recipe_of(fields: Mapping[str, object]) -> Recipe:
    """A recipe out of parsed JSON. Raises ModelError for a field that is none, or a value that does not fit."""
    types = get_type_hints(Recipe)
    unknown = [name for name in fields if name not in types]
    if unknown:
        raise ModelError(f"a recipe has no {unknown[0]!r}; it has {', '.join(types)}")
    checked: dict[str, Any] = {name: _value(name, value, types[name]) for name, value in fields.items()}
    return Recipe(**checked)


def _value(name: str, value: object, wanted: type) -> object:
    """A value in its field's own type: 9 and 9.0 are one size, and must give one digest."""
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, wanted) or isinstance(value, bool):
        raise ModelError(f"a page's {name} must be {_TYPES[wanted]}, not {json.dumps(value)}")
    return value
