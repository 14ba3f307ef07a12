"""OpenTelemetry: a span for each enqueue and each call of a handler, the latter linked to the run that it is about.

Only this module imports the library, and only `tracing.py` and the loading of hooks import this module, when it is
switched on. Where spans go, and how many, is set by OpenTelemetry's own variables.
"""

import atexit
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from importlib.metadata import version

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from streamworkers.errors import UsageError
from streamworkers.faults import describe
from streamworkers.hooks import CallEnd, HookCall, HookItem, Hooks
from streamworkers.logger import structlog

SYSTEM = "streamworkers"
END_SECONDS = 2.0
_MOST_FAILURES = 32
_propagator = TraceContextTextMapPropagator()
_lock = threading.Lock()
_ending: "_Ending | None" = None


class _Ending:
    """Ends a provider within a bound: what is left is sent, unless that takes too long.

    Its thread is there from the beginning, because a process that ends starts none.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._is_due, self._is_done = threading.Event(), threading.Event()
        threading.Thread(target=self._end, name="otel-end", daemon=True).start()

    def wait(self) -> None:
        """End the provider, and wait for it at most some seconds."""
        self._is_due.set()
        self._is_done.wait(END_SECONDS)

    def _end(self) -> None:
        self._is_due.wait()
        self._provider.shutdown()
        self._is_done.set()


def start_sdk() -> None:
    """Let this process send spans, once, unless it has set up OpenTelemetry itself.

    Raises UsageError for an exporter that is not known.
    """
    global _ending
    with _lock:
        if _ending is not None or not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
            return
        exporter = _make_exporter(os.environ.get("OTEL_TRACES_EXPORTER", "otlp"))
        provider = TracerProvider(resource=_make_resource(), shutdown_on_exit=False)
        if exporter is not None:
            provider.add_span_processor(BatchSpanProcessor(exporter))
        trace.set_tracer_provider(provider)
        _ending = _Ending(provider)
        atexit.register(end_sdk)


def end_sdk() -> None:
    """Send what is left, within a bound; once is enough."""
    if _ending is not None:
        _ending.wait()


def _make_exporter(name: str) -> SpanExporter | None:
    match name.strip():
        case "otlp":
            return OTLPSpanExporter()
        case "console":
            return ConsoleSpanExporter()
        case "none":
            return None
    raise UsageError(f"OTEL_TRACES_EXPORTER={name!r} is not one of otlp, console, none")


def _make_resource() -> Resource:
    named = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    return Resource.create({} if named else {"service.name": SYSTEM})


def _get_tracer() -> trace.Tracer:
    return trace.get_tracer(SYSTEM, version("streamworkers"))


class _RunSpan:
    """The span of an enqueue."""

    def __init__(self, span: Span, given: str | None) -> None:
        carrier: dict[str, str] = {}
        _propagator.inject(carrier, trace.set_span_in_context(span))
        # Without a span, in a program that has no tracer, the trace that was given is passed on.
        self.traceparent: str | None = carrier.get("traceparent", given)
        self._span = span

    def note(self, run_id: int, queue: str, items: int) -> None:
        """Set which run was made."""
        self._span.update_name(f"enqueue {queue}")
        self._span.set_attributes(
            {
                "streamworkers.run.id": run_id,
                "messaging.destination.name": queue,
                "messaging.batch.message_count": items,
            }
        )


@contextmanager
def open_enqueue_span(job: str, traceparent: str | None, *, starts_sdk: bool) -> Iterator[_RunSpan]:
    """Open the span of an enqueue, below `traceparent` or the current span; without both it begins a trace."""
    if starts_sdk:
        start_sdk()
    parent = _propagator.extract({"traceparent": traceparent}) if traceparent else None
    if parent is not None and not trace.get_current_span(parent).get_span_context().is_valid:
        yield _RunSpan(trace.INVALID_SPAN, traceparent)  # it is rejected where all of them are checked
        return
    attributes = {
        "messaging.system": SYSTEM,
        "messaging.operation.name": "enqueue",
        "messaging.operation.type": "send",
        "streamworkers.job": job,
    }
    # Not the current span: several may be open side by side.
    span = _get_tracer().start_span("enqueue", parent, SpanKind.PRODUCER, attributes)
    try:
        yield _RunSpan(span, traceparent)
    except BaseException as error:
        span.set_status(Status(StatusCode.ERROR, describe(error)))
        span.set_attribute("error.type", type(error).__name__)
        raise
    finally:
        span.end()


class OpenTelemetryHook(Hooks):
    """A span `process` for each call of a handler, with `execute` and each `save` below it.

    It is the current span of the job's own code. It is the root of a trace of its own, with a link to the run's: a run
    has thousands of items, and a trace of all of them could not be read.
    """

    def __init__(self) -> None:
        start_sdk()
        self._tracer = _get_tracer()
        self._open: dict[int, Span] = {}

    def on_start(self, call: HookCall) -> None:
        """Open the span, and let it and its ids be those of the job's code and its log lines."""
        span = self._open[call.number] = self._start(call)
        contexts.attach(trace.set_span_in_context(span))
        if span.is_recording():
            ids = span.get_span_context()
            structlog.contextvars.bind_contextvars(
                trace_id=trace.format_trace_id(ids.trace_id), span_id=trace.format_span_id(ids.span_id)
            )

    def on_failure(self, call: HookCall, items: Sequence[HookItem]) -> None:
        """Add what failed to the span."""
        self._add_failures("item failed", call, items)

    def on_dead(self, call: HookCall, items: Sequence[HookItem]) -> None:
        """Add what is dead to the span."""
        self._add_failures("item dead", call, items)

    def on_end(self, call: HookCall, end: CallEnd) -> None:
        """End the span with its outcome and its phases."""
        span = self._open.pop(call.number, None)
        if span is None:
            return
        if span.is_recording():
            self._add_phases(span, end)
            for name in ("completed", "retried", "dead", "snoozed", "discarded"):
                span.set_attribute(f"streamworkers.items.{name}", getattr(end, name))
            span.set_attribute("streamworkers.outcome", end.outcome)
            if end.dead or end.retried or any(phase.error for phase in end.phases):
                span.set_status(Status(StatusCode.ERROR))
        span.end()

    def close(self) -> None:
        """End what is open, and send what is left, within a bound."""
        for span in self._open.values():
            span.end()
        self._open.clear()
        end_sdk()

    def _start(self, call: HookCall) -> Span:
        attributes: dict[str, str | int] = {
            "messaging.system": SYSTEM,
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": call.queue,
            "messaging.consumer.group.name": "workers",
            "messaging.client.id": call.consumer,
            "messaging.batch.message_count": len(call.items),
            "streamworkers.job": call.job,
            "streamworkers.run.id": call.run_id,
            "streamworkers.attempt": max(item.attempt for item in call.items),
        }
        # An empty context: nothing that was current before becomes its parent.
        span = self._tracer.start_span(
            f"process {call.queue}", contexts.Context(), SpanKind.CONSUMER, attributes, _link(call)
        )
        if span.is_recording():
            span.set_attribute("streamworkers.items", _describe_items(call.items))
        return span

    def _add_failures(self, event: str, call: HookCall, items: Sequence[HookItem]) -> None:
        span = self._open.get(call.number)
        if span is None:
            # The attempt ended with another worker, and so did its span.
            span = self._start(call)
            span.set_attribute("streamworkers.outcome", "lost")
            span.set_status(Status(StatusCode.ERROR, items[0].error))
            self._record(span, event, items)
            span.end()
        else:
            self._record(span, event, items)

    def _record(self, span: Span, event: str, items: Sequence[HookItem]) -> None:
        if span.is_recording():
            for item in items[:_MOST_FAILURES]:
                words: dict[str, str | int] = {
                    "streamworkers.item.key": item.key,
                    "streamworkers.attempt": item.attempt,
                    "exception.message": item.error or "",
                }
                span.add_event(event, words)

    def _add_phases(self, span: Span, end: CallEnd) -> None:
        parent = trace.set_span_in_context(span)
        for phase in end.phases:
            begin = _nanoseconds(phase.started_at)
            child = self._tracer.start_span(phase.name, parent, start_time=begin)
            if phase.error is not None:
                child.set_status(Status(StatusCode.ERROR, phase.error))
                child.set_attribute("error.type", phase.error.partition(":")[0])
            child.end(begin + round(phase.seconds * 1e9))


def _link(call: HookCall) -> list[Link]:
    """Return the link to the span in which the run was made, if it is known."""
    if not call.traceparent:
        return []
    parent = _propagator.extract({"traceparent": call.traceparent})
    ids = trace.get_current_span(parent).get_span_context()
    return [Link(ids, {"streamworkers.run.id": call.run_id})] if ids.is_valid else []


def _describe_items(items: Sequence[HookItem]) -> str:
    """Return the numbers of items in their run, neighbours as a range: `0-49,53`."""
    seqs = sorted(item.seq for item in items)
    parts: list[str] = []
    first = last = seqs[0]
    for seq in [*seqs[1:], -1]:
        if seq != last + 1:
            parts.append(str(first) if first == last else f"{first}-{last}")
            first = seq
        last = seq
    return ",".join(parts)


def _nanoseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1e6) * 1000
