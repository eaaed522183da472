import os
from pathlib import Path

import pytest
from both import make
from stub import Stub

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"  # read when Haystack is imported


@pytest.fixture
def stub():
    return Stub()


@pytest.fixture(params=["sync", "async"])
def percel(request, stub):
    client = make(request.param, stub)
    yield client
    client.close()


@pytest.fixture
def quick_start():
    """The first Python block of the README."""
    readme = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
    return readme.split("```python\n")[1].split("```")[0]
