"""Importing the package stays quick: transformers takes seconds, and loads when a model does."""

import subprocess
import sys
from pathlib import Path

import compressor.vlm

HEAVY = ("transformers", "huggingface_hub", "torchvision")
BUILT_ON_IT = {"room"}  # holds a class made of one of transformers': imported when a model has been loaded


def test_no_module_brings_transformers_along() -> None:
    stems = {path.stem for path in Path(compressor.vlm.__path__[0]).glob("[a-z]*.py")}
    assert stems >= BUILT_ON_IT
    names = [f"compressor.vlm.{stem}" for stem in sorted(stems - BUILT_ON_IT)]
    assert "compressor.vlm.decode" in names
    code = f"import sys, {', '.join(names)}; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
