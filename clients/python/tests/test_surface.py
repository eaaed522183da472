"""The public surface is what it says, the twins are twins, and files stay small."""

import inspect
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import percel_client
from percel_client import AsyncPercel, Percel, errors

ROOT = Path(__file__).parents[1]


def test_all_lists_exactly_what_is_public():
    public = [name for name, value in vars(percel_client).items() if name[0] != "_" and not _is_module(value)]
    assert sorted(public) == sorted(percel_client.__all__)


def test_both_clients_have_the_same_methods_with_the_same_parameters():
    blocking, other = _methods(Percel), _methods(AsyncPercel)
    assert blocking == other
    assert "upload_and_wait" in blocking


def test_every_method_says_what_it_does():
    silent = [name for name in _methods(Percel) if not getattr(Percel, name).__doc__]
    assert silent == []


def test_the_error_tree_in_the_docstring_is_the_tree():
    drawn = [line.split("── ")[1].split()[0] for line in errors.__doc__.splitlines() if "── " in line]
    real = [name for name, value in vars(errors).items() if inspect.isclass(value) and name != "PercelError"]
    assert drawn == [name for name in real if issubclass(getattr(errors, name), errors.PercelError)]


@pytest.mark.parametrize("module", ["langchain", "llama_index", "haystack"])
def test_a_missing_framework_says_what_to_install(module):
    code = f"""
import sys
for name in ("langchain_core", "llama_index", "haystack"):
    sys.modules[name] = None
import percel_client.{module}
"""
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    assert f"pip install 'percel-client[{module.replace('_', '-')}]'" in run.stderr


def test_no_file_is_longer_than_400_lines():
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in ROOT.glob("[pt]*/*.py")}
    assert {str(path): length for path, length in lengths.items() if length > 400} == {}


def _is_module(value: object) -> bool:
    return isinstance(value, ModuleType)


def _methods(client: type) -> dict[str, list[tuple[str, object, object]]]:
    return {
        name: [(p.name, p.kind, p.default) for p in inspect.signature(method).parameters.values()]
        for name, method in vars(client).items()
        if inspect.isfunction(method) and not name.startswith("_")
    }
