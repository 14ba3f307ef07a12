"""Traces of the ways in: a span `enqueue` for each run that is made, in the caller's trace.

Off, it costs a comparison, and nothing of OpenTelemetry is imported. Commands and services switch it on by their
settings; a program with the client, by the same environment variable.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import Protocol

from streamworkers.errors import UsageError

VARIABLE = "STREAMWORKERS_OTEL"
_TRUE = ("1", "true", "t", "yes", "y", "on")
_is_on = False
_starts_sdk = False


class EnqueueSpan(Protocol):
    """What is traced of an enqueue; `traceparent` is kept with the run, for the spans of its calls."""

    traceparent: str | None

    def note(self, run_id: int, queue: str, items: int) -> None:
        """Note which run was made."""


class _Untraced:
    """No span; what the caller has given is kept."""

    def __init__(self, traceparent: str | None) -> None:
        self.traceparent = traceparent

    def note(self, run_id: int, queue: str, items: int) -> None:
        """Do nothing: there is no span to note it in."""


def switch_on() -> None:
    """Trace what this process enqueues, and send it to where the variables of OpenTelemetry say.

    Raises UsageError if the extra is not installed. Nothing is imported or started before the first run is made.
    """
    global _is_on, _starts_sdk
    require_extra()
    _is_on = _starts_sdk = True


def switch_on_by_environment() -> None:
    """Trace what this process enqueues, if its environment says so, by the tracer that it has set up itself."""
    global _is_on
    if not _is_on and os.environ.get(VARIABLE, "").strip().lower() in _TRUE:
        require_extra()
        _is_on = True


def require_extra() -> None:
    """Raise UsageError if OpenTelemetry is not installed."""
    # Of a module in a package that is missing, find_spec raises an error.
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.sdk") is None:
        raise UsageError(f"{VARIABLE} needs the extra otel: pip install 'streamworkers[otel]'")


@contextmanager
def trace_enqueue(job: str, traceparent: str | None = None) -> Iterator[EnqueueSpan]:
    """Trace the block that makes a run of a job, below `traceparent`, if there is one, else the current span."""
    if not _is_on:
        yield _Untraced(traceparent)
        return
    from streamworkers.otel import open_enqueue_span

    with open_enqueue_span(job, traceparent, starts_sdk=_starts_sdk) as span:
        yield span


@contextmanager
def trace_enqueues(requests: Sequence[tuple[str, str | None]]) -> Iterator[list[str | None]]:
    """Trace the block that makes runs, each of a job with a parent or none, each in a span of its own."""
    with ExitStack() as stack:
        if not _is_on:
            yield [traceparent for _, traceparent in requests]
            return
        yield [stack.enter_context(trace_enqueue(*each)).traceparent for each in requests]


def is_on() -> bool:
    """True if what this process enqueues is traced."""
    return _is_on
