"""Traces (OpenTelemetry), where an operator asks for them: a span a step, with names and counts, never a value of a
record, nor the words of an error, which may quote one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from flowrun.errors import ProjectError

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
Fact = str | int | float | bool


class Span:
    """of: the library's span; None while nobody traces."""

    def __init__(self, of: Any = None) -> None:
        self._of = of

    def say(self, **facts: Fact) -> None:
        if self._of is not None:
            self._of.set_attributes(_named(facts))


_SILENT = Span()
_OFF: AbstractContextManager[Span] = nullcontext(_SILENT)
_provider: Any = None
_tracer: Any = None


def begin(exporter: Any = None) -> bool:
    """Send spans to the address in ``OTEL_EXPORTER_OTLP_ENDPOINT``, by OTLP over HTTP; without it there are none, and a
    step costs nothing. exporter: in its place (tests). Raises ProjectError where the library is not installed."""
    global _provider, _tracer
    if exporter is None and not os.environ.get(ENDPOINT):
        return False
    try:  # an extra
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise ProjectError(f"{ENDPOINT} is set, and OpenTelemetry is not installed",
                           help="pip install 'flowrun[otel]'") from None  # fmt: skip
    name = os.environ.get("OTEL_SERVICE_NAME") or "flowrun"
    _provider = TracerProvider(resource=Resource.create({"service.name": name}))
    _provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter()))
    _tracer = _provider.get_tracer("flowrun")
    return True


def end() -> None:
    """What is held is sent."""
    global _provider, _tracer
    if _provider is not None:
        _provider.shutdown()
    _provider = _tracer = None


def span(name: str, **facts: Fact) -> AbstractContextManager[Span]:
    """A step, inside the one that is on in this thread or task."""
    return _OFF if _tracer is None else _on(name, facts)


@contextmanager
def _on(name: str, facts: Mapping[str, Fact]) -> Iterator[Span]:
    from opentelemetry.trace import Status, StatusCode

    with _tracer.start_as_current_span(
        name, attributes=_named(facts), record_exception=False, set_status_on_exception=False
    ) as found:
        try:
            yield Span(found)
        except BaseException as error:
            found.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise


def _named(facts: Mapping[str, Fact]) -> dict[str, Fact]:
    return {f"flowrun.{name}": value for name, value in facts.items()}
