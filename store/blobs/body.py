"""Owns the reading of an object's bytes: where they break off, the rest is asked for from there.

The client library tries a request again until its answer begins; what breaks after that is left to its caller.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING

from botocore.exceptions import HTTPClientError, IncompleteReadError
from urllib3.exceptions import HTTPError

if TYPE_CHECKING:
    from botocore.response import StreamingBody

_BROKEN = (HTTPClientError, IncompleteReadError, HTTPError)
_PIECE = 1 << 20  # bytes read at a time
_PAUSE = 0.1  # seconds before what broke off is asked for again; then twice as long each time

# Opens an object's bytes from one of them on; says where they begin: before that, where a server knows no ranges.
Ask = Callable[[int], "tuple[StreamingBody, int]"]


def read_pieces(ask: Ask, *, attempts: int) -> Iterator[bytes]:
    """The bytes in pieces, each once. Raises what broke the last attempt; what `ask` raises is not tried again."""
    done = 0
    for attempt in range(attempts):
        if attempt:
            time.sleep(_PAUSE * 2 ** (attempt - 1))
        body, begin = ask(done)
        with closing(body):
            try:
                body.read(done - begin)
                while piece := body.read(_PIECE):
                    done += len(piece)
                    yield piece
            except _BROKEN:
                if attempt + 1 == attempts:
                    raise
            else:
                return
