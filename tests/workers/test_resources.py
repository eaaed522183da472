"""What a process holds open, and for how long."""

from pathlib import Path

from store import catalog
from store.database import reading
from tests.workers.test_ingest import STORY, offer
from workers.ingest import accept
from workers.resources import Resources
from workers.runner import run_due_jobs
from workers.settings import Settings


def test_indexes_that_were_asked_for_longest_ago_are_closed_and_open_again(home: Path, tmp_path: Path) -> None:
    with Resources(Settings(home=home)) as resources:
        for name in "abc":
            accept(resources, "default", name, offer(tmp_path, f"{name}.txt", f"{STORY} {name}"))
        run_due_jobs(resources)
        with reading(resources.engine) as session:
            homes = [home.id for home in catalog.list_collections(session, "default")]
        query = resources.embedder.embed(["the gauge"])[0]
        assert resources.index(homes[0]).search(query, 1)
        held = resources.index(homes[0]).held_bytes()
    assert held > 0
    with Resources(Settings(home=home, index_bytes=2 * held)) as resources:
        found = {key: resources.index(key).search(query, 1) for key in homes}
        assert all(found.values())
        resources.index(homes[0])
        order = (homes[1], homes[2], homes[0])
        assert resources.open_indexes() == [index for key in order for index in resources.indexes(key).every]
    with Resources(Settings(home=home, index_bytes=1)) as resources:
        for key in homes:
            assert resources.index(key).search(query, 1) == found[key]
            assert resources.open_indexes() == resources.indexes(key).every
        assert resources.open_indexes() == resources.indexes(homes[2]).every
        resources.close_index(homes[2])
        assert resources.open_indexes() == []
