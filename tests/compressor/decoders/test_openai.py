"""A remote model's answer comes in pieces, and whatever its server does wrong is one clear error."""

from collections.abc import Iterator

import pytest

from compressor.decoders.names import check_decoder
from compressor.decoders.openai import remote_model, stream_chat
from compressor.errors import ModelError, RemoteError, RemoteNonsense, RemoteSlow, RemoteUnreachable
from compressor.said import noted
from tests.chat_stub import PIECES, Stub, chat_stub

PART = {"type": "text", "text": "Question: how long?"}


@pytest.fixture
def stub() -> Iterator[Stub]:
    with chat_stub() as running:
        yield running


def said(stub: Stub, *, model: str = "", seconds: float = 60.0, key: str = "") -> list[str]:
    remote = remote_model(f"openai:{stub.url}/{'#' + model if model else ''}", key=key, seconds=seconds)
    return list(stream_chat(remote, "Answer.", [PART], limit=50))


def test_an_answer_comes_in_the_pieces_of_the_server(stub: Stub) -> None:
    assert said(stub, key="sesame") == list(PIECES)
    (asked,) = stub.asked
    assert (asked["model"], asked["stream"], asked["temperature"], asked["max_tokens"]) == ("served", True, 0, 50)
    assert asked["messages"] == [{"role": "system", "content": "Answer."}, {"role": "user", "content": [PART]}]
    assert stub.keys == ["Bearer sesame"]


def test_a_server_that_does_not_stream_is_understood_too(stub: Stub) -> None:
    stub.behaviour = "whole"
    assert said(stub, model="mine") == ["".join(PIECES)]
    assert stub.asked[0]["model"] == "mine"
    assert stub.keys == [None]


@pytest.mark.parametrize(
    ("behaviour", "cut_off"),
    [
        ("stream", False),
        ("at the limit", True),
        ("whole", False),
        ("whole at the limit", True),
        ("ends with its reason", False),  # and without the mark of an end
    ],
)
def test_an_answer_that_is_cut_off_at_the_limit_is_told(stub: Stub, behaviour: str, cut_off: bool) -> None:
    stub.behaviour = behaviour
    pieces: list[str] = []
    ends: list[bool] = []

    def whole() -> Iterator[str]:
        remote = remote_model(f"openai:{stub.url}", key="", seconds=60)
        ends.append((yield from noted(stream_chat(remote, "Answer.", [PART], limit=50), pieces)))

    assert "".join(whole()) == "".join(pieces) == "".join(PIECES)
    assert ends == [cut_off]


@pytest.mark.parametrize(
    ("behaviour", "kind", "message"),
    [
        ("no line end", RemoteNonsense, r"/v1 sent more than 8,388,608 characters without a line end"),
        ("no end", RemoteNonsense, r"/v1 answered with more than 8,388,608 characters"),
        ("packed", RemoteNonsense, r"/v1 answered with what cannot be unpacked: "),
        ("fails", RemoteNonsense, r"/v1 answered 500: the engine has died"),
        ("html", RemoteNonsense, r"answered with what is no chat completion: '<html>Welcome</html>'"),
        ("nested", RemoteNonsense, r"answered with what is no chat completion: '\[{100}'$"),
        ("nested models", RemoteNonsense, r"/v1 does not list its models: '\[{100}'$"),
        ("no text", RemoteNonsense, r"answered with a content that is no text: "),
        ("error within", RemoteNonsense, r"answered with an error: .*out of memory"),
        ("breaks off", RemoteNonsense, r"broke off in the middle of its answer"),
        ("no models", RemoteNonsense, r"lists no model; name one as openai:http://127\.0\.0\.1:\d+/v1#<model>"),
    ],
)
def test_what_a_server_does_wrong_is_one_error(
    stub: Stub, behaviour: str, kind: type[RemoteError], message: str
) -> None:
    stub.behaviour = behaviour
    with pytest.raises(kind, match=message):
        said(stub)


@pytest.mark.parametrize("behaviour", ["slow", "drips", "drips a line", "drips a body", "drips a fault"])
def test_a_server_that_takes_too_long_is_one_error(stub: Stub, behaviour: str) -> None:
    stub.behaviour = behaviour
    found = "gave no answer" if behaviour == "slow" else "was not through"
    for seconds in (0.5, 5.0, 20.0):  # a busy machine may be late with the first byte, which is the other error
        with pytest.raises(RemoteSlow) as caught:
            said(stub, seconds=seconds)
        if found in str(caught.value):
            break
    assert str(caught.value) == f"{stub.url} {found} in {seconds:g} s (PERCEL_OPENAI_SECONDS)"


def test_a_server_that_is_down_is_one_error() -> None:
    remote = remote_model("openai:http://127.0.0.1:9/v1#m", key="", seconds=5.0)
    with pytest.raises(RemoteUnreachable, match=r"http://127\.0\.0\.1:9/v1 cannot be reached: .*is the server running"):
        list(stream_chat(remote, "Answer.", [PART], limit=5))


@pytest.mark.parametrize("url", ["", "localhost:8000", "ftp://host/v1", "http://", "http://host:port/"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ModelError, match=r"is no address of a server; name one as openai:http://host:port/v1#model"):
        check_decoder(f"openai:{url}")
    check_decoder("openai:http://localhost:8000/v1#model")


def test_a_password_is_not_part_of_an_address() -> None:
    with pytest.raises(ModelError, match=r"^the address of host holds a password; give its key as PERCEL_OPENAI_KEY$"):
        check_decoder("openai:http://me:sesame@host/v1")


@pytest.mark.parametrize(
    ("behaviour", "text"),
    [
        ("halves", "a \U0001f600 b \ufffdc\ufffd"),
        ("no charset of text", "".join(PIECES)),
        ("another charset", "höchstens"),
        ("names no error", "Yes"),
    ],
)
def test_what_servers_do_otherwise_is_understood(stub: Stub, behaviour: str, text: str) -> None:
    stub.behaviour = behaviour
    assert "".join(said(stub)) == text


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ("tells the key", r"/v1 answered 401: no such key: Bearer \.\.\.$"),
        ("errs with the key", r"/v1 answered with an error: no such key: \.\.\. $"),
    ],
)
def test_a_key_is_in_no_error(stub: Stub, behaviour: str, message: str) -> None:
    stub.behaviour = behaviour
    with pytest.raises(RemoteNonsense, match=message):
        said(stub, key="sesame")


@pytest.mark.parametrize("host", ["a..b", "\u00fc..x", "a" * 70])
def test_a_name_that_no_host_can_have_is_one_error(host: str) -> None:
    remote = remote_model(f"openai:http://{host}/v1#m", key="", seconds=5.0)
    with pytest.raises(RemoteUnreachable, match=r"/v1 is no address that can be called: "):
        list(stream_chat(remote, "Answer.", [PART], limit=5))
