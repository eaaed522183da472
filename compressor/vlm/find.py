"""Owns where a model lies: a directory that is named by its path, or by the name that it was downloaded under."""

import os
from pathlib import Path

from compressor.errors import ModelError


def find_model(name: str) -> Path:
    """The directory of "path/to/model", "owner/model" or "owner/model@revision". Nothing is downloaded.

    Raises ModelError, with the command that downloads it.
    """
    if not name.strip():
        raise ModelError("no model is named: give the path of a downloaded model, or its name as owner/model")
    if Path(name).is_dir():
        return Path(os.path.abspath(name))  # errors call a model by its directory's name, which "." has none of
    owner_and_model, _, revision = name.partition("@")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(owner_and_model, revision=revision or None, local_files_only=True))
    except HFValidationError as error:
        raise ModelError(f"there is no model directory {name}; give the path of a downloaded model") from error
    except LocalEntryNotFoundError as error:
        wanted = f"revision {revision} of {owner_and_model}" if revision else owner_and_model
        command = f"hf download {owner_and_model}" + (f" --revision {revision}" if revision else "")
        raise ModelError(f"{wanted} is not on this machine; download it with `{command}`") from error
