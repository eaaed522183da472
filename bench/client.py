"""Owns a client for load on the cores that answer it: httpx takes three times the processor time for a request."""

import asyncio
import json
from collections import deque
from http import HTTPStatus


class LightClient:
    """Posts JSON over HTTP/1.1 connections that are kept; as many as requests are under way."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._free: deque[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = deque()

    async def post(self, path: str, body: object) -> int:
        """The status of the answer, once all of it is here. Raises OSError, EOFError where the connection breaks."""
        reader, writer = await self._connection()
        try:
            data = json.dumps(body).encode()
            head = f"POST {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\nContent-Type: application/json\r\n"
            writer.write(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
            status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
            headers = dict(line.lower().split(": ", 1) for line in lines if line)
            await reader.readexactly(int(headers["content-length"]))
        except BaseException:
            writer.close()
            raise
        self._free.append((reader, writer))
        return HTTPStatus(int(status.split()[1]))

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The one that has waited for longest, as if each were a user's; a new one where all are in use."""
        while self._free:
            reader, writer = self._free.popleft()
            if not reader.at_eof():
                return reader, writer
            writer.close()
        return await asyncio.open_connection(self._host, self._port)

    async def aclose(self) -> None:
        """Closes the connections, none of which is in use."""
        for _, writer in self._free:
            writer.close()
            await writer.wait_closed()
