"""Owns parsing in a disposable child process, so that a bad file costs one error and nothing else.

Protocol: frames on the child's stdin and stdout, each a 4-byte big-endian length and that many bytes of JSON.
"""

import argparse
import json
import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, astuple
from pathlib import Path
from types import TracebackType
from typing import IO, Self, cast

from compressor import errors
from compressor.errors import DocumentError, ParserFailed
from compressor.limits import Limits
from compressor.parse import PARSERS, parse
from compressor.parse.source import display_name
from compressor.styles import Style, StyleRun
from compressor.types import Block, BlockKind, Box, ParsedDocument

# a Block on the wire
_Row = tuple[str, str, int, tuple[float, float, float, float], int, list[int] | None, list[tuple[int, int, int]]]
_LENGTH = struct.Struct(">I")
_ROOT = Path(__file__).resolve().parents[2]  # where the child finds the package when it is not installed


class ParserProcess:
    """One child process, started when first needed, replaced after a failure and after `files_per_child` files.

    Not for use by two threads at once; give each its own.
    """

    def __init__(self, *, files_per_child: int = 200, parsers: Mapping[str, str] | None = None) -> None:
        """`parsers` adds to or replaces entries of `compressor.parse.PARSERS`: media type -> "module:function"."""
        self._files_per_child = files_per_child
        self._parsers = dict(parsers or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._files = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """Of the child that is alive now, None between children."""
        return self._process.pid if self._process is not None else None

    def parse(self, path: Path, *, name: str, limits: Limits) -> ParsedDocument:
        """Like `compressor.parse.parse`, but a crash, a hang or a lack of memory is a ParserFailed.

        Raises DocumentError.
        """
        label = display_name(name)
        process = self._running()
        request = json.dumps({"path": str(path.absolute()), "name": name, "limits": asdict(limits)}).encode()
        hung = threading.Event()

        def stop() -> None:
            hung.set()
            process.kill()

        timer = threading.Timer(limits.seconds, stop)
        timer.start()
        try:
            assert process.stdin is not None  # both are pipes
            assert process.stdout is not None
            _write_frame(process.stdin, request)
            frame = _read_frame(process.stdout)
        except OSError:
            frame = None
        except BaseException:  # an interrupt must not leave an answer in the pipe for the next file
            self.close()
            raise
        finally:
            timer.cancel()
        if frame is None:
            raise self._failure(label, limits, hung=hung.is_set())
        self._files += 1
        answer = json.loads(frame)
        if answer.get("last") or self._files >= self._files_per_child:
            self.close()
        if "error" in answer:
            raise _error(answer["error"], answer["message"])
        return _document(answer)

    def close(self) -> None:
        """End the child; the next `parse` starts another."""
        if self._process is None:
            return
        process, self._process = self._process, None
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):  # what was still buffered for a dead child
                    pipe.close()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.close()
        command = [sys.executable, "-m", "compressor.parse.child"]
        for media_type, target in self._parsers.items():
            command += ["--parser", f"{media_type}={target}"]
        search = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(search),
            "PYTHONIOENCODING": "utf-8",
            "OMP_THREAD_LIMIT": "1",  # Tesseract's threads cost more than they bring
        }
        self._files = 0
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
        )
        return self._process

    def _failure(self, label: str, limits: Limits, *, hung: bool) -> ParserFailed:
        assert self._process is not None
        code = self._process.wait()
        self.close()
        if hung or code == -_signal("SIGXCPU"):
            return ParserFailed(
                f"{label} took longer than {limits.seconds:g} s to parse. Split the file or simplify it."
            )
        if code == -_signal("SIGKILL"):
            return ParserFailed(f"{label} crashed the parser (signal 9): the system ran out of memory. Split the file.")
        how = f"signal {-code}" if code < 0 else f"exit status {code}"
        return ParserFailed(f"{label} crashed the parser ({how}). The file is malformed; save it again.")


def _signal(name: str) -> int:
    """A signal's number, 0 where the platform lacks it."""
    import signal

    return int(getattr(signal, name, 0))


