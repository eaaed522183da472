"""The client of the load benchmark keeps its connections, and says where one breaks."""

import asyncio
import json

import pytest

from bench.client import LightClient

ANSWER = b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nX-Said: a: b\r\n\r\n{}"


class Answering:
    """A server that answers each request with the next of what it is given, and closes after one that is cut short."""

    def __init__(self, *answers: bytes) -> None:
        self._answers = iter(answers)
        self.connections = 0
        self.bodies: list[object] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
                self.bodies.append(json.loads(await reader.readexactly(length)))
                answer = next(self._answers)
                writer.write(answer)
                if not answer.endswith(b"{}"):
                    break
        except asyncio.IncompleteReadError:  # the client has closed it
            pass
        writer.close()


def posted(server: Answering, *, at_once: int, then: int) -> list[int | BaseException]:
    async def main() -> list[int | BaseException]:
        async with await asyncio.start_server(server, "127.0.0.1", 0) as listening:
            client = LightClient("127.0.0.1", listening.sockets[0].getsockname()[1])
            asked = (client.post("/v1/search", {"number": number}) for number in range(at_once))
            found = await asyncio.gather(*asked, return_exceptions=True)
            found += [await client.post("/v1/search", {"number": at_once + number}) for number in range(then)]
            await client.aclose()
            return found

    return asyncio.run(asyncio.wait_for(main(), 60))


def test_there_are_as_many_connections_as_requests_at_once() -> None:
    server = Answering(*[ANSWER] * 7)
    assert posted(server, at_once=3, then=4) == [404] * 7
    assert server.connections == 3
    assert sorted(body["number"] for body in server.bodies) == list(range(7))


@pytest.mark.parametrize("cut", [ANSWER[:20], ANSWER[:-1]])
def test_a_connection_that_breaks_is_an_error_and_not_used_again(cut: bytes) -> None:
    server = Answering(cut, ANSWER)
    broken, answered = posted(server, at_once=1, then=1)
    assert isinstance(broken, EOFError)
    assert (answered, server.connections) == (404, 2)
