"""Documents over HTTP: in, followed, read, replaced, deleted."""

import json
import threading
import time
from io import BytesIO

import httpx
import pytest
from PIL import Image

from api import events
from api.routes import documents
from store import catalog
from store.database import reading, transaction
from tests.api.service.conftest import LEASE, WEIR, Service, upload
from workers.events import silent
from workers.ingest import parse
from workers.tend import Tender


def only(client: httpx.Client, collection: str = "main") -> list[dict[str, object]]:
    return client.get("/v1/documents", params={"collection": collection}).json()["items"]


def test_a_document_is_accepted_worked_on_and_read_back(service: Service) -> None:
    with service.client() as client:
        accepted = upload(client, "weir.md", WEIR, external_id="w-1", metadata='{"year": 2024}')
        assert accepted.status_code == 202
        document = accepted.json()
        assert accepted.headers["Location"] == f"/v1/documents/{document['id']}"
        assert (document["state"], document["external_id"], document["metadata"]) == ("queued", "w-1", {"year": 2024})
        service.work()
        ready = client.get(f"/v1/documents/{document['id']}").json()
        assert (ready["state"], ready["exact"], ready["chunks"], ready["chunks_ready"]) == ("ready", True, 1, 1)
        assert ready["vision_tokens"] < ready["text_tokens"]
        text = client.get(f"/v1/documents/{document['id']}/text").json()
        assert text["chunks"] == [{"chunk": 0, "text": WEIR.strip()}]
        image = client.get(f"/v1/documents/{document['id']}/chunks/0/image")
        assert image.headers["Content-Type"] == "image/png"
        assert Image.open(BytesIO(image.content)).size[0] > 100


def test_a_text_is_read_as_markdown_where_it_is_asked_for(service: Service) -> None:
    with service.client() as client:
        source = "## Weir\n\nThe **gauge** stood at `2.417`.\n\nIt *fell* again, see [the log](http://a.b)."
        document = upload(client, "weir.md", source).json()
        service.work()
        path = f"/v1/documents/{document['id']}/text"
        plain = "Weir\nThe gauge stood at 2.417.\nIt fell again, see the log."
        shown = {name: client.get(path, params={"format": name}) for name in ("text", "markdown", "html")}
        assert client.get(path).json() == shown["text"].json()
        assert shown["text"].json()["chunks"] == [{"chunk": 0, "text": plain}]
        assert shown["markdown"].json()["chunks"] == [{"chunk": 0, "text": source.replace("(http://a.b)", "")}]
        assert shown["html"].status_code == 422
        assert shown["html"].json()["errors"][0]["at"] == "query.format"
        parameters = client.get("/openapi.json").json()["paths"]["/v1/documents/{document_id}/text"]["get"][
            "parameters"
        ]
        (format,) = (parameter for parameter in parameters if parameter["name"] == "format")
        assert "links (`[text]`, without targets)" in format["description"]


def test_the_same_bytes_again_are_the_same_document(service: Service) -> None:
    with service.client() as client:
        first = upload(client, "a.txt", WEIR)
        service.work()
        again = upload(client, "a.txt", WEIR)
        assert (again.status_code, again.json()["id"], again.json()["state"]) == (200, first.json()["id"], "ready")
        assert len(only(client)) == 1


def test_new_bytes_for_an_external_id_replace_the_old_ones_when_they_are_ready(service: Service) -> None:
    with service.client() as client:
        old = upload(client, "a.txt", WEIR, external_id="w").json()
        service.work()
        new = upload(client, "a.txt", LEASE, external_id="w").json()
        assert (new["version"], new["id"] != old["id"]) == (2, True)
        assert client.get(f"/v1/documents/{old['id']}").json()["state"] == "ready"
        service.work()
        assert [document["id"] for document in only(client)] == [new["id"]]
        assert client.get(f"/v1/documents/{old['id']}").status_code == 404


def test_a_new_version_keeps_the_metadata_that_it_is_not_given(service: Service) -> None:
    with service.client() as client:
        upload(client, "a.txt", WEIR, external_id="w", metadata='{"team": "red"}')
        kept = upload(client, "a.txt", LEASE, external_id="w").json()
        replaced = upload(client, "a.txt", WEIR, external_id="w", metadata="{}").json()
        other = upload(client, "b.txt", "Other words.").json()
    assert [(each["version"], each["metadata"]) for each in (kept, replaced, other)] == [
        (2, {"team": "red"}),
        (3, {}),
        (1, {}),
    ]


