"""What is no text, no number, no field or no address is refused when it comes, and spoils nothing for others."""

import json

import pytest
from openai import OpenAI

from store.scopes import Scope
from tests.api.service.conftest import WEIR, Service, upload

HALF = "\\ud800"  # half of a surrogate pair: JSON can escape it, UTF-8 cannot write it
JSON = {"Content-Type": "application/json"}
FORM = "body: is no JSON to this service without `Content-Type: application/json`"
TOO_LATE = "is too late for a date: leave it out for a key that does not expire"
QUESTION = "How long is the notice period?"


@pytest.mark.parametrize("metadata", [f'{{"a": "{HALF}"}}', f'{{"{HALF}": 1}}', '{"a":' + "[" * 400 + "]" * 400 + "}"])
def test_metadata_that_no_answer_could_show_is_refused_and_the_collection_can_be_listed(
    service: Service, metadata: str
) -> None:
    with service.client() as client:
        assert upload(client, "good.txt", WEIR).status_code == 202
        assert upload(client, "bad.txt", "Other words.", metadata=metadata).status_code == 422
        body = f'{{"collection": "main", "title": "t", "text": "More words.", "metadata": {metadata}}}'
        assert client.post("/v1/documents/text", content=body, headers=JSON).status_code == 422
        listed = client.get("/v1/documents", params={"collection": "main"})
    assert [item["title"] for item in listed.json()["items"]] == ["good.txt"]


def test_metadata_as_deep_as_no_decoder_goes_is_refused(service: Service) -> None:
    with service.client() as client:
        deep = '{"a":' + "[" * 50_000 + "]" * 50_000 + "}"
        reply = upload(client, "bad.txt", WEIR, metadata=deep)
        assert (reply.status_code, reply.json()["detail"]) == (422, "body.metadata: is nested more than 32 deep")
        reply = client.delete("/v1/documents", params={"collection": "main", "filter": "[1]"})
        assert reply.status_code == 404
        assert upload(client, "good.txt", WEIR).status_code == 202
        reply = client.delete("/v1/documents", params={"collection": "main", "filter": "[1]"})
        assert reply.json()["detail"].startswith("query.filter: must be a JSON object")


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/search", f'{{"collection": "main", "query": "x", "filter": {{"a": "{HALF}"}}}}', 422),
        ("/v1/search", f'{{"collection": "main", "query": "x", "{HALF}": 1}}', 422),
        ("/v1/ask", f'{{"collection": "main", "question": "x", "decoder": "{HALF}"}}', 422),
        ("/v1/chat/completions", f'{{"model": "main", "messages": [{{"role": "user", "content": "{HALF}"}}]}}', 400),
        ("/v1/chat/completions", f'{{"model": "{HALF}", "messages": [{{"role": "user", "content": "x"}}]}}', 400),
        (
            "/v1/chat/completions",
            f'{{"model": "main", "messages": [{{"role": "user", "content": "x"}}], "{HALF}": 1}}',
            400,
        ),
    ],
)
def test_half_of_a_surrogate_pair_is_the_callers_fault(library: Service, path: str, body: str, status: int) -> None:
    with library.client() as client:
        assert client.post(path, content=body, headers=JSON).status_code == status


@pytest.mark.parametrize("number", [2**31, 2**63, 10**30, -1])
def test_a_chunk_with_a_number_that_none_can_have_is_refused(library: Service, number: int) -> None:
    with library.client() as client:
        (document, *_) = client.get("/v1/documents", params={"collection": "main"}).json()["items"]
        path = f"/v1/documents/{document['id']}"
        assert client.get(f"{path}/text", params={"chunk": number}).status_code == 422
        assert client.get(f"{path}/chunks/{number}/image").status_code == 422


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (
            '/v1/documents?collection=main&filter={"year":2019}',
            "query.filter: is no parameter; there are collection, state, order, limit, cursor",
        ),
        ("/v1/documents?collection=main&state=ready&state=failed", "query.state: comes more than once"),
        ("/v1/collections?limit=5", "query.limit: is no parameter; there are none here"),
    ],
)
def test_a_parameter_that_would_be_passed_over_is_refused(library: Service, path: str, said: str) -> None:
    with library.client() as client:
        reply = client.get(path)
    assert reply.status_code == 422
    assert reply.json()["detail"].startswith(said)


