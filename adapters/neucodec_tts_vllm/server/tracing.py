"""OpenTelemetry spans of requests, where vLLM's tracing is on (``--otlp-traces-endpoint``).

    speech                 a request, from its arrival to its last sound; child of the client's span, if it names one
    ├── speech.first_sound   until the first sound
    ├── speech.generate      a sentence's codes
    │   └── llm_request        vLLM's own span
    └── speech.decode        a sentence's sound

Spans hold numbers, and neither texts nor names.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer


class RequestTrace:
    """The spans of one request. Without a tracer it makes none.

    Args:
        tracer: of OpenTelemetry; None where tracing is off.
        headers: of the request; W3C's ``traceparent`` among them names the client's span.
    """

    def __init__(self, tracer: Tracer | None = None, headers: Mapping[str, str] | None = None) -> None:
        self._tracer = tracer
        self._started = time.time_ns()
        self._span: Span | None = None
        if tracer is not None:
            from opentelemetry.trace import SpanKind
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

            caller = TraceContextTextMapPropagator().extract(headers or {})
            self._span = tracer.start_span("speech", caller, SpanKind.SERVER, start_time=self._started)

    @contextmanager
    def span(self, name: str) -> Iterator[dict[str, str] | None]:
        """Time a part of the work; gives the headers by which vLLM finds the span, or None where tracing is off."""
        if self._tracer is None or self._span is None:
            yield None
            return
        from opentelemetry.trace import Status, StatusCode, set_span_in_context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        part = self._tracer.start_span(name, set_span_in_context(self._span))
        headers: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(headers, set_span_in_context(part))
        try:
            yield headers
        except Exception as error:  # its message may quote the text
            part.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise
        finally:
            part.end()

    def end(self, outcome: str, first_audio: float | None, figures: Mapping[str, float]) -> None:
        """End the request's span.

        Args:
            outcome: ``"completed"``, ``"failed"`` or ``"abandoned"``.
            first_audio: seconds since the first sound; None if there was none.
            figures: attributes of the span.
        """
        if self._tracer is None or self._span is None:
            return
        from opentelemetry.trace import Status, StatusCode, set_span_in_context

        if first_audio is not None:
            parent = set_span_in_context(self._span)
            first = self._tracer.start_span("speech.first_sound", parent, start_time=self._started)
            first.end(time.time_ns() - int(first_audio * 1e9))
        self._span.set_attributes({"speech.outcome": outcome, **figures})
        if outcome == "failed":
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()


async def tracer_of(engine: Any) -> Tracer | None:
    """The tracer for speech, if tracing is on in a vLLM ``EngineClient``: its spans go where vLLM's go."""
    if not await engine.is_tracing_enabled():
        return None
    from opentelemetry.trace import get_tracer

    return get_tracer("neucodec_tts")
