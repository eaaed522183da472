"""A server on this machine that speaks OpenAI's language, well or badly."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PIECES = ("The notice ", "period is ", "ninety days [1].")


class Stub:
    """What it is to do, and what it was asked."""

    def __init__(self) -> None:
        self.behaviour = "stream"
        self.asked: list[dict] = []
        self.keys: list[str | None] = []
        self.url = ""


def delta(text: str | None, finish: str | None = None) -> bytes:
    return f"data: {json.dumps({'choices': [{'delta': {'content': text}, 'finish_reason': finish}]})}\n\n".encode()


EVENTS, PLAIN = "text/event-stream", "application/json"
MOTTO = 'data: {"choices": [{"delta": {"content": "höchstens"}}]}\n\n'.encode()
WHOLE = {"message": {"content": "".join(PIECES)}}
ANSWERS: dict[str, tuple[int, str, list[bytes]]] = {
    "stream": (200, EVENTS, [delta(None), *map(delta, PIECES), b"data: [DONE]\n\n"]),
    "whole": (200, PLAIN, [json.dumps({"choices": [WHOLE]}).encode()]),
    "drips": (200, EVENTS, [delta(".")] * 600),
    "drips a line": (200, EVENTS, [b"data: "] * 600),
    "drips a body": (200, PLAIN, [b" "] * 600),
    "drips a fault": (500, "text/plain", [b"the "] * 600),
    "no line end": (200, EVENTS, [b"data:" + b" " * (1 << 20)] * 9),
    "no end": (200, PLAIN, [b" " * (1 << 20) + b"\n"] * 9),
    "packed": (200, EVENTS, [b"data: this is not packed at all"]),
    "at the limit": (200, EVENTS, [*map(delta, PIECES), delta(None, "length"), b"data: [DONE]\n\n"]),
    "whole at the limit": (200, PLAIN, [json.dumps({"choices": [{**WHOLE, "finish_reason": "length"}]}).encode()]),
    "ends with its reason": (200, EVENTS, [*map(delta, PIECES), delta(None, "stop")]),
    "breaks off": (200, EVENTS, [delta("The notice")]),
    "html": (200, "text/html", [b"<html>Welcome</html>"]),
    "nested": (200, EVENTS, [b"data: " + b"[" * 100_000]),
    "no text": (200, EVENTS, [b'data: {"choices": [{"delta": {"content": {"a": 1}}}]}\n\n']),
    "error within": (200, EVENTS, [b'data: {"error": {"message": "out of memory"}}\n\n']),
    "fails": (500, "text/plain", [b"the engine\n has died"]),
    "tells the key": (401, PLAIN, [b"no such key: Bearer sesame"]),
    "errs with the key": (200, EVENTS, [b'data: {"error": "no such key: sesame \\ud83d"}\n\n']),
    "halves": (200, EVENTS, [delta("a \ud83d"), delta("\ude00 b \udc00"), delta("c\ud83d"), b"data: [DONE]\n\n"]),
    "no charset of text": (200, f"{EVENTS}; charset=hex", [*map(delta, PIECES), b"data: [DONE]\n\n"]),
    "another charset": (200, f"{EVENTS}; charset=iso-8859-1", [MOTTO, b"data: [DONE]\n\n"]),
    "names no error": (
        200,
        EVENTS,
        [
            b'data: {"error": null, "choices": [{"delta": {"content": "Yes"}}]}\n\n',
            b'data: {"choices": [{"delta": null, "finish_reason": "stop"}]}\n\n',
            b"data: [DONE]\n\n",
        ],
    ),
    "says nothing": (200, EVENTS, [delta(None), b"data: [DONE]\n\n"]),
}


def handler_of(stub: Stub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *given: object) -> None:
            pass

        def answer(self, status: int, kind: str, parts: list[bytes]) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            if stub.behaviour == "packed":
                self.send_header("Content-Encoding", "gzip")
            self.end_headers()
            for part in parts:
                self.wfile.write(part)
                self.wfile.flush()
                time.sleep(0.1 if stub.behaviour.startswith("drips") else 0)

        def do_GET(self) -> None:
            models = [] if stub.behaviour == "no models" else [{"id": "served"}]
            nested = stub.behaviour == "nested models"
            self.answer(200, PLAIN, [b"[" * 100_000 if nested else json.dumps({"data": models}).encode()])

        def do_POST(self) -> None:
            stub.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            stub.keys.append(self.headers["Authorization"])
            if stub.behaviour == "slow":
                time.sleep(60)
                return
            self.answer(*ANSWERS[stub.behaviour])

        def handle(self) -> None:
            with suppress(BrokenPipeError, ConnectionResetError):  # the caller gave up
                super().handle()

    return Handler


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """A server with that handler; its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def chat_stub() -> Iterator[Stub]:
    stub = Stub()
    with serving(handler_of(stub)) as url:
        stub.url = url
        yield stub