def test_of_two_files_in_one_upload_none_is_lost_without_a_word(service: Service) -> None:
    with service.client() as client:
        files = [("file", ("a.txt", b"One text.")), ("file", ("b.txt", b"Another text."))]
        reply = client.post("/v1/documents", data={"collection": "main"}, files=files)
        assert (reply.status_code, reply.json()["detail"]) == (
            422,
            "body.file: comes more than once: which one is meant?",
        )
        many = client.post(
            "/v1/documents/batch", data={"collection": "main"}, files=[("files", each) for _, each in files]
        )
    assert [item["status"] for item in many.json()["items"]] == [202, 202]


@pytest.mark.parametrize(
    ("name", "charset", "status", "title"),
    [("a\0b.txt", "utf-8", 422, "a\0b.txt"), (f"a{HALF}b.txt", "raw_unicode_escape", 202, "a?b.txt")],
)
def test_a_file_whose_name_no_database_takes_spoils_nothing(
    service: Service, name: str, charset: str, status: int, title: str
) -> None:
    form = {"Content-Type": f"multipart/form-data; boundary=--; charset={charset}"}
    many = _form(files=name, collection=None)
    with service.client() as client:
        reply = client.post("/v1/documents", content=_form(file=name, collection=None), headers=form)
        (item,) = client.post("/v1/documents/batch", content=many, headers=form).json()["items"]
        listed = client.get("/v1/documents", params={"collection": "main"}).json()
    assert (reply.status_code, item["status"], item["title"]) == (status, 200 if status == 202 else status, title)
    if status == 422:
        said = "The file's name 'a\\x00b.txt' cannot be kept: a string must not hold NUL."
        assert [reply.json()["detail"], item["problem"]["detail"]] == [said, said]
    else:
        assert [each["title"] for each in listed["items"]] == [title]


def _form(**fields: str | None) -> bytes:
    """A body of two fields, `main` and a file of the given name."""
    parts = []
    for field, file in fields.items():
        named = "" if file is None else f'; filename="{file}"'
        parts.append(f'----\r\nContent-Disposition: form-data; name="{field}"{named}\r\n\r\nmain\r\n')
    return "".join([*parts, "------\r\n"]).encode()


def test_an_empty_external_id_names_no_document(service: Service) -> None:
    with service.client() as client:
        text = {"collection": "main", "title": "t", "text": "Some words.", "external_id": ""}
        assert client.post("/v1/documents/text", json=text).status_code == 422
        forms = [upload(client, f"{n}.txt", f"Text {n}.", external_id="").json() for n in range(2)]
    assert [(each["external_id"], each["version"]) for each in forms] == [(None, 1), (None, 1)]


@pytest.mark.parametrize("name", [".", ".."])
def test_a_collection_that_no_address_reaches_is_not_made(service: Service, name: str) -> None:
    with service.client() as client:
        reply = client.post("/v1/collections", json={"name": name})
        assert reply.json()["detail"] == "body.name: must not be . or ..: addresses with these mean others"
        assert upload(client, "a.txt", WEIR, collection=name).status_code == 422


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"requests_per_minute": 2**31}, "requests_per_minute: Input should be less than or equal to 2147483647"),
        ({"bytes_per_day": 2**63}, "bytes_per_day: Input should be less than or equal to 9223372036854775807"),
        ({"expires_at": "2099-01-01T00:00:00"}, "expires_at: Input should have timezone info"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at: is over already"),
        ({"expires_at": "9999-12-31T23:59:59.999999Z"}, f"expires_at: {TOO_LATE}"),
        ({"expires_at": "9999-12-31T23:59:59-12:00"}, f"expires_at: {TOO_LATE}"),
    ],
)
def test_a_key_with_limits_that_cannot_be_is_refused(service: Service, more: dict[str, object], said: str) -> None:
    with service.client() as client:
        reply = client.post("/v1/keys", json={"name": "k", "scopes": ["read"], **more})
        assert (reply.status_code, reply.json()["detail"]) == (422, f"body.{said}")
        assert client.get("/v1/keys").json() == {"items": []}


