"""Owns a private Redis server that keeps nothing on disk."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.servers.process import directory, free_port, missing


@dataclass(slots=True)
class Redis:
    """A server on a port of its own. Stopped and started again it is empty."""

    program: str
    home: Path
    port: int
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def url(self) -> str:
        """As PERCEL_BROKER_URL names it."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Starts it and waits until it answers."""
        options = ["--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--appendonly", "no"]
        options += ["--dir", str(self.home), "--daemonize", "no", "--maxmemory-policy", "noeviction"]
        with (self.home / "log").open("ab") as log:
            self.process = subprocess.Popen([self.program, *options], stdin=-3, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"redis-server did not start: {(self.home / 'log').read_text()}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Ends it at once."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def _answers(self) -> bool:
        import socket

        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False


@contextmanager
def started() -> Iterator[Redis]:
    """A new server, ended afterwards."""
    program = shutil.which("redis-server")
    if program is None:
        missing("redis-server is not installed")
    with directory(None) as home:
        server = Redis(program, home, free_port())
        server.start()
        try:
            yield server
        finally:
            server.stop()
