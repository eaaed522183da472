"""Owns what a decoder keeps of pages that it has read, in memory and under a budget of bytes. Knows no torch."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class _Item(Generic[Value]):
    value: Value
    size: int
    sources: frozenset[str]


class Kept(Generic[Value]):
    """Values by key; the one that was used longest ago goes first. Safe for several threads.

    A value that is dropped while somebody uses it lives until that is done.
    """

    def __init__(self, budget: int) -> None:
        """`budget` in bytes; 0 keeps nothing."""
        self.budget = budget
        self.size = 0
        self._items: OrderedDict[Hashable, _Item[Value]] = OrderedDict()
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._items)

    def get(self, key: Hashable) -> Value | None:
        """The value, which counts as used now."""
        with self._lock:
            item = self._items.get(key)
            if item is None:
                return None
            self._items.move_to_end(key)
            return item.value

    def put(self, key: Hashable, value: Value, *, size: int, sources: Collection[str]) -> None:
        """Keeps a value made of some sources; what is larger than the whole budget is not kept."""
        with self._lock:
            self._drop(key)
            if size > self.budget:
                return
            self._items[key] = _Item(value, size, frozenset(sources))
            self.size += size
            while self.size > self.budget:
                self._drop(next(iter(self._items)))

    @property
    def sources(self) -> frozenset[str]:
        """Of all that is kept."""
        with self._lock:
            return frozenset().union(*(item.sources for item in self._items.values()))

    def forget(self, gone: Callable[[str], bool]) -> int:
        """Drops every value with a source that is gone; -> how many."""
        with self._lock:
            dropped = [key for key, item in self._items.items() if any(gone(source) for source in item.sources)]
            for key in dropped:
                self._drop(key)
        return len(dropped)

    def clear(self) -> None:
        """Drops everything."""
        self.forget(lambda source: True)

    def _drop(self, key: Hashable) -> None:
        item = self._items.pop(key, None)
        if item is not None:
            self.size -= item.size
