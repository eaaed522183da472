"""Owns what decoders and page codecs may be called, and the check that there is something behind a name.

Knows no torch: settings are checked at the start of every command.
"""

from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from compressor.errors import ModelError
from compressor.vlm.find import find_model
from compressor.vlm.fingerprint import check_weights, read_family

QUOTING = "extractive"
PAGES = "hf:"  # before a model's name: the vision-language model that reads page caches
REMOTE = (
    "openai:"  # before the address of a server that speaks OpenAI's language, as in openai:http://host:8000/v1#model
)
VLLM = "vllm:"  # before the address of a vLLM server that reads page caches, as in vllm:http://host:8000/v1#model
KINDS = f"{QUOTING}, {PAGES}<model>, {REMOTE}<url>, {VLLM}<url>#<model>"


def check_decoder(name: str) -> None:
    """Raises ModelError for a name that is none, UnsupportedModel; nothing is loaded."""
    if name.startswith(PAGES):
        model_directory(name)
    elif name.startswith(REMOTE):
        check_address(name.removeprefix(REMOTE), kind=REMOTE)
    elif name.startswith(VLLM):
        check_address(name.removeprefix(VLLM), kind=VLLM)
        model_directory(read_model(name))
    elif name != QUOTING:
        raise ModelError(f"there is no decoder {name!r}; choose one of: {KINDS}")


def read_model(name: str) -> str:
    """The page codec behind "vllm:<url>#<model>", "hf:<model>". Raises ModelError where no model is named."""
    url, _, model = name.removeprefix(VLLM).partition("#")
    if not model:
        raise ModelError(f"{name} names no model; its page caches are sent, so name it as {VLLM}{url}#<model>")
    return PAGES + model


def check_address(url: str, *, kind: str) -> None:
    """Raises ModelError for what is not the address of a server, or holds a password: answers name their decoder."""
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        sound = False
    if sound and "@" in parts.netloc:
        raise ModelError(f"the address of {parts.hostname} holds a password; give its key as PERCEL_OPENAI_KEY")
    if not sound:
        raise ModelError(f"{url!r} is no address of a server; name one as {kind}http://host:port/v1#model")


def check_page_codec(name: str) -> None:
    """Raises ModelError for a name that is not one of a model, UnsupportedModel; nothing is loaded."""
    if not name.startswith(PAGES):
        raise ModelError(f"{name!r} is no codec of pages; name models as {PAGES}<directory> or {PAGES}<owner>/<model>")
    model_directory(name)


def check_sizes(names: Iterable[str]) -> None:
    """Raises ModelError for a model that gives a page as many tokens in whatever size."""
    for name in names:
        family = read_family(model_directory(name))
        if not family.resizes:
            raise ModelError(f"pages take {family.label} as many tokens in every size: keep {name} to the full one")


def model_directory(name: str) -> Path:
    """The directory behind "hf:<model>", whose model is of a known family and has weights.

    Raises ModelError where there is no such model or no weights, UnsupportedModel with the list of families.
    """
    directory = find_model(name.removeprefix(PAGES))
    read_family(directory)
    check_weights(directory)
    return directory
