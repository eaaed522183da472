"""Uploads, reads and deletes, with both clients."""

import gzip
import io
import json
import os

import httpx
import pytest
from stub import multipart

from percel_client import File, NotFound, Percel


@pytest.mark.parametrize("buffered", [True, False])
def test_what_a_pipe_gives_is_sent_as_it_comes(percel, stub, buffered):
    reading, writing = os.pipe()
    with open(reading, "rb", buffering=-1 if buffered else 0) as pipe:
        os.write(writing, b"alpha")
        os.close(writing)
        document = percel.upload(pipe, collection="c", name="a.txt")
    assert document.size == 5
    assert "content-length" not in stub.requests[0].headers


def test_a_file_that_is_unpacked_as_it_is_read_has_the_size_of_what_it_gives(percel, stub, tmp_path):
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"alpha " * 1000))
    with gzip.open(tmp_path / "a.txt.gz") as file:
        assert percel.upload(file, collection="c", name="a.txt").size == 6000
    (request,) = stub.requests
    assert int(request.headers["content-length"]) == len(request.content)


def test_a_file_is_sent_with_its_name_and_what_is_known_of_it(percel, stub, tmp_path):
    path = tmp_path / "report.txt"
    path.write_text("The dam is 41 m high.")
    document = percel.upload(path, collection="dams", external_id="r1", metadata={"year": 2026})
    fields, files = multipart(stub.requests[0])
    assert files == [("report.txt", b"The dam is 41 m high.")]
    assert fields == {"collection": "dams", "external_id": "r1", "metadata": '{"year": 2026}'}
    assert (document.title, document.state, document.metadata) == ("report.txt", "queued", {"year": 2026})
    assert document.created_at.isoformat() == "2026-03-01T12:00:00+00:00"
    assert stub.requests[0].headers["authorization"] == "Bearer pk_test"


def test_an_open_file_and_bytes_are_sent_too(percel, stub, tmp_path):
    (tmp_path / "a.txt").write_text("alpha")
    with (tmp_path / "a.txt").open("rb") as file:
        assert percel.upload(file, collection="c").title == "a.txt"
    assert percel.upload(b"beta", collection="c", name="b.txt").title == "b.txt"
    assert percel.upload(io.BytesIO(b"gamma"), collection="c", name="c.txt").title == "c.txt"


def test_bytes_need_a_name(percel):
    with pytest.raises(ValueError, match=r"Bytes have no name: give one, like name='report.pdf'"):
        percel.upload(b"beta", collection="c")


def test_the_same_bytes_again_are_the_same_document(percel):
    first = percel.upload(b"beta", collection="c", name="b.txt")
    assert percel.upload(b"beta", collection="c", name="b.txt").id == first.id


def test_text_is_sent_as_a_document(percel, stub):
    assert percel.upload_text("alpha beta", collection="c", title="note", metadata={"a": 1}).title == "note"
    sent = json.loads(stub.requests[0].content)
    assert sent == {"collection": "c", "title": "note", "text": "alpha beta", "metadata": {"a": 1}}


def test_a_batch_says_for_each_file_what_became_of_it(percel, tmp_path):
    (tmp_path / "a.txt").write_text("alpha")
    good, bad = percel.upload_many([tmp_path / "a.txt", File("empty.txt", b"")], collection="c", metadata={"k": "v"})
    assert (good.status, good.document.title, good.document.metadata) == (202, "a.txt", {"k": "v"})
    assert (bad.status, bad.document, bad.problem.detail) == (422, None, "No bytes.")


def test_a_list_goes_over_all_pages(percel, stub):
    for number in range(5):
        percel.upload(f"text {number}".encode(), collection="c", name=f"{number}.txt")
    titles = [document.title for document in percel.documents("c", page_size=2)]
    assert titles == ["0.txt", "1.txt", "2.txt", "3.txt", "4.txt"]
    assert [request.url.params.get("cursor") for request in stub.requests[5:]] == [None, "2", "4"]


def test_a_list_goes_over_all_pages_in_the_order_asked_for(percel, stub):
    for number in range(3):
        percel.upload(f"text {number}".encode(), collection="c", name=f"{number}.txt")
    titles = [document.title for document in percel.documents("c", order="newest", page_size=2)]
    assert titles == ["2.txt", "1.txt", "0.txt"]
    assert [request.url.params.get("order") for request in stub.requests[3:]] == ["newest", "newest"]


def test_pages_are_fetched_only_as_they_are_needed(stub):
    with Percel("http://percel.test", transport=httpx.MockTransport(stub.handle)) as percel:
        for number in range(5):
            percel.upload(f"text {number}".encode(), collection="c", name=f"{number}.txt")
        assert next(percel.documents("c", page_size=2)).title == "0.txt"
    assert len(stub.requests) == 6


def test_a_document_is_read_and_shown(percel):
    document = percel.upload(b"alpha", collection="c", name="a.txt")
    assert percel.document_text(document.id).chunks[0].text == "alpha"
    assert percel.document_text(document.id, chunk=0, markdown=True).chunks[0].text == "**alpha**"
    assert percel.chunk_image(document.id, 0) == b"\x89PNG"
    assert percel.page_image(document.id, 1) == b"\x89PNG"


def test_a_deleted_document_is_gone(percel):
    document = percel.upload(b"alpha", collection="c", name="a.txt")
    assert percel.delete(document.id) is None
    with pytest.raises(NotFound, match="404 Not Found: There is no document 'd1'"):
        percel.document(document.id)


def test_documents_are_deleted_by_what_is_known_of_them(percel):
    percel.upload(b"alpha", collection="c", name="a.txt", metadata={"year": 2025})
    percel.upload(b"beta", collection="c", name="b.txt", metadata={"year": 2026})
    assert percel.delete_where("c", {"year": 2025}) == 1
    assert [document.title for document in percel.documents("c")] == ["b.txt"]


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_a_name_that_would_make_another_address_is_refused(percel, stub, name):
    with pytest.raises(ValueError, match="names nothing here: it would make another address"):
        percel.delete(name)
    assert stub.requests == []


def test_a_name_with_a_slash_stays_one_name(percel, stub):
    percel.collection("a/b ?")
    assert stub.requests[0].url.raw_path == b"/v1/collections/a%2Fb%20%3F"
