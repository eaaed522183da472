"""Owns what a run tells while it works: one event type, for progress bars and logs."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Stage(StrEnum):
    """The stages of ingestion, in order."""

    ACCEPT = "accept"
    PARSE = "parse"
    ENCODE = "encode"
    FINISH = "finish"
    PAGES = "pages"


@dataclass(frozen=True, slots=True)
class Event:
    """Something moved on."""

    stage: Stage
    document_id: str
    title: str
    done: int = 0  # documents, at encode chunks
    due: int = 0  # newly known to be due in this stage
    error: str | None = None


Listener = Callable[[Event], None]


def silent(event: Event) -> None:
    """The listener of those who do not listen."""