def test_a_named_document_that_is_called_otherwise_now_has_its_new_title(service: Service) -> None:
    with service.client() as client:
        first = upload(client, "draft.txt", WEIR, external_id="w").json()
        service.work()
        again = upload(client, "final.txt", WEIR, external_id="w")
        assert (again.status_code, again.json()["id"], again.json()["title"]) == (200, first["id"], "final.txt")
        hits = client.post("/v1/search", json={"query": "gauge", "collection": "main"}).json()["hits"]
        assert {hit["title"] for hit in hits} == {"final.txt"}
        assert upload(client, "copy.txt", WEIR).json()["title"] == "final.txt"  # which names no document


def test_bytes_that_are_about_to_be_replaced_are_a_document_of_their_own(service: Service) -> None:
    with service.client() as client:
        old = upload(client, "a.txt", WEIR, external_id="w").json()
        service.work()
        upload(client, "a.txt", LEASE, external_id="w")  # not ready yet: the old version can still be seen
        mine = upload(client, "mine.txt", WEIR)
        assert (mine.status_code, mine.json()["id"] != old["id"]) == (202, True)
        service.work()
        assert client.get(f"/v1/documents/{old['id']}").status_code == 404
        assert client.get(f"/v1/documents/{mine.json()['id']}").json()["state"] == "ready"


def test_a_text_becomes_a_document(service: Service) -> None:
    with service.client() as client:
        body = {"collection": "notes", "title": "note.txt", "text": LEASE, "metadata": {"a": 1}}
        reply = client.post("/v1/documents/text", json=body)
        assert (reply.status_code, reply.json()["title"]) == (202, "note.txt")
        service.work()
        assert only(client, "notes")[0]["state"] == "ready"


def test_a_name_with_quotation_marks_is_the_title(service: Service) -> None:
    name = 'The "old" weir, 漢字.md'
    with service.client() as client:
        assert upload(client, name, WEIR).json()["title"] == name
        batch = client.post("/v1/documents/batch", data={"collection": "b"}, files=[("files", (name, LEASE))])
        assert batch.json()["items"][0]["document"]["title"] == name


def test_a_batch_gives_every_file_its_id_or_its_problem(service: Service) -> None:
    files = [("files", ("good.txt", WEIR)), ("files", ("empty.txt", "")), ("files", ("other.txt", LEASE))]
    with service.client() as client:
        reply = client.post("/v1/documents/batch", data={"collection": "main"}, files=files)
    assert reply.status_code == 207
    items = reply.json()["items"]
    assert [(item["title"], item["status"]) for item in items] == [
        ("good.txt", 202),
        ("empty.txt", 422),
        ("other.txt", 202),
    ]
    assert items[1]["problem"]["detail"] == "empty.txt is empty: it has no bytes"
    assert items[2]["document"]["id"]


def test_a_document_is_followed_to_its_end(service: Service) -> None:
    with service.client() as client:
        document = upload(client, "weir.md", WEIR).json()
        worker = threading.Thread(target=service.work)
        states = []
        with client.stream("GET", f"/v1/documents/{document['id']}/events") as stream:
            assert stream.headers["Content-Type"].startswith("text/event-stream")
            for line in stream.iter_lines():
                if line.startswith("data: "):
                    states.append(json.loads(line[6:])["state"])
                    if len(states) == 1:
                        worker.start()
        worker.join()
    assert (states[0], states[-1]) == ("queued", "ready")