def _error(name: str, message: str) -> DocumentError:
    kind = getattr(errors, name, ParserFailed)
    return cast(DocumentError, kind(message))


def _document(answer: Mapping[str, object]) -> ParsedDocument:
    blocks = tuple(
        Block(
            BlockKind(kind),
            text,
            page,
            Box(*box),
            level,
            (lines[0], lines[1]) if lines else None,
            tuple(StyleRun(start, end, Style(style)) for start, end, style in styles),
        )
        for kind, text, page, box, level, lines, styles in cast("list[_Row]", answer["blocks"])
    )
    return ParsedDocument(
        media_type=cast(str, answer["media_type"]),
        title=cast("str | None", answer["title"]),
        source_pages=cast(int, answer["source_pages"]),
        blocks=blocks,
        warnings=tuple(cast("list[str]", answer["warnings"])),
    )


def _answer(document: ParsedDocument) -> dict[str, object]:
    return {
        "media_type": document.media_type,
        "title": document.title,
        "source_pages": document.source_pages,
        "warnings": document.warnings,
        "blocks": [
            (b.kind, b.text, b.page, astuple(b.box), b.level, b.lines, [astuple(run) for run in b.styles])
            for b in document.blocks
        ],
    }


def _read_frame(stream: IO[bytes]) -> bytes | None:
    """None at the end of the stream, also in the middle of a frame."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    body = stream.read(length)
    return body if len(body) == length else None


def _write_frame(stream: IO[bytes], body: bytes) -> None:
    stream.write(_LENGTH.pack(len(body)) + body)
    stream.flush()


def limit_process(limits: Limits, *, baseline: int) -> None:
    """Address space above what the child had at start, and processor time; both only where the system has them."""
    try:
        import resource
    except ImportError:
        return
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (baseline + limits.memory_bytes, hard))
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime + limits.seconds) + 2  # a hung child whose parent died ends too
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def address_space() -> int:
    """Bytes in use now; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (OSError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _serve(requests: IO[bytes], answers: IO[bytes], parsers: Mapping[str, str]) -> None:
    baseline = address_space()
    while (frame := _read_frame(requests)) is not None:
        request = json.loads(frame)
        limits = Limits(**request["limits"])
        limit_process(limits, baseline=baseline)
        answer = _handle(Path(request["path"]), request["name"], limits, parsers)
        _write_frame(answers, json.dumps(answer).encode())
        if answer.get("last"):
            return


def _handle(path: Path, name: str, limits: Limits, parsers: Mapping[str, str]) -> dict[str, object]:
    label = display_name(name)
    try:
        return _answer(parse(path, name=name, limits=limits, parsers=parsers))
    except DocumentError as error:
        return {"error": type(error).__name__, "message": str(error)}
    except MemoryError:
        message = f"{label} needs more than {limits.memory_bytes:,} bytes of memory to parse. Split the file."
    except RecursionError:
        message = f"{label} is nested too deeply to parse. Simplify the file."
    except Exception as error:  # a library's own bug must reach the user as one clear error, not as a dead child
        if "malloc" in str(error) or "calloc" in str(error):
            message = f"{label} needs more than {limits.memory_bytes:,} bytes of memory to parse. Split the file."
        else:
            message = f"{label} could not be parsed ({type(error).__name__}: {error}). Save it again."
    return {"error": "ParserFailed", "message": message, "last": True}


def main() -> None:
    """Serve requests until stdin ends. Whatever libraries print goes to stderr, never between frames."""
    for asked in (signal.SIGINT, signal.SIGTERM):  # Ctrl-C, or the stop of a service, reaches the whole group
        signal.signal(asked, signal.SIG_IGN)  # the parent decides what it means
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--parser", action="append", default=[], metavar="MEDIA_TYPE=MODULE:FUNCTION")
    extra = dict(entry.split("=", 1) for entry in arguments.parse_args().parser)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    _serve(sys.stdin.buffer, answers, {**PARSERS, **extra})


if __name__ == "__main__":
    main()
