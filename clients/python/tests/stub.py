"""Owns a Percel in miniature: it keeps uploads in memory and answers as the HTTP contract says."""

import json
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import httpx

Answer = Callable[[httpx.Request], httpx.Response]
CONTEXT = {"chunks": 1, "vision_tokens": 20, "text_tokens": 240}


@dataclass
class Stub:
    """One server. `next_answers` come before its own, one for each request."""

    documents: dict[str, dict[str, object]] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    states: dict[str, deque[str]] = field(default_factory=dict)  # what a document will be, one step each look
    next_answers: deque[Answer] = field(default_factory=deque)
    requests: list[httpx.Request] = field(default_factory=list)
    script: tuple[str, ...] = ("parsing", "encoding", "ready")
    events_work: bool = True

    def handle(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        if self.next_answers:
            return self.next_answers.popleft()(request)
        parts = [part for part in urlsplit(str(request.url)).path.split("/") if part][1:]
        found = getattr(self, f"_{request.method.lower()}_{'_'.join(parts[:1])}", None)
        return problem(404, "Not Found", "There is no such address.") if found is None else found(request, parts[1:])

    def _post_documents(self, request: httpx.Request, rest: list[str]) -> httpx.Response:
        if rest == ["text"]:
            sent = json.loads(request.content)
            return httpx.Response(202, json=self._accept(sent["title"], sent["text"].encode(), sent))
        fields, files = multipart(request)
        fields["metadata"] = json.loads(fields.get("metadata", "{}"))
        if rest == ["batch"]:
            items = [self._batch_item(name, content, fields) for name, content in files]
            return httpx.Response(207, json={"items": items})
        ((name, content),) = files
        return httpx.Response(202, json=self._accept(name, content, fields))

    def _batch_item(self, name: str, content: bytes, fields: dict[str, object]) -> dict[str, object]:
        if not content:
            return {"title": name, "status": 422, "problem": {"status": 422, "title": "Empty", "detail": "No bytes."}}
        return {"title": name, "status": 202, "document": self._accept(name, content, fields)}

    def _accept(self, title: str, content: bytes, sent: dict[str, object]) -> dict[str, object]:
        for known in self.documents.values():
            if self.texts[str(known["id"])].encode() == content and known["collection"] == sent["collection"]:
                return known
        document_id = f"d{len(self.documents) + 1}"
        document = {
            "id": document_id,
            "external_id": sent.get("external_id"),
            "collection": sent["collection"],
            "title": title,
            "state": "queued",
            "version": 1,
            "size": len(content),
            "metadata": sent.get("metadata") or {},
            "error": None,
            "warnings": [],
            "compression": None,
            "created_at": "2026-03-01T12:00:00Z",
            "a_field_of_tomorrow": {"x": 1},
        }
        self.documents[document_id] = document
        self.texts[document_id] = content.decode()
        self.states[document_id] = deque(self.script)
        return document

    def _step(self, document_id: str) -> dict[str, object]:
        if self.states[document_id]:
            state = self.states[document_id].popleft()
            error = "page 3 is damaged" if state == "failed" else None
            self.documents[document_id] = {**self.documents[document_id], "state": state, "error": error}
        return self.documents[document_id]

    def _get_documents(self, request: httpx.Request, rest: list[str]) -> httpx.Response:
        if not rest:
            return self._page(request)
        if rest[0] not in self.documents:
            return problem(404, "Not Found", f"There is no document {rest[0]!r}.")
        if rest[1:] == ["text"]:
            text = self.texts[rest[0]]
            shown = f"**{text}**" if request.url.params.get("format") == "markdown" else text
            return httpx.Response(200, json={"id": rest[0], "chunks": [{"chunk": 0, "text": shown}]})
        if rest[-1] == "image":
            return httpx.Response(200, content=b"\x89PNG", headers={"Content-Type": "image/png"})
        if rest[1:] == ["events"]:
            if not self.events_work:
                return httpx.Response(200, text="<html>a proxy</html>", headers={"Content-Type": "text/html"})
            steps = [sse("document", self._step(rest[0])) for _ in self.script]
            return event_stream(": still here\n\n", *steps)
        return httpx.Response(200, json=self._step(rest[0]))

    def _page(self, request: httpx.Request) -> httpx.Response:
        asked = request.url.params
        chosen = [d for d in self.documents.values() if asked.get("collection") in (None, d["collection"])]
        if asked.get("order") == "newest":
            chosen.reverse()
        start, size = int(asked.get("cursor", 0)), int(asked.get("limit", 50))
        after = str(start + size) if start + size < len(chosen) else None
        return httpx.Response(200, json={"items": chosen[start : start + size], "next": after})

    def _delete_documents(self, request: httpx.Request, rest: list[str]) -> httpx.Response:
        if rest:
            gone = self.documents.pop(rest[0], None)
            return problem(404, "Not Found", f"There is no document {rest[0]!r}.") if gone is None else empty()
        where = json.loads(request.url.params["filter"])
        met = [key for key, d in self.documents.items() if where.items() <= dict(d["metadata"]).items()]
        for key in met:
            del self.documents[key]
        return httpx.Response(200, json={"deleted": len(met)})

    def _post_search(self, request: httpx.Request, rest: list[str]) -> httpx.Response:
        asked = json.loads(request.content)
        return httpx.Response(200, json={"hits": self._hits(asked["query"])[: asked["k"]]})

    def _hits(self, query: str) -> list[dict[str, object]]:
        words = set(query.lower().split())
        scored = [(len(words & set(text.lower().split())), key) for key, text in self.texts.items()]
        return [
            {
                "document_id": key,
                "title": self.documents[key]["title"],
                "chunk": 0,
                "heading": "",
                "page": 1,
                "boxes": [{"x0": 0.1, "y0": 0.2, "x1": 0.9, "y1": 0.3}],
                "text": self.texts[key],
                "score": float(score),
                "metadata": self.documents[key]["metadata"],
            }
            for score, key in sorted(scored, reverse=True)
            if score and key in self.documents
        ]

    def _post_ask(self, request: httpx.Request, rest: list[str]) -> httpx.Response:
        asked = json.loads(request.content)
        hits = self._hits(asked["question"])[:1]
        quotes = [
            {key: hit[key] for key in ("document_id", "title", "page", "boxes")} | {"quote": hit["text"], "lines": None}
            for hit in hits
        ]
        answer = str(hits[0]["text"]) if hits else ""
        whole = {
            "answer": answer,
            "abstained": not hits,
            "citations": quotes,
            "decoder": "extractive",
            "confidence": 0.5,
            "context": CONTEXT,
            "timings": {"total": 0.01},
        }
        if not asked["stream"]:
            return httpx.Response(200, json=whole)
        deltas = [sse("answer", {"text": f"{word} "}) for word in answer.split()]
        return event_stream(sse("search", {"hits": []}), *deltas, sse("done", whole))

    def _post_context(self, request: httpx.Request, rest: list[str]) -> httpx.Response:
        header = b'{"tokens":{"dtype":"F16","shape":[0,0],"data_offsets":[0,0]}}'
        content = len(header).to_bytes(8, "little") + header
        return httpx.Response(200, content=content, headers={"Content-Type": "application/octet-stream"})

    def _post_collections(self, request: httpx.Request, rest: list[str]) -> httpx.Response:
        return httpx.Response(201, json={"name": json.loads(request.content)["name"], "documents": 0})

    def _get_collections(self, request: httpx.Request, rest: list[str]) -> httpx.Response:
        names = {str(d["collection"]) for d in self.documents.values()}
        if not rest:
            return httpx.Response(200, json={"items": [{"name": name} for name in sorted(names)], "next": None})
        return httpx.Response(200, json={"name": rest[0], "documents": len(self.documents)})

    def _delete_collections(self, request: httpx.Request, rest: list[str]) -> httpx.Response:
        self.documents.clear()
        return empty()

    def _get_jobs(self, request: httpx.Request, rest: list[str]) -> httpx.Response:
        if rest:
            dead = {
                "id": 7,
                "kind": "parse",
                "document_id": "d1",
                "attempts": 3,
                "error": "killed",
                "died_at": "2026-03-01T12:00:00Z",
            }
            return httpx.Response(200, json={"items": [dead], "next": None})
        states = [{"kind": "parse", "state": "due", "count": 2}]
        return httpx.Response(200, json={"due": {"parse": 2}, "states": states})

    def _post_jobs(self, request: httpx.Request, rest: list[str]) -> httpx.Response:
        return empty()

    _delete_jobs = _delete_webhooks = _delete_keys = _post_jobs

    def _post_webhooks(self, request: httpx.Request, rest: list[str]) -> httpx.Response:
        return httpx.Response(201, json={"id": "w1", **json.loads(request.content), "secret": "hush"})

    def _get_webhooks(self, request: httpx.Request, rest: list[str]) -> httpx.Response:
        return httpx.Response(200, json={"items": [{"id": "w1", "url": "https://example.org/"}], "next": None})

    def _post_keys(self, request: httpx.Request, rest: list[str]) -> httpx.Response:
        return httpx.Response(201, json={"id": "k1", **json.loads(request.content), "key": "pk_hush"})

    def _get_keys(self, request: httpx.Request, rest: list[str]) -> httpx.Response:
        return httpx.Response(200, json={"items": [{"id": "k1", "name": "ci", "scopes": ["read"]}], "next": None})


def problem(status: int, title: str, detail: str, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    entries = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return httpx.Response(
        status, content=json.dumps(entries), headers={"Content-Type": "application/problem+json", **named}
    )


def empty() -> httpx.Response:
    return httpx.Response(204)


def sse(name: str, value: object) -> str:
    return f"event: {name}\ndata: {json.dumps(value)}\n\n"


def event_stream(*events: str) -> httpx.Response:
    return httpx.Response(200, content="".join(events).encode(), headers={"Content-Type": "text/event-stream"})


def multipart(request: httpx.Request) -> tuple[dict[str, object], list[tuple[str, bytes]]]:
    """The fields and the files of a form."""
    head = b"Content-Type: " + request.headers["content-type"].encode() + b"\r\n\r\n"
    fields: dict[str, object] = {}
    files: list[tuple[str, bytes]] = []
    for part in BytesParser().parsebytes(head + request.content).get_payload():
        content = part.get_payload(decode=True)
        if part.get_filename() is None:
            fields[part.get_param("name", header="content-disposition")] = content.decode()
        else:
            files.append((part.get_filename(), content))
    return fields, files


@contextmanager
def served(stub: Stub) -> Iterator[str]:
    """The stub on a free port of this machine; -> its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer = stub.handle(
                httpx.Request(
                    self.command, f"http://stub{self.path}", headers=list(self.headers.items()), content=content
                )
            )
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                if name != "content-length":
                    self.send_header(name, value)
            if answer.status_code != 204:
                self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_POST = do_DELETE = _any  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def asked(request: httpx.Request) -> dict[str, list[str]]:
    return parse_qs(urlsplit(str(request.url)).query)