def test_a_document_that_stays_as_it_is_is_looked_at_ever_more_rarely(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []
    current = documents._current
    monkeypatch.setattr(documents, "_current", lambda *asked: looks.append(time.monotonic()) or current(*asked))
    monkeypatch.setattr(events, "POLL_SECONDS", 0.03)
    with service.client() as client:
        document = upload(client, "a.txt", WEIR).json()
        with client.stream("GET", f"/v1/documents/{document['id']}/events") as stream:
            told = stream.iter_text()  # held: without it the stream ends
            assert "queued" in next(told)
            time.sleep(2)
    assert 5 < len(looks) < 25  # and not 60


def test_a_document_that_fails_says_why(service: Service) -> None:
    with service.client() as client:
        document = upload(client, "cut.pdf", b"%PDF-1.7\n1 0 obj\n<<").json()
        service.work()
        failed = client.get(f"/v1/documents/{document['id']}").json()
        assert failed["state"] == "failed"
        assert "cut.pdf" in failed["error"]
        text = client.get(f"/v1/documents/{document['id']}/text")  # an empty one would be taken for what it says
        assert (text.status_code, text.json()["title"]) == (409, "The document failed")
        assert text.json()["detail"] == f"cut.pdf failed and has no text to read: {failed['error']}"
        image = client.get(f"/v1/documents/{document['id']}/chunks/0/image")
        assert (image.status_code, image.json()["detail"]) == (409, text.json()["detail"])
        assert client.delete(f"/v1/documents/{document['id']}").status_code == 204


def test_a_chunk_that_is_not_encoded_yet_is_told_so(service: Service) -> None:
    with service.client() as client:
        document = upload(client, "weir.md", WEIR).json()
        with transaction(service.resources.engine) as session:
            (job,) = catalog.claim_jobs(session, [catalog.JobKind.PARSE], owner="other", lease_seconds=60)
        parse(service.resources, job, owner="other", listen=silent)
        path = f"/v1/documents/{document['id']}"
        assert client.get(path).json()["state"] == "encoding"
        for asked in ("/chunks/0/image", "/text?chunk=0"):
            reply = client.get(path + asked)
            assert reply.status_code == 404
            assert reply.json()["detail"] == (
                f"There is no cache of chunk '{document['id']}/0'. It is not encoded yet: follow the document until it "
                "is ready."
            )
        assert client.get(f"{path}/text").json()["chunks"] == []
        assert client.get(f"{path}/chunks/1/image").json()["detail"].endswith("numbered from 0.")


def test_a_deleted_document_is_gone_for_every_reader(service: Service) -> None:
    with service.client() as client:
        document = upload(client, "weir.md", WEIR).json()
        service.work()
        question = {"question": "What is the serial number of the gauge?", "collection": "main"}
        assert "GX-20418" in client.post("/v1/ask", json=question).json()["answer"]
        assert client.delete(f"/v1/documents/{document['id']}").status_code == 204
        assert client.post("/v1/ask", json=question).json()["abstained"]
        assert client.post("/v1/search", json={"query": "gauge", "collection": "main"}).json() == {"hits": []}
        assert client.get(f"/v1/documents/{document['id']}/text").status_code == 404
        assert client.delete(f"/v1/documents/{document['id']}").status_code == 404
    Tender(service.resources).tick()  # as a worker's does every few seconds
    assert list(service.resources.blobs.list()) == []


def test_documents_are_deleted_by_their_metadata(service: Service) -> None:
    with service.client() as client:
        for year in (2018, 2019, 2024):
            upload(client, f"{year}.txt", f"{LEASE} {year}", metadata=json.dumps({"year": year}))
        where = json.dumps({"year": {"lt": 2020}})
        reply = client.delete("/v1/documents", params={"collection": "main", "filter": where})
        assert reply.json() == {"deleted": 2}
        assert [document["title"] for document in only(client)] == ["2024.txt"]
        empty = client.delete("/v1/documents", params={"collection": "main", "filter": "{}"})
        assert empty.status_code == 422
        assert empty.json()["detail"] == "query.filter: is empty: delete the collection instead"


def test_a_listing_goes_on_where_it_was_though_its_last_document_is_gone(service: Service) -> None:
    with service.client() as client:
        ids = [upload(client, f"{n}.txt", f"{WEIR}{n}").json()["id"] for n in range(5)]
        first = client.get("/v1/documents", params={"collection": "main", "limit": 2}).json()
        client.delete(f"/v1/documents/{ids[1]}")
        second = client.get("/v1/documents", params={"collection": "main", "limit": 2, "cursor": first["next"]}).json()
        assert [d["id"] for d in first["items"] + second["items"]] == ids[:4]
        last = client.get("/v1/documents", params={"collection": "main", "cursor": second["next"]}).json()
        assert ([d["id"] for d in last["items"]], last["next"]) == ([ids[4]], None)
        wrong = client.get("/v1/documents", params={"collection": "main", "cursor": "%%%"})
        assert wrong.status_code == 422
        assert wrong.json()["detail"].startswith("'%%%' is not a cursor of this list: pass on the `next` of its page")


def test_the_newest_documents_are_listed_first_where_asked_for(service: Service) -> None:
    with service.client() as client:

        def listed(**asked: object) -> httpx.Response:
            return client.get("/v1/documents", params={"collection": "main", "limit": 2, **asked})

        ids = [upload(client, f"{n}.txt", f"{WEIR}{n}").json()["id"] for n in range(5)]
        first = listed(order="newest").json()
        late = upload(client, "late.txt", f"{WEIR}late").json()["id"]  # stands before what was shown
        second = listed(order="newest", cursor=first["next"]).json()
        client.delete(f"/v1/documents/{ids[1]}")
        third = listed(order="newest", cursor=second["next"]).json()
        assert [d["id"] for page in (first, second, third) for d in page["items"]] == ids[::-1]
        assert third["next"] is None
        assert [d["id"] for d in listed(order="newest").json()["items"]] == [late, ids[4]]
        oldest = listed(order="oldest").json()
        assert oldest == listed().json()
        for asked in ({"order": "oldest", "cursor": first["next"]}, {"order": "newest", "cursor": oldest["next"]}):
            refused = listed(**asked)
            assert refused.status_code == 422
            assert refused.json()["detail"].startswith(f"'{asked['cursor']}' is not a cursor of this list: pass on")
        unknown = listed(order="largest")
        assert unknown.status_code == 422
        assert unknown.json()["detail"] == "query.order: Input should be 'oldest' or 'newest'"
        described = client.get("/openapi.json").json()["paths"]["/v1/documents"]["get"]["parameters"]
        (order,) = [parameter for parameter in described if parameter["name"] == "order"]
        assert order["schema"]["enum"] == ["oldest", "newest"]
        assert "Which come first" in order["description"]


def test_an_idempotency_key_gives_the_same_answer_and_runs_nothing_twice(service: Service) -> None:
    with service.client() as client:
        first = upload(client, "a.txt", WEIR, external_id="x", idempotency_key="k-1")
        client.delete(f"/v1/documents/{first.json()['id']}")
        again = upload(client, "a.txt", WEIR, external_id="x", idempotency_key="k-1")
        assert (again.status_code, again.json()) == (202, first.json())
        assert (again.headers["Idempotent-Replayed"], only(client)) == ("true", [])
        other = upload(client, "a.txt", LEASE, external_id="x", idempotency_key="k-1")
        assert other.status_code == 409
        assert other.json()["detail"].startswith("This Idempotency-Key came with a different request before")


def test_the_same_idempotency_key_many_times_at_once_makes_one_document(service: Service) -> None:
    replies: list[httpx.Response] = []

    def send() -> None:
        with service.client() as client:
            replies.append(upload(client, "a.txt", WEIR, idempotency_key="k-2"))

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {reply.json()["id"] for reply in replies if reply.status_code < 300} == {replies[0].json()["id"]}
    assert [reply.status_code for reply in replies] == [202] * 6
    with service.client() as client:
        assert len(only(client)) == 1


@pytest.mark.parametrize("told", [True, False])
def test_an_upload_over_the_cap_is_refused_while_it_comes_in(service: Service, told: bool) -> None:
    content = b"x" * 3_500_000
    with service.client() as client:
        if told:
            reply = upload(client, "big.txt", content)
        else:  # a body whose length no header says
            head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="big.txt"\r\n\r\n'
            pieces = iter([head, *(content[at : at + 65_536] for at in range(0, len(content), 65_536))])
            headers = {"Content-Type": "multipart/form-data; boundary=b"}
            reply = client.post("/v1/documents", content=pieces, headers=headers)
    assert reply.status_code == 413
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert reply.json()["detail"].startswith("More than 2,000,000 bytes: over the size limit.")
    assert list(service.resources.blobs.list()) == []


@pytest.mark.parametrize(
    ("fields", "status", "detail"),
    [
        ({"metadata": "[1]"}, 422, 'body.metadata: must be a JSON object, such as {"year": 2024}'),
        ({"collection": "a/b"}, 422, "body.collection: String should match pattern"),
        ({"collection": "x" * 201}, 422, "body.collection: String should have at most 200 characters"),
    ],
)
def test_bad_fields_are_named(service: Service, fields: dict[str, str], status: int, detail: str) -> None:
    with service.client() as client:
        reply = upload(client, "a.txt", WEIR, **fields)
    assert (reply.status_code, reply.json()["detail"][: len(detail)]) == (status, detail)


def test_an_idempotency_key_without_a_letter_is_none(service: Service) -> None:
    with service.client() as client:
        replies = [upload(client, "a.txt", text, idempotency_key="") for text in (WEIR, LEASE)]
    for reply in replies:  # not two different requests under one key
        assert reply.status_code == 422
        assert reply.json()["errors"][0]["at"] == "header.idempotency-key"


@pytest.mark.parametrize(("path", "field"), [("/v1/documents", "file"), ("/v1/documents/batch", "files")])
def test_a_file_that_is_sent_as_text_is_told_so(service: Service, path: str, field: str) -> None:
    with service.client() as client:
        form = {"collection": (None, "main"), field: (None, "report.pdf")}  # curl -F file=report.pdf
        detail = client.post(path, files=form).json()["detail"]
    assert "is text where a file is meant; curl sends a file with an @ before its name: `-F file=@report.pdf`" in detail


def test_an_upload_by_url_is_off_until_it_is_enabled(service: Service) -> None:
    with service.client() as client:
        reply = client.post("/v1/documents/url", json={"collection": "main", "url": "http://127.0.0.1:1/a.txt"})
    assert (reply.status_code, reply.json()["detail"]) == (
        403,
        "The operator has not enabled uploads by URL (PERCEL_URL_UPLOADS=true does).",
    )


def test_nothing_is_waited_for_at_the_door(service: Service) -> None:
    """An upload is answered before any of its work is done."""
    with service.client() as client:
        upload(client, "warm.txt", WEIR)
        reply = upload(client, "a.md", LEASE * 200)
        assert reply.json()["state"] == "queued"
    with reading(service.resources.engine) as session:
        assert catalog.has_live_jobs(session)
