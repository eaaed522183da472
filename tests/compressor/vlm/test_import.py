"""Importing the package stays quick: transformers takes seconds, and loads when a model does."""

import subprocess
import sys
from pathlib import Path

import compressor.vlm

HEAVY = ("transformers", "huggingface_hub", "torchvision")


def test_no_module_brings_transformers_along() -> None:
    names = [f"compressor.vlm.{path.stem}" for path in Path(compressor.vlm.__path__[0]).glob("[a-z]*.py")]
    assert "compressor.vlm.decode" in names
    code = f"import sys, {', '.join(names)}; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
