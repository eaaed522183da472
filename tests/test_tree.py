"""The tree is what the README says it is, and files stay small enough to read."""

import subprocess
from pathlib import Path

import pytest

from api.cli import app
from workers.settings import PREFIX, Settings

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
PACKAGES = ("api", "workers", "store", "compressor", "bench")


def modules() -> list[str]:
    found = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    return sorted(str(path.relative_to(ROOT)) for path in found)


def test_the_readme_maps_every_module_in_one_line() -> None:
    lines = README.splitlines()
    missing = [name for name in modules() if not any(line.strip().startswith(f"{name} ") for line in lines)]
    assert missing == []


def test_the_readme_maps_nothing_that_is_not_there() -> None:
    named = [line.split()[0] for line in README.splitlines() if line.startswith(tuple(f"{p}/" for p in PACKAGES))]
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_readme_names_every_command_and_setting() -> None:
    commands = [command.name or command.callback.__name__ for command in app.registered_commands]
    assert [name for name in commands if f"percel {name}" not in README] == []
    settings = [f"{PREFIX}{name.upper()}" for name in Settings.model_fields]
    assert [name for name in settings if name not in README] == []


@pytest.mark.parametrize("folder", [*PACKAGES, "tests"])
def test_no_file_is_longer_than_400_lines(folder: str) -> None:
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in (ROOT / folder).rglob("*.py")}
    assert {str(path): length for path, length in lengths.items() if length > 400} == {}


def test_no_committed_file_is_larger_than_30_megabytes() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    paths = [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()]
    assert [str(path) for path in paths if path.stat().st_size > 30_000_000] == []
