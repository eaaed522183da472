"""Settings come from PERCEL_* once; a bad value stops the start with its name."""

from pathlib import Path

import pytest

from workers.errors import SettingsError
from workers.settings import load_settings


def test_the_defaults_are_the_embedded_set_up(home: Path) -> None:
    settings = load_settings()
    assert settings.codec == "auto"
    assert settings.database == f"sqlite:///{home}/percel.db"


def test_a_bad_value_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERCEL_MAX_FILE_BYTES", "lots")
    monkeypatch.setenv("PERCEL_CODEC", "jpeg")
    with pytest.raises(
        SettingsError, match=r"PERCEL_CODEC: input should be 'native-10' or 'native-20'.*PERCEL_MAX_FILE_BYTES: "
    ):
        load_settings()


def test_the_command_line_goes_before_the_environment(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERCEL_CODEC", "native-20")
    assert load_settings({"codec": "native-10"}).codec == "native-10"


def test_settings_do_not_change(home: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().codec = "native-10"


def test_pgvector_needs_postgresql(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERCEL_VECTORS", "pgvector")
    with pytest.raises(SettingsError, match=r"PERCEL_VECTORS: .*set PERCEL_DATABASE_URL=postgresql://\.\.\. as well"):
        load_settings()
    monkeypatch.setenv("PERCEL_DATABASE_URL", "postgres://somewhere/percel")
    assert load_settings().vectors == "pgvector"
