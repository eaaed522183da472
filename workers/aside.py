"""Owns how computing gives way to requests: a thread that gets a core only where nobody else wants it.

A worker beside a server is nice, but a nice thread keeps its core for some milliseconds when a thread of a request
wakes up, which a search does many times. What computes can go aside, and takes what is left over. Transactions cannot:
whoever waits for the database would wait for a thread that gets no core; nor what has its time by the clock, as a
parser has: where all cores are taken for long, its document would fail.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from typing import Protocol, TypeVar

Result = TypeVar("Result")
_LANES = 2  # the worker's, of which each may have something aside


class Aside(Protocol):
    """Does some work and waits for it."""

    def __call__(self, work: Callable[[], Result], /) -> Result:
        """The work's result. Raises what the work raises."""
        ...


def at_once(work: Callable[[], Result], /) -> Result:
    """Work done where it is asked for: nothing else is in need of the cores."""
    return work()


def when_idle() -> Aside:
    """Work done in threads that give way, and in those that they start; open it in the process that uses it."""
    threads = ThreadPoolExecutor(_LANES, "aside", initializer=_give_way)

    def aside(work: Callable[[], Result], /) -> Result:
        return threads.submit(copy_context().run, work).result()

    return aside


def _give_way() -> None:
    # An unprivileged thread cannot leave this again, so it is never set on one that is needed for other things. Where
    # the system has no such thing, or does not allow it, the process's niceness is what there is.
    if hasattr(os, "SCHED_IDLE"):
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
