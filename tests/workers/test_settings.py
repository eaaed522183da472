"""Settings come from PERCEL_* once; a bad value stops the start with its name."""

from pathlib import Path

import pytest

from workers.errors import SettingsError
from workers.settings import load_settings, misspelt


def bare_model(folder: Path, model_type: str) -> Path:
    """What the settings look at of a model's directory."""
    model = folder / "tiny"
    model.mkdir()
    (model / "config.json").write_text(f'{{"model_type": "{model_type}"}}')
    (model / "model.safetensors").write_bytes(b"")
    return model


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


def test_a_name_that_is_nearly_a_settings_is_warned_of(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PERCEL_DECODR", "extractive")
    assert load_settings().decoder == "extractive"
    (told,) = caplog.messages
    assert told == "PERCEL_DECODR is no setting and has no effect: is PERCEL_DECODER meant?"


def test_variables_of_others_are_not_warned_of() -> None:
    """Of the client, the compose file, the tests, and of Kubernetes beside a service called percel."""
    others = (
        "PERCEL_URL PERCEL_API_KEY PERCEL_IMAGE PERCEL_PUBLISH PERCEL_SERVICE_HOST PERCEL_SERVICE_PORT "
        "PERCEL_PORT_80_TCP PERCEL_PORT_80_TCP_ADDR PERCEL_TEST_BROWSER PERCEL_TEST_FAULTS PERCEL_TEST_KEY "
        "PERCEL_TEST_SERVERS PERCEL_TEST_URL DECODR percel_decoder"
    )
    assert misspelt(others.split()) == []


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


@pytest.mark.parametrize(
    ("model_type", "scales", "message"),
    [
        ("qwen3_vl", "0.5,1", "a smaller size of pages is 0.1 or more of the full one and below 1, not 1"),
        ("qwen3_vl", "0.01", "a smaller size of pages is 0.1 or more of the full one and below 1, not 0.01"),
        ("qwen3_vl", "nan", "a smaller size of pages is 0.1 or more of the full one and below 1, not nan"),
        ("qwen3_vl", "half", "input should be a valid number, unable to parse string as a number"),
        ("janus", "0.5", "pages take Janus as many tokens in every size: keep hf:"),
    ],
)
def test_sizes_that_pages_cannot_have_are_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch, model_type: str, scales: str, message: str
) -> None:
    monkeypatch.setenv("PERCEL_PAGE_CODECS", f"hf:{bare_model(home.parent, model_type)}")
    monkeypatch.setenv("PERCEL_PAGE_SCALES", scales)
    with pytest.raises(SettingsError) as raised:
        load_settings()
    assert str(raised.value).startswith(f"bad settings: PERCEL_PAGE_SCALES: {message}")


def test_sizes_of_pages_go_from_large_to_small(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().page_scales == ()
    monkeypatch.setenv("PERCEL_PAGE_SCALES", " 0.25, 0.5,0.25")
    assert load_settings().page_scales == (0.5, 0.25)


def test_page_codecs_are_a_list_without_repeats(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = bare_model(home.parent, "qwen3_vl")
    assert load_settings().page_codecs == ()
    monkeypatch.setenv("PERCEL_PAGE_CODECS", f" hf:{model},hf:{model}, ")
    assert load_settings().page_codecs == (f"hf:{model}",)
    assert load_settings({"decoder": f"hf:{model}"}).decoder == f"hf:{model}"


def test_a_key_is_sent_as_it_is_meant_and_never_shown(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERCEL_OPENAI_KEY", "sk-sesame\n")
    assert load_settings().openai_key.get_secret_value() == "sk-sesame"
    monkeypatch.setenv("PERCEL_OPENAI_KEY", "sk-s\u00e9same")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert str(caught.value) == "bad settings: PERCEL_OPENAI_KEY: a bearer token is printable ASCII without spaces"
