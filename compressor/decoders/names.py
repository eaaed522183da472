"""Owns what decoders and page codecs may be called, and the check that there is something behind a name.

Knows no torch: settings are checked at the start of every command.
"""

from pathlib import Path

from compressor.errors import ModelError
from compressor.vlm.find import find_model
from compressor.vlm.fingerprint import check_weights, read_family

QUOTING = "extractive"
PAGES = "hf:"  # before a model's name: the vision-language model that reads page caches
KINDS = f"{QUOTING}, {PAGES}<model>"


def check_decoder(name: str) -> None:
    """Raises ModelError for a name that is none, UnsupportedModel; nothing is loaded."""
    if name.startswith(PAGES):
        model_directory(name)
    elif name != QUOTING:
        raise ModelError(f"there is no decoder {name!r}; choose one of: {KINDS}")


def check_page_codec(name: str) -> None:
    """Raises ModelError for a name that is not one of a model, UnsupportedModel; nothing is loaded."""
    if not name.startswith(PAGES):
        raise ModelError(f"{name!r} is no codec of pages; name models as {PAGES}<directory> or {PAGES}<owner>/<model>")
    model_directory(name)


def model_directory(name: str) -> Path:
    """The directory behind "hf:<model>", whose model is of a known family and has weights.

    Raises ModelError where there is no such model or no weights, UnsupportedModel with the list of families.
    """
    directory = find_model(name.removeprefix(PAGES))
    read_family(directory)
    check_weights(directory)
    return directory
