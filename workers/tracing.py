"""Owns traces: OpenTelemetry where OTEL_EXPORTER_OTLP_ENDPOINT is set, and nothing that costs time where it is not.

The SDK reads its own variables (OTEL_SERVICE_NAME, OTEL_EXPORTER_OTLP_HEADERS, OTEL_TRACES_SAMPLER ...).
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from workers.errors import SettingsError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import Tracer

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
Attribute = str | int | float | bool

_tracer: "Tracer | None" = None  # one a process, as the trace that a thread is in is a matter of the process


def start_tracing(*, processor: "Callable[[], SpanProcessor] | None" = None) -> bool:
    """Begins to trace if the environment says where to; call it once a process, after any fork. Whether it does.

    Raises SettingsError where the variable is set and the packages are missing. `processor` takes spans elsewhere.
    """
    global _tracer
    if not os.environ.get(ENDPOINT) and processor is None:
        return False
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise SettingsError(
            f"{ENDPOINT} is set, but OpenTelemetry is not installed: pip install '.[otel]' in Percel's folder, or "
            "unset the variable"
        ) from error
    named = os.environ.get("OTEL_SERVICE_NAME", "percel")
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: named}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()) if processor is None else processor())
    _tracer = provider.get_tracer("percel")
    return True


def stop_tracing() -> None:
    """Ends tracing; spans from now on cost nothing. What was recorded is sent by the SDK when the process ends."""
    global _tracer
    _tracer = None


def span(
    name: str, *, carrier: Mapping[str, str] | None = None, **attributes: Attribute | None
) -> AbstractContextManager[None]:
    """A span around the block, within the one it is in or, with `carrier`, the one that HTTP headers name.

    Attributes that are None are left out. An exception ends the span with its type and message.
    """
    return nullcontext() if _tracer is None else _record(_tracer, name, carrier, attributes)


@contextmanager
def _record(
    tracer: "Tracer", name: str, carrier: Mapping[str, str] | None, attributes: Mapping[str, Attribute | None]
) -> Iterator[None]:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    context = None if carrier is None else TraceContextTextMapPropagator().extract(carrier)
    given = {f"percel.{key}": value for key, value in attributes.items() if value is not None}
    with tracer.start_as_current_span(name, context=context, attributes=given):
        yield
