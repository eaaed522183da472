"""Owns the reading of an object's bytes: where they break off, the rest is asked for from there.

The client library tries a request again until its answer begins; what breaks after that is left to its caller. Each
answer is taken for what it says itself: a server may send a range once and the whole object the next time.
"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import IncompleteReadError

from store.blobs.refusals import BROKEN

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from types_boto3_s3.type_defs import GetObjectOutputTypeDef

_PIECE = 1 << 20  # bytes read at a time; an attempt that brought so many is no failed one
_PAUSE = 0.1  # seconds before what broke off is asked for again; then twice as long each time
_ANEW = 8  # times the attempts that fail in a row, at most, are all the attempts of one reading
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server sends of an object."""

    body: "StreamingBody"
    begin: int  # the object's byte that the body begins with
    size: int | None  # of the whole object; None where the server does not say it
    etag: str | None  # names the object's bytes; another one, another object


class Replaced(Exception):
    """Another object has the name of the one whose bytes were read so far."""


# Opens an object from one of its bytes on, for an etag that object only. None where it ends before. Raises Replaced.
Ask = Callable[[int, str | None], Answer | None]


def answer_of(found: "GetObjectOutputTypeDef") -> Answer:
    """What S3's answer says of itself. Raises ValueError for a range that cannot be read."""
    etag = found.get("ETag")
    said = found.get("ContentRange")
    if said is None:  # a server that knows no ranges sends all of it; one that sends it in chunks gives no length
        return Answer(found["Body"], 0, found.get("ContentLength"), etag)
    match = _RANGE.fullmatch(said)
    if match is None:
        raise ValueError(said)
    return Answer(found["Body"], int(match[1]), None if match[2] == "*" else int(match[2]), etag)


def read_pieces(ask: Ask, *, start: int = 0, length: int | None = None, attempts: int) -> Iterator[bytes]:
    """Bytes of an object in pieces, each once; fewer than `length` where it ends before, all for None.

    Raises what broke the last of `attempts` in a row that brought next to nothing; Replaced. What `ask` raises is not
    tried again.
    """
    at, failed = start, 0
    known: Answer | None = None  # whose bytes were handed out; until then each attempt begins anew
    for left in reversed(range(attempts * _ANEW)):
        answer = ask(at, known.etag if known else None)
        if answer is None and known is not None and known.size is not None:
            raise Replaced
        if answer is None:
            return
        before = at
        with closing(answer.body) as body:
            size = _size(answer, known)
            try:
                for piece in _read_on(body, answer.begin, at, _end(start, length, size), complete=size is not None):
                    at += len(piece)
                    known = known or answer
                    yield piece
                return
            except BROKEN:
                failed = 0 if at - before >= _PIECE else failed + 1
                if failed >= attempts or not left:
                    raise
        time.sleep(_PAUSE * 2 ** max(failed - 1, 0))


def _size(answer: Answer, known: Answer | None) -> int | None:
    """Of the object. Raises Replaced where an answer is of another one than those before."""
    if known is None:
        return answer.size
    for now, then in ((answer.etag, known.etag), (answer.size, known.size)):
        if now is not None and then is not None and now != then:
            raise Replaced
    return known.size if answer.size is None else answer.size


def _end(start: int, length: int | None, size: int | None) -> int | None:
    """The byte before which reading stops; None where only the body's end will tell."""
    ends = [end for end in (size, None if length is None else start + length) if end is not None]
    return min(ends, default=None)


def _read_on(body: "StreamingBody", begin: int, at: int, end: int | None, *, complete: bool) -> Iterator[bytes]:
    """Bytes `at` to `end` of an object whose byte `begin` a body begins with.

    A body that ends before is broken off where it was `complete`ly said how long the object is.
    """
    if end is not None and at >= end:
        return
    skip, first = at - begin, at
    while skip > 0 and (piece := body.read(min(skip, _PIECE))):
        skip -= len(piece)
    while piece := body.read(_PIECE):
        piece = piece if end is None else piece[: end - at]
        at += len(piece)
        yield piece
        if end is not None and at >= end:  # what comes after the last byte, or does not, is no matter
            return
    if complete and end is not None:
        raise IncompleteReadError(actual_bytes=at - first, expected_bytes=end - first)
