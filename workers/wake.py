"""Owns wake-ups: the word that work of a kind is due. A lost one costs time only, as the job rows are the truth."""

from collections.abc import Callable

from store.models import JobKind

Wake = Callable[[JobKind], bool]  # whether it was said


def rely_on_polling(kind: JobKind) -> bool:
    """The wake-up of the embedded set-up, whose worker looks at the rows five times a second."""
    return True
