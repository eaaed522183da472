"""Owns what can be uploaded: a path, bytes, or an open file."""

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from percel_client.call import File

Source = str | os.PathLike[str] | bytes | BinaryIO | File


@contextmanager
def opened(sources: Sequence[Source], *, name: str | None = None) -> Iterator[list[File]]:
    """The sources as files to send; those that are opened here are closed again.

    A file that is open already is sent from its beginning. `name` is the name of a single source.
    """
    with ExitStack() as stack:
        yield [_measurable(_file(source, name, stack)) for source in sources]


def is_repeatable(files: Sequence[File]) -> bool:
    """Whether all of it can be sent a second time."""
    return all(isinstance(file.content, bytes) or file.content.seekable() for file in files)


def _measurable(file: File) -> File:
    """The file as httpx is to see it; of a text file it says by itself that it cannot be sent."""
    if isinstance(file.content, bytes | io.TextIOBase):
        return file
    return File(file.name, cast("BinaryIO", _Readable(file.content)))


class _Readable:
    """An open file without its descriptor.

    httpx takes the size from that; a pipe, or a file that is unpacked as it is read, gives more or less than it says.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.read, self.seekable = file.read, file.seekable
        if file.seekable():
            self.seek, self.tell = file.seek, file.tell


def _file(source: Source, name: str | None, stack: ExitStack) -> File:
    if isinstance(source, File):
        return source
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        return File(name or path.name, stack.enter_context(path.open("rb")))
    given = name or (None if isinstance(source, bytes) else getattr(source, "name", None))
    if not isinstance(given, str):
        raise ValueError("Bytes have no name: give one, like name='report.pdf' (in a batch, File('report.pdf', ...)).")
    return File(Path(given).name, source)
