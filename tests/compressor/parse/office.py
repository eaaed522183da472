"""Owns how a test's office document is brought before the parser."""

import io

from compressor.limits import Limits
from compressor.parse import parse


def saved(document) -> bytes:
    data = io.BytesIO()
    document.save(data)
    return data.getvalue()


def parsed_as(name: str, tmp_path, document):
    path = tmp_path / "blob"
    path.write_bytes(saved(document))
    return parse(path, name=name, limits=Limits())
