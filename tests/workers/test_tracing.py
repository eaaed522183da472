"""Every stage of a job and every question is a span, where traces are wanted; elsewhere nothing happens."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from api.answer import ask
from api.search import search
from workers.errors import SettingsError
from workers.ingest import Offer, accept
from workers.resources import Resources
from workers.runner import run_due_jobs
from workers.tracing import ENDPOINT, span, start_tracing, stop_tracing


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    start_tracing(processor=lambda: SimpleSpanProcessor(exporter))
    yield exporter
    stop_tracing()


def parent_of(found: ReadableSpan, spans: tuple[ReadableSpan, ...]) -> str | None:
    return next((s.name for s in spans if found.parent and s.context.span_id == found.parent.span_id), None)


def test_stages_are_spans_within_their_job_and_steps_within_their_question(
    resources: Resources, tmp_path: Path, exporter: InMemorySpanExporter
) -> None:
    (tmp_path / "a.txt").write_text("The gauge at Marlow Weir stood at 2.417 m at 06:00. " * 20)
    accept(resources, "default", "default", Offer(tmp_path / "a.txt", "a.txt"))
    run_due_jobs(resources)
    ask(resources, "default", "How high did the gauge at Marlow Weir stand?")
    search(resources, "default", "gauge")
    spans = exporter.get_finished_spans()
    parents = {span.name: parent_of(span, spans) for span in spans}
    assert parents["percel.parse"] == "percel.job.parse"
    assert parents["percel.render, encode and verify"] == parents["percel.publish"] == "percel.job.encode"
    assert parents["percel.load"] == "percel.answer"
    assert parents["percel.answer"] is None
    (parse,) = [span for span in spans if span.name == "percel.job.parse"]
    assert dict(parse.attributes or {})["percel.jobs"] == 1


def test_a_span_goes_on_the_trace_of_its_caller(exporter: InMemorySpanExporter) -> None:
    caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with span("GET /v1/documents", carrier={"traceparent": caller}, status=200, tenant=None):
        pass
    (found,) = exporter.get_finished_spans()
    assert f"{found.context.trace_id:032x}" == caller.split("-")[1]
    assert dict(found.attributes or {}) == {"percel.status": 200}


def test_an_exception_is_recorded_and_passes(exporter: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError, match="odd"), span("percel.parse"):
        raise ValueError("odd")
    (found,) = exporter.get_finished_spans()
    assert not found.status.is_ok
    assert found.events[0].name == "exception"


def test_nothing_is_traced_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENDPOINT, raising=False)
    assert not start_tracing()
    with span("percel.parse"):
        pass


def test_an_endpoint_without_the_packages_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:4318")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(
        SettingsError, match=r"OpenTelemetry is not installed: pip install '\.\[otel\]' in Percel's folder"
    ):
        start_tracing()
