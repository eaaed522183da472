"""Owns the log of a search for a typography: a line a trial, on disk before the next, so that a killed run goes on.

The first line says what was measured, and with what. A log of something else is refused: its trials do not compare.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from compressor.errors import ModelError
from compressor.vlm.recipefile import recipe_of
from compressor.vlm.tune import Measured, Trial

VERSION = 1
Kind = TypeVar("Kind")


def open_log(path: Path, about: Mapping[str, object]) -> list[Trial]:
    """The trials of a log, which is made where there is none; a line that a kill cut off is dropped.

    `about` is what makes trials comparable, by name. Raises ModelError for a log about something else, or damaged.
    """
    wanted = {"version": VERSION, **about}
    if not path.exists() or not path.read_bytes().count(b"\n"):
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, json.dumps({"search": wanted}).encode() + b"\n", "wb")
        return []
    data = path.read_bytes()
    whole = data[: data.rindex(b"\n") + 1]
    first, *lines = [_parsed(path, number, line) for number, line in enumerate(whole.splitlines(), 1)]
    found = first.get("search")
    if found != wanted:
        found = found if isinstance(found, dict) else {}
        differing = [name for name, value in wanted.items() if found.get(name) != value]
        raise ModelError(
            f"{path} is the log of another search (it differs in {', '.join(differing) or 'what it is about'}): "
            "choose another --run, or remove it"
        )
    trials = [_trial(path, number, fields) for number, fields in enumerate(lines, 2)]
    if len(whole) < len(data):
        os.truncate(path, len(whole))
    return trials


def append_trial(path: Path, trial: Trial) -> None:
    """Adds a trial to the end of a log; it is on disk when this returns."""
    _write(path, json.dumps(asdict(trial)).encode() + b"\n", "ab")


def _write(path: Path, data: bytes, mode: str) -> None:
    with path.open(mode) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _parsed(path: Path, number: int, line: bytes) -> dict[str, object]:
    try:
        fields = json.loads(line)
    except ValueError as error:
        raise _damaged(path, number) from error
    if not isinstance(fields, dict):
        raise _damaged(path, number)
    return fields


def _trial(path: Path, number: int, fields: Mapping[str, object]) -> Trial:
    try:
        measured, recipe = fields["measured"], fields["recipe"]
        return Trial(
            number=_as(int, fields["number"]),
            phase=_as(str, fields["phase"]),
            recipe=recipe_of(_as(dict, recipe)),
            measured=None if measured is None else Measured(**_as(dict, measured)),
            fault=None if fields["fault"] is None else _as(str, fields["fault"]),
            seconds=_as(float, fields["seconds"]),
        )
    except (KeyError, TypeError, ModelError) as error:
        raise _damaged(path, number) from error


def _as(kind: type[Kind], value: object) -> Kind:
    if not isinstance(value, kind):
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value


def _damaged(path: Path, number: int) -> ModelError:
    return ModelError(f"line {number} of {path} is no trial: choose another --run, or remove it")
