"""Over real sockets of this machine, with both clients."""

import pytest
from both import connect
from stub import multipart, problem, served

from percel_client import ConnectionFailed


@pytest.fixture
def address(stub):
    with served(stub) as address:
        yield address


@pytest.fixture(params=["sync", "async"])
def percel(request, address):
    client = connect(request.param, address)
    yield client
    client.close()


def test_a_large_file_is_streamed_sent_again_and_followed(percel, stub, tmp_path):
    path = tmp_path / "large.txt"
    path.write_bytes(b"0123456789abcdef" * 65_536)  # 1 MiB
    stub.next_answers.append(lambda request: problem(503, "Unavailable", "Restarting.", Retry_After="0"))
    document = percel.upload_and_wait(path, collection="c")
    assert (document.state, document.size) == ("ready", 1_048_576)
    first, second = (multipart(request)[1] for request in stub.requests[:2])
    assert first == second == [("large.txt", path.read_bytes())]


def test_an_answer_is_streamed(percel):
    percel.upload(b"the dam is 41 m high", collection="c", name="dam.txt")
    *pieces, last = percel.ask_stream("how high is the dam", collection="c")
    assert (len(pieces), last.answer) == (6, "the dam is 41 m high")


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_where_nobody_listens_the_error_says_so(stub, kind):
    with served(stub) as address:
        pass  # the port is free again
    percel = connect(kind, address)
    with pytest.raises(ConnectionFailed, match=rf"GET {address}/v1/jobs got no answer .* that Percel runs there"):
        percel.jobs()
    percel.close()
