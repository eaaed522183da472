"""Metrics say what the rows say when they are asked, and how long this process takes."""

import os
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from store import catalog
from store.database import transaction
from store.models import JobKind
from workers.errors import SettingsError
from workers.exposition import serve_metrics
from workers.ingest import Offer, accept
from workers.metrics import StoreCollector, build_registry, count_requests, render
from workers.resources import Resources
from workers.runner import run_due_jobs
from workers.settings import Settings

STORY = "The gauge at Marlow Weir was read at 06:00. It stood at 2.417 m, serial GX-20418. " * 12


def offer(folder: Path, name: str, text: str) -> Offer:
    (folder / name).write_text(text)
    return Offer(folder / name, name)


def samples(text: bytes) -> dict[str, float]:
    """Sample name with its labels -> value."""
    return {
        sample.name + "".join(f" {key}={value}" for key, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_what_is_due_is_counted_by_kind_and_state(resources: Resources, tmp_path: Path) -> None:
    registry = build_registry(resources)
    accept(resources, "default", "test", offer(tmp_path, "a.txt", STORY))
    accept(resources, "acme", "test", offer(tmp_path, "b.txt", STORY))
    with transaction(resources.engine) as session:
        (job,) = catalog.claim_jobs(session, [JobKind.PARSE], owner="w", lease_seconds=60, limit=1)
        job.updated_at -= 100
    with transaction(resources.engine) as session:
        catalog.add_webhook(session, "acme", url="https://example.org")
        for home in catalog.list_collections(session, "acme"):
            for document in catalog.list_documents(session, home.id):
                catalog.fail_document(session, document.id, "no")
    found = samples(render(registry))
    assert found["percel_store_up"] == 1
    assert found["percel_documents state=queued tenant=default"] == 1
    assert found["percel_documents state=failed tenant=acme"] == 1
    assert found["percel_deliveries state=queued"] == 1
    assert sum(value for name, value in found.items() if name.startswith("percel_jobs ")) == 2


def test_the_oldest_due_job_has_an_age(resources: Resources, tmp_path: Path) -> None:
    accepted = accept(resources, "default", "test", offer(tmp_path, "a.txt", STORY))
    assert accepted.job is not None
    with resources.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE job SET updated_at = updated_at - 100, not_before = 0")
    assert 100 <= samples(render(build_registry(resources)))["percel_oldest_due_job_seconds"] < 160


def test_a_queue_that_is_worked_through_has_not_stalled(resources: Resources, tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        accept(resources, "default", "test", offer(tmp_path, name, f"{STORY} {name}"))
    with resources.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE job SET updated_at = updated_at - 1000, not_before = 0")
    found = samples(render(build_registry(resources)))
    assert 1000 <= found["percel_queue_stalled_seconds"] < 1060
    with transaction(resources.engine) as session:
        assert catalog.claim_jobs(session, [JobKind.PARSE], owner="w", lease_seconds=60, limit=1)
    found = samples(render(build_registry(resources)))
    assert found["percel_queue_stalled_seconds"] < 60
    assert found["percel_oldest_due_job_seconds"] >= 1000


def test_stages_are_timed_and_what_is_stored_is_summed_by_tenant(resources: Resources, tmp_path: Path) -> None:
    registry = build_registry(resources)
    accept(resources, "default", "test", offer(tmp_path, "a.txt", STORY))
    run_due_jobs(resources)
    found = samples(render(registry))
    assert found["percel_stage_seconds_count stage=parse"] == 1
    assert found["percel_stage_seconds_count stage=render, encode and verify"] == 1
    assert found["percel_chunks state=ready tenant=default"] == 1
    (codec,) = {f"codec={codec.fingerprint} tenant=default" for codec in resources.codecs} & {
        name.removeprefix("percel_vision_tokens ") for name in found
    }
    vision, text = found[f"percel_vision_tokens {codec}"], found["percel_text_tokens state=ready tenant=default"]
    assert found[f"percel_compression_ratio {codec}"] == pytest.approx(text / vision)
    assert found[f"percel_cache_bytes {codec}"] > 0


def test_searches_and_answers_are_timed_apart_from_stages(resources: Resources) -> None:
    registry = build_registry(resources)
    for step in ("search", "answer", "parse"):
        with resources.timings.step(step):
            pass
    found = samples(render(registry))
    assert found["percel_search_seconds_count"] == found["percel_answer_seconds_count"] == 1
    assert [name for name in found if name.startswith("percel_stage_seconds_count")] == [
        "percel_stage_seconds_count stage=parse"
    ]


def test_requests_are_counted_by_route_method_and_status(resources: Resources) -> None:
    registry = build_registry(resources)
    count = count_requests(registry)
    count("/v1/documents/{document_id}", "GET", 200)
    count("/v1/documents/{document_id}", "GET", 200)
    name = "percel_http_requests_total method=GET route=/v1/documents/{document_id} status=200"
    assert samples(render(registry))[name] == 2


def test_every_app_has_a_registry_of_its_own(resources: Resources, tmp_path: Path) -> None:
    with Resources(Settings(home=tmp_path / "other")) as other:
        first, second = build_registry(resources), build_registry(other)
        with other.timings.step("parse"):
            pass
        assert "percel_stage_seconds_count stage=parse" not in samples(render(first))
        assert samples(render(second))["percel_stage_seconds_count stage=parse"] == 1


def test_a_store_that_is_away_is_a_metric_and_no_error(resources: Resources) -> None:
    registry = build_registry(resources)
    resources.engine.dispose()
    (resources.settings.home / "percel.db").write_bytes(b"no database" * 1000)
    found = samples(render(registry))
    assert found["percel_store_up"] == 0
    assert not any(name.startswith("percel_documents") for name in found)


@pytest.mark.parametrize(("keep_seconds", "seen"), [(3600, 0), (0, 1)])
def test_sums_over_all_documents_and_caches_are_kept_for_a_while(
    resources: Resources, tmp_path: Path, keep_seconds: float, seen: int
) -> None:
    collector = StoreCollector(resources, keep_seconds=keep_seconds)
    list(collector.collect())
    accept(resources, "default", "test", offer(tmp_path, "a.txt", STORY))
    run_due_jobs(resources)
    kept = {family.name: len(family.samples) for family in collector.collect()}
    assert (kept["percel_vision_tokens"], kept["percel_documents"], kept["percel_jobs"]) == (seen, seen, 3)


WORKER = """
import os
from urllib.request import urlopen
from workers.exposition import serve_metrics, share_timings
from workers.timing import Timings

with serve_metrics(0) as port:
    for _ in range(2):
        child = os.fork()
        if not child:
            timings = Timings()
            share_timings(timings)
            with timings.step("parse"):
                pass
            os._exit(0)
        os.waitpid(child, 0)
    print(urlopen(f"http://127.0.0.1:{port}/metrics").read().decode())
"""


def test_a_worker_serves_the_sums_of_its_children() -> None:
    ran = subprocess.run([sys.executable, "-c", WORKER], capture_output=True, check=True, env=dict(os.environ))
    assert samples(ran.stdout)["percel_stage_seconds_count stage=parse"] == 2


def test_a_port_that_is_taken_is_one_error() -> None:
    with serve_metrics(0) as port:
        assert urlopen(f"http://127.0.0.1:{port}/metrics").status == 200
        with (
            pytest.raises(SettingsError, match=f"metrics cannot be served at 127.0.0.1:{port}: Address already in use"),
            serve_metrics(port),
        ):
            pass
