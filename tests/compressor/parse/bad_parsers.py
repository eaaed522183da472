"""Owns parsers that fail the way native libraries do: the child process runs them in place of the plain-text one."""

import ctypes
import os
import signal
import time
from collections.abc import Callable

from compressor.parse.plain import parse_plain
from compressor.parse.source import SourceFile
from compressor.types import ParsedDocument


def crash_on_request(source: SourceFile) -> ParsedDocument:
    """The file's text says how to fail; any other text is parsed."""
    failure = FAILURES.get(source.path.read_text())
    if failure is not None:
        failure()
    return parse_plain(source)


def spin() -> None:
    while True:
        pass


def eat_memory() -> None:
    hoard = []
    while True:
        hoard.append(bytearray(16 * 1024 * 1024))


def print_noise() -> None:
    print("a library says hello")
    os.write(1, b"and so does its native part\n")


def be_asked_to_stop() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGTERM)


FAILURES: dict[str, Callable[[], object]] = {
    "segfault": lambda: ctypes.string_at(0),
    "abort": os.abort,
    "hang": lambda: time.sleep(600),
    "spin": spin,
    "eat memory": eat_memory,
    "be killed": lambda: os.kill(os.getpid(), 9),
    "library bug": lambda: [][0],
    "exit": lambda: os._exit(3),
    "print": print_noise,
    "be asked to stop": be_asked_to_stop,
}
