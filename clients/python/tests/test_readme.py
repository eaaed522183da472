"""The README's code runs as it stands there."""

from stub import served


def test_the_quick_start_runs(quick_start, stub, monkeypatch, capsys):
    with served(stub) as address:
        monkeypatch.setenv("PERCEL_URL", address)
        monkeypatch.delenv("PERCEL_API_KEY", raising=False)
        exec(quick_start, {})
    assert "41 metres" in capsys.readouterr().out
    assert stub.documents == {}
