"""Copies of remote blobs stay within their limit; the one that was not used for longest goes first."""

import hashlib
import os
import time
from pathlib import Path

import pytest

from store.blobs.copies import LocalCopies
from store.blobs.keys import blob_key
from store.blobs.partial import arriving


def add(copies: LocalCopies, name: str, *, size: int = 1000, age: float = 0) -> str:
    key = blob_key("acme", hashlib.sha256(name.encode()).hexdigest())
    with arriving(copies.root, [bytes(size)]) as arrived:
        moment = time.time() - age
        os.utime(arrived.path, (moment, moment))
        copies.keep(key, arrived)
    return key


def held(copies: LocalCopies) -> set[str]:
    return {path.relative_to(copies.root).as_posix() for path in copies.root.rglob("*") if path.is_file()}


def test_the_limit_is_kept_and_use_counts(tmp_path: Path) -> None:
    copies = LocalCopies(tmp_path, 3000, in_use=0)
    a, b, c = (add(copies, name, age=age) for name, age in (("a", 30), ("b", 20), ("c", 10)))
    assert held(copies) == {a, b, c}
    assert copies.find(a) == tmp_path / a
    d = add(copies, "d", age=5)
    assert held(copies) == {a, c, d}
    assert copies.find(b) is None


def test_what_was_used_just_now_stays_whatever_the_limit(tmp_path: Path) -> None:
    copies = LocalCopies(tmp_path, 1000)
    a, b = add(copies, "a"), add(copies, "b")
    assert held(copies) == {a, b}
    c = add(copies, "c", age=700)
    assert held(copies) == {a, b}
    assert c not in held(copies)


def test_what_nobody_used_for_a_day_goes(tmp_path: Path) -> None:
    copies = LocalCopies(tmp_path, 1_000_000)
    old, new = add(copies, "old", age=25 * 3600), add(copies, "new")
    copies.trim()
    assert held(copies) == {new}
    assert copies.find(old) is None


def test_copies_of_earlier_runs_count(tmp_path: Path) -> None:
    earlier = LocalCopies(tmp_path, 10_000)
    left = [add(earlier, str(n), age=1000 - n) for n in range(5)]
    now = LocalCopies(tmp_path, 3000, in_use=0)
    new = add(now, "new")
    assert held(now) == {left[3], left[4], new}


def test_a_file_on_its_way_in_is_no_copy_and_leaves_nothing_when_it_breaks(tmp_path: Path) -> None:
    copies = LocalCopies(tmp_path, 1, in_use=0)
    with arriving(copies.root, [b"half"]) as arrived:
        copies.trim()
        assert arrived.path.read_bytes() == b"half"
    with pytest.raises(ConnectionResetError), arriving(copies.root, (_ for _ in [0] if _refuse())):
        pass
    assert held(copies) == set()


def _refuse() -> bool:
    raise ConnectionResetError("the server went away")
