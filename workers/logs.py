"""Owns logging: configured once, from logging.json, by the root of a process; ids that every line of a job carries.

The text of an event is constant; what it is about are fields: `log.warning("lease not extended", extra={"job_id": 7})`.
"""

import json
import logging
import logging.config
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.resources import files
from types import MappingProxyType
from typing import TextIO

from workers.settings import Settings

_OURS = ("api", "workers", "store", "compressor", "uvicorn")
_NONE: Mapping[str, str] = MappingProxyType({})
_bound: ContextVar[Mapping[str, str]] = ContextVar("percel_log_fields", default=_NONE)
_KNOWN = {*logging.makeLogRecord({}).__dict__, "message", "asctime", "taskName"}


def configure(settings: Settings, *, service: bool = False) -> None:
    """Sets logging up for this process: JSON and INFO for a service, text and WARNING for a command, unless PERCEL_LOG
    and PERCEL_LOG_LEVEL say otherwise; text for a service that a person started on a terminal. All goes to stderr.
    """
    form = settings.log or ("json" if service and not sys.stderr.isatty() else "text")
    level = settings.log_level.upper() or ("INFO" if service else "WARNING")
    config = json.loads(files("workers").joinpath("logging.json").read_text("utf-8"))
    config["handlers"]["stderr"]["formatter"] = form
    for name in _OURS:
        config["loggers"][name]["level"] = level
    logging.config.dictConfig(config)


@contextmanager
def bind(*, request_id: str | None = None, job_id: int | str | None = None) -> Iterator[None]:
    """Every event logged in the block, in this thread or task, carries the ids; inner blocks add to outer ones."""
    given = {"request_id": request_id, "job_id": None if job_id is None else str(job_id)}
    token = _bound.set({**_bound.get(), **{name: value for name, value in given.items() if value is not None}})
    try:
        yield
    finally:
        _bound.reset(token)


class BoundFields(logging.Filter):
    """Adds what is bound to a record that does not say it itself."""

    def filter(self, record: logging.LogRecord) -> bool:
        for name, value in _bound.get().items():
            record.__dict__.setdefault(name, value)
        return True


class TextFormatter(logging.Formatter):
    """A line for people: the event, then its fields."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is logging's
        fields = [f"{name}={value}" for name, value in record.__dict__.items() if name not in _KNOWN]
        return " ".join([super().formatMessage(record), *fields])


class StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to what sys.stderr is at the time: a progress bar or a test may stand in for it."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)
