"""Owns what tests about finding start from: readings of gauges, each place's in documents of its own."""

from pathlib import Path

import pytest

from store.models import Document
from tests.workers.test_ingest import ingest, offer
from workers.resources import Resources

PLACES = ("Marlow Weir", "Harbour Gate", "Linnea Quay", "Upper Lock")
QUESTIONS = tuple(f"When was the gauge at {place} read?" for place in PLACES)


def text_of(place: str, number: int) -> str:
    return f"The gauge at {place} was read on {number + 1} May 2024. The water stood at {number}.25 metres."


@pytest.fixture
def documents(resources: Resources, tmp_path: Path) -> dict[str, Document]:
    """Each place in documents of its own, one chunk and a passage or two each."""
    names = [(place, number) for place in PLACES for number in range(4)]
    return ingest(resources, *(offer(tmp_path, f"{place} {n}.txt", text_of(place, n)) for place, n in names))