@pytest.mark.parametrize(
    "url",
    ["http://", "http://[", "http://host:99999/", "http://a b/", "http://host/\n", "https://user:word@host/"],
)
def test_an_address_that_no_message_could_reach_is_no_webhook(service: Service, url: str) -> None:
    with service.client(service.key(Scope.ADMIN)) as client:
        reply = client.post("/v1/webhooks", json={"url": url})
        assert (reply.status_code, reply.json()["title"]) == (422, "The URL is refused")
        assert "word" not in reply.json()["detail"] or "password" in reply.json()["detail"]
        assert client.get("/v1/webhooks").json() == {"items": []}


def test_an_answer_can_be_given_back_as_an_earlier_turn(library: Service) -> None:
    with OpenAI(base_url=f"{library.url}/v1", api_key=library.reader, max_retries=0) as openai:
        turns: list[object] = [{"role": "user", "content": QUESTION}]
        first = openai.chat.completions.create(model="main", messages=turns).choices[0].message  # type: ignore[arg-type]
        for given_back in (first, first.model_dump()):
            messages = [*turns, given_back, {"role": "user", "content": "When does the lease end?"}]
            said = openai.chat.completions.create(model="main", messages=messages).choices[0]  # type: ignore[arg-type]
            assert "31 January 2027" in (said.message.content or "")


def test_a_message_with_what_cannot_be_honoured_is_refused(library: Service) -> None:
    calls = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    turns = [{"role": "assistant", "content": "x", "tool_calls": calls}, {"role": "user", "content": QUESTION}]
    with library.client() as client:
        reply = client.post("/v1/chat/completions", json={"model": "main", "messages": turns})
        assert reply.json()["error"]["message"] == "tool_calls of a message is not supported by this service."
        broken = client.post("/v1/chat/completions", content='{"model": ', headers=JSON)
    assert reply.status_code == broken.status_code == 400
    assert json.loads(broken.content)["error"]["message"] == "The body is not JSON: Expecting value at character 10."
    assert broken.json()["error"]["param"] is None


@pytest.mark.parametrize(
    ("body", "headers", "status", "said"),
    [
        (b'{"query": "x", "collection": "main"}', {"Content-Type": "application/x-www-form-urlencoded"}, 422, FORM),
        (b"[1]", JSON, 422, "body: is not a JSON object"),
        (b'{"query": ', JSON, 422, "body: is not JSON: Expecting value at character 10"),
        (b'{"query": "\xff", "collection": "main"}', JSON, 400, "The body is not UTF-8."),
        (b"[" * 50_000, JSON, 400, "The body is not JSON that can be read: it is nested too deep."),
    ],
)
def test_a_body_that_is_no_json_is_told_why(
    library: Service, body: bytes, headers: dict[str, str], status: int, said: str
) -> None:
    with library.client() as client:
        reply = client.post("/v1/search", content=body, headers=headers)
    assert (reply.status_code, reply.json()["detail"]) == (status, said)


@pytest.mark.parametrize(("path", "field"), [("search", "query"), ("ask", "question"), ("context", "question")])
def test_blanks_are_no_question(library: Service, path: str, field: str) -> None:
    with library.client() as client:
        reply = client.post(f"/v1/{path}", json={field: " \n\t", "collection": "main"})
    assert (reply.status_code, reply.json()["detail"]) == (422, f"body.{field}: is empty")
