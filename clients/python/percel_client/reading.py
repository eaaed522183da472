"""Owns the way from JSON to models: checks what is there, ignores what it does not know."""

import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import UTC, datetime
from functools import cache
from typing import TypeVar, Union, cast, get_args, get_origin, get_type_hints

from percel_client.errors import UnexpectedAnswer
from percel_client.models import Page

T = TypeVar("T")


def read(model: type[T], value: object) -> T:
    """A model from its JSON object. Raises UnexpectedAnswer, naming the field that is wrong."""
    entries = value
    kind: type = model
    hints = _hints(kind)
    if isinstance(value, list) and len(value) == len(hints):  # [x0, y0, x1, y1] for a box
        entries = dict(zip(hints, value, strict=True))
    if not isinstance(entries, Mapping):
        raise UnexpectedAnswer(f"{model.__name__} is {_shown(value)} instead of an object")
    given: dict[str, object] = {}
    for name, (hint, required) in hints.items():
        entry = entries.get(name)
        if entry is None and not required:
            continue  # the model's default; a null says no more than that there is nothing
        if name not in entries:
            raise UnexpectedAnswer(f"{model.__name__} has no {name}")
        given[name] = _as(hint, entry, f"{model.__name__}.{name}")
    return cast("Callable[..., T]", model)(**given)


def read_page(model: type[T], value: object) -> Page[T]:
    """A page of a list."""
    if not isinstance(value, Mapping) or not isinstance(value.get("items"), list):
        raise UnexpectedAnswer("a list comes without items")
    cursor = value.get("next")
    return Page(tuple(read(model, item) for item in value["items"]), None if cursor is None else str(cursor))


def read_all(model: type[T], value: object, key: str) -> list[T]:
    """The models under a key."""
    entries = value.get(key) if isinstance(value, Mapping) else None
    if not isinstance(entries, list):
        raise UnexpectedAnswer(f"there is no list of {key}")
    return [read(model, entry) for entry in entries]


@cache
def _hints(model: type) -> dict[str, tuple[object, bool]]:
    """Field -> its type, and whether it must be there."""
    hints = get_type_hints(model)
    return {
        field.name: (hints[field.name], field.default is MISSING and field.default_factory is MISSING)
        for field in fields(model)
    }


def _as(kind: object, value: object, where: str) -> object:
    """The value as the type that a field says."""
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return None if value is None else _as(next(arg for arg in args if arg is not type(None)), value, where)
    if origin is tuple and isinstance(value, list):
        kinds = [args[0]] * len(value) if args[-1] is ... else args
        if len(kinds) == len(value):
            return tuple(_as(each, item, where) for each, item in zip(kinds, value, strict=True))
    elif origin is Mapping and isinstance(value, Mapping):
        return {str(key): _as(args[1], item, where) for key, item in value.items()}
    elif isinstance(kind, type) and is_dataclass(kind):
        return read(kind, value)
    elif _is_plain(kind, value):
        return value
    elif kind is datetime:
        return _moment(value, where)
    raise UnexpectedAnswer(f"{where} is {_shown(value)}")


def _is_plain(kind: object, value: object) -> bool:
    if kind is object:
        return True
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return kind in (str, bool) and isinstance(value, cast("type", kind))


def _moment(value: object, where: str) -> datetime:
    try:
        if isinstance(value, str):
            return datetime.fromisoformat(value)
        if isinstance(value, int | float):
            return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise UnexpectedAnswer(f"{where} is {_shown(value)}, which is no time") from error
    raise UnexpectedAnswer(f"{where} is {_shown(value)}, which is no time")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
