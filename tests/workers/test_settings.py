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
        SettingsError, match=r"PERCEL_CODEC: input should be 'auto', 'native-10'.*PERCEL_MAX_FILE_BYTES: "
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


def test_a_page_codec_or_decoder_that_is_none_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = home.parent / "bare"
    bare.mkdir()
    (bare / "config.json").write_text('{"model_type": "qwen3_vl"}')
    monkeypatch.setenv("PERCEL_PAGE_CODECS", f"hf:{bare}, native-20")
    monkeypatch.setenv("PERCEL_DECODER", "oracle")
    with pytest.raises(SettingsError) as raised:
        load_settings()
    assert "PERCEL_PAGE_CODECS: there are no weights in bare: it holds no .safetensors file" in str(raised.value)
    assert "PERCEL_DECODER: there is no decoder 'oracle'; choose one of: extractive, hf:<model>, openai:<url>" in str(
        raised.value
    )


def test_page_codecs_are_a_list_without_repeats(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = home.parent / "tiny"
    model.mkdir()
    (model / "config.json").write_text('{"model_type": "qwen3_vl"}')
    (model / "model.safetensors").write_bytes(b"")
    assert load_settings().page_codecs == ()
    monkeypatch.setenv("PERCEL_PAGE_CODECS", f" hf:{model},hf:{model}, ")
    assert load_settings().page_codecs == (f"hf:{model}",)
    assert load_settings({"decoder": f"hf:{model}"}).decoder == f"hf:{model}"
