"""A model is found by path or by name, and never fetched."""

from pathlib import Path

import pytest

from compressor.errors import ModelError
from compressor.vlm.find import find_model

REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of downloaded models with one model in it, as huggingface_hub keeps them."""
    model = tmp_path / "models--owner--model"
    (model / "snapshots" / REVISION).mkdir(parents=True)
    (model / "snapshots" / REVISION / "config.json").write_text("{}")
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text(REVISION)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def test_a_directory_is_its_own_place(tmp_path: Path) -> None:
    assert find_model(str(tmp_path)) == tmp_path


@pytest.mark.parametrize("name", ["owner/model", "owner/model@main", f"owner/model@{REVISION}"])
def test_a_downloaded_model_is_found_by_name(downloads: Path, name: str) -> None:
    assert find_model(name) == downloads / "models--owner--model" / "snapshots" / REVISION


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("owner/other", "owner/other is not on this machine; download it with `hf download owner/other`"),
        (
            "owner/model@v2",
            "revision v2 of owner/model is not on this machine; "
            "download it with `hf download owner/model --revision v2`",
        ),
        ("no/such/directory", "there is no model directory no/such/directory; give the path of a downloaded model"),
    ],
)
@pytest.mark.usefixtures("downloads")
def test_a_model_that_is_not_there_is_not_fetched(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        find_model(name)


@pytest.mark.parametrize("name", ["", " "])
def test_no_name_is_no_model(name: str) -> None:
    with pytest.raises(
        ModelError, match=r"^no model is named: give the path of a downloaded model, or its name as owner"
    ):
        find_model(name)


def test_a_model_in_the_folder_at_hand_has_that_folders_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_model(".") == tmp_path
    assert find_model(".").name == tmp_path.name
