"""Spans of a pool as a collector gets them: over HTTP, from real workers, commands and clients."""

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from harness import install_hooks, items_of, running_supervisor, start_run, wait_for_end, wait_until
from patience import patient
from streamworkers import tracing
from streamworkers.database import Connection
from streamworkers.engine.ledger.job_types import record_job_types
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.engine.services.job_types import list_job_types
from telemetry_servers import Telemetry, attributes_of, dead_url, silent_server, telemetry_server

_TRACE, _PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
_GIVEN = f"00-{_TRACE}-{_PARENT}-01"
_LIBRARIES = "any(name.partition('.')[0] == 'opentelemetry' or name == 'streamworkers.otel' for name in sys.modules)"


@pytest.fixture
def collector() -> Iterator[Telemetry]:
    """A collector."""
    with telemetry_server() as server:
        yield server


def _traced(environment: dict[str, str], url: str) -> dict[str, str]:
    delays = {"OTEL_BSP_SCHEDULE_DELAY": "100", "OTEL_BSP_MAX_QUEUE_SIZE": "16384"}
    delays["STREAMWORKERS_HOOK_SECONDS"] = f"{min(60.0, patient(5)):g}"
    return {**environment, "STREAMWORKERS_OTEL": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": url, **delays}


def _seqs(span: Span) -> list[int]:
    found: list[int] = []
    for part in attributes_of(span)["streamworkers.items"].split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def test_each_item_is_in_one_span_of_each_attempt_and_each_span_links_to_its_run(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    quick_environment: dict[str, str],
    collector: Telemetry,
    tmp_path: Path,
) -> None:
    symbols = [f"S{number}" for number in range(200)]
    runs = [
        start_run(connection, streams, registry, job, *symbols, traceparent=_GIVEN) for job in ("ledger_entry", "flaky")
    ]
    environment = _traced(quick_environment, collector.url)
    with running_supervisor(environment, tmp_path, "--processes", "2", "--queue", "tests") as supervisor:
        for run in runs:
            assert wait_for_end(connection, run, 120) == "COMPLETED"
        assert supervisor.stop() == 0
    spans = collector.named("process")
    executed = Counter(
        (attributes_of(span)["streamworkers.run.id"], seq, attributes_of(span)["streamworkers.attempt"])
        for span in spans
        for seq in _seqs(span)
    )
    one, two = (run.id for run in runs)
    expected = [(one, 1), (two, 1), (two, 2)]
    assert executed == {(run, seq, attempt): 1 for run, attempt in expected for seq in range(200)}
    assert sum(attributes_of(span)["messaging.batch.message_count"] for span in spans) == len(executed)
    assert {(link.trace_id.hex(), link.span_id.hex()) for span in spans for link in span.links} == {(_TRACE, _PARENT)}
    assert {len(span.links) for span in spans} == {1}
    ids = {span.span_id for span in spans}
    children = [span for span in collector.spans if span.span_id not in ids]
    assert {(span.name, span.parent_span_id in ids) for span in children} == {("execute", True), ("save", True)}
    assert {span.parent_span_id for span in spans} == {b""}
    assert {resource["service.name"] for resource in collector.resources} == {"streamworkers"}


def test_the_span_of_a_call_says_what_it_was_and_how_it_ended(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    quick_environment: dict[str, str],
    collector: Telemetry,
    tmp_path: Path,
) -> None:
    run = start_run(connection, streams, registry, "misbehaving", "A", "PERMANENT", "LOGS")
    environment = {**_traced(quick_environment, collector.url), "OTEL_SERVICE_NAME": "night"}
    with running_supervisor(environment, tmp_path, "--processes", "1", "--queue", "tests") as supervisor:
        assert wait_for_end(connection, run) == "COMPLETED_WITH_ERRORS"
        # A killed worker takes with it what it has not exported.
        wait_until(lambda: len(collector.named("process")) == 4, 30, "the spans of the run are exported")
        killed = start_run(connection, streams, registry, "misbehaving", "SIGKILL", max_attempts=1)
        assert wait_for_end(connection, killed) == "FAILED"
        assert supervisor.stop() == 0
    spans = [span for span in collector.named("process") if attributes_of(span)["streamworkers.run.id"] == run.id]
    outcomes = Counter(attributes_of(span)["streamworkers.outcome"] for span in spans)
    assert outcomes == {"split": 1, "decided": 3}
    (dead,) = [span for span in spans if attributes_of(span).get("streamworkers.items.dead") == 1]
    found = attributes_of(dead)
    assert found["messaging.system"] == "streamworkers"
    assert (found["messaging.destination.name"], found["messaging.operation.name"]) == ("tests", "process")
    assert (found["messaging.batch.message_count"], found["streamworkers.attempt"]) == (1, 1)
    assert (dead.name, dead.kind, dead.status.code) == (
        "process tests",
        Span.SPAN_KIND_CONSUMER,
        Status.STATUS_CODE_ERROR,
    )
    (event,) = dead.events
    assert (event.name, attributes_of(event)["streamworkers.item.key"]) == ("item dead", "PERMANENT")
    assert attributes_of(event)["exception.message"] == "PermanentError: no such thing"
    (lost,) = [span for span in collector.spans if attributes_of(span).get("streamworkers.outcome") == "lost"]
    assert (attributes_of(lost)["streamworkers.run.id"], lost.status.message) == (killed.id, "killed by signal 9")
    assert {resource["service.name"] for resource in collector.resources} == {"night"}
    # What the job logs is found by its trace, and the trace by what it logs.
    lines = [line for line in supervisor.events("by structlog") if line["run"] == run.id]
    traces = {(span.trace_id.hex(), span.span_id.hex()) for span in spans}
    assert {(line["trace_id"], line["span_id"]) for line in lines} <= traces
    assert lines
    failed = [line for line in supervisor.events("item_dead") if line["run"] == run.id]
    assert [line["trace_id"] for line in failed] == [dead.trace_id.hex()]


@pytest.mark.parametrize("kind", ["dead", "silent"])
def test_a_collector_that_is_away_does_not_affect_the_pool(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    quick_environment: dict[str, str],
    tmp_path: Path,
    kind: str,
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", *(f"S{number}" for number in range(1000)))
    with silent_server() as silent:
        environment = _traced(quick_environment, dead_url() if kind == "dead" else silent)
        with running_supervisor(environment, tmp_path, "--processes", "2", "--queue", "tests") as supervisor:
            assert wait_for_end(connection, run, 60) == "COMPLETED"
            assert supervisor.stop() == 0
    assert set(items_of(connection, run).values()) == {("completed", 1, None)}
    assert supervisor.events("hook_failed") == []
    assert {line["end"] for line in supervisor.events("worker_ended")} == {"stopped"}


def test_a_command_makes_the_span_in_which_a_run_is_made(
    connection: Connection, environment: dict[str, str], collector: Telemetry
) -> None:
    words = ["enqueue", "ledger_entry", "--symbols", "A,B"]
    subprocess.run(
        [sys.executable, "-m", "streamworkers", *words],
        env=_traced(environment, collector.url),
        check=True,
        timeout=patient(60),
        capture_output=True,
    )
    row = connection.execute("SELECT id, traceparent FROM runs").fetchone()
    assert row is not None
    (span,) = collector.spans
    assert row[1].startswith(f"00-{span.trace_id.hex()}-{span.span_id.hex()}-")
    found = attributes_of(span)
    assert (span.name, span.kind, span.parent_span_id) == ("enqueue tests", Span.SPAN_KIND_PRODUCER, b"")
    assert (found["streamworkers.run.id"], found["streamworkers.job"]) == (row[0], "ledger_entry")
    assert (found["messaging.destination.name"], found["messaging.batch.message_count"]) == ("tests", 2)


_CLIENT = """
import sys
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from streamworkers.client import Client
provider = TracerProvider()
trace.set_tracer_provider(provider)
with trace.get_tracer("shop").start_as_current_span("order") as span, Client(sys.argv[1], user="ann") as client:
    client.enqueue("ledger_entry", symbols=["A"])
    client.enqueue("ledger_entry", symbols=["B"], traceparent=sys.argv[2])
    print(trace.format_trace_id(span.get_span_context().trace_id))
"""


def test_a_client_continues_the_trace_of_its_program(
    connection: Connection, registry: Registry, database_url: str, environment: dict[str, str]
) -> None:
    record_job_types(connection, list_job_types(registry), "0.2.0")
    done = subprocess.run(
        [sys.executable, "-c", _CLIENT, database_url, _GIVEN],
        env={**environment, "STREAMWORKERS_OTEL": "1"},
        check=True,
        timeout=patient(60),
        capture_output=True,
        text=True,
    )
    traces = [trace for (trace,) in connection.execute("SELECT traceparent FROM runs ORDER BY id")]
    assert [trace.split("-")[1] for trace in traces] == [done.stdout.strip(), _TRACE]
    assert all(trace.split("-")[2] != _PARENT for trace in traces)


def test_nothing_is_imported_while_it_is_off(
    connection: Connection, streams: Streams, registry: Registry, quick_environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "looking_hook.py").write_text(
        "import sys\nfrom streamworkers.hooks import Hooks\n"
        "class Looking(Hooks):\n    def close(self):\n"
        f"        print('loaded', {_LIBRARIES}, file=sys.__stderr__)\n"
    )
    environment = install_hooks(quick_environment, tmp_path, looking="looking_hook:Looking")
    run = start_run(connection, streams, registry, "ledger_entry", "A")
    with running_supervisor(environment, tmp_path, "--processes", "1", "--queue", "tests") as supervisor:
        assert wait_for_end(connection, run) == "COMPLETED"
        assert supervisor.stop() == 0
    assert re.findall("loaded (True|False)", supervisor.log.read_text()) == ["False"]
    modules = "streamworkers.client, streamworkers.cli.main, streamworkers.engine.enqueue"
    check = f"import {modules}, sys; sys.exit({_LIBRARIES})"
    subprocess.run([sys.executable, "-c", check], check=True, timeout=patient(60))


def test_without_the_extra_the_start_ends_and_says_what_to_install(quick_environment: dict[str, str]) -> None:
    code = (
        "import sys; sys.modules['opentelemetry'] = None; sys.argv = ['streamworkers', 'worker']\n"
        "from streamworkers.cli.main import main; main()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env={**quick_environment, "STREAMWORKERS_OTEL": "true"},
        check=False,
        timeout=patient(60),
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 2
    assert "STREAMWORKERS_OTEL needs the extra otel: pip install 'streamworkers[otel]'" in ended.stderr


def test_an_exporter_that_is_not_known_is_named(quick_environment: dict[str, str], tmp_path: Path) -> None:
    environment = {**_traced(quick_environment, dead_url()), "OTEL_TRACES_EXPORTER": "zipkin"}
    with running_supervisor(environment, tmp_path, "--processes", "1", "--queue", "tests") as supervisor:
        wait_until(lambda: supervisor.events("hook_failed"))
        assert supervisor.stop() == 0
    (line,) = supervisor.events("hook_failed")
    assert (line["hook"], line["hook_event"]) == ("otel", "init")
    assert line["error"] == "UsageError: OTEL_TRACES_EXPORTER='zipkin' is not one of otlp, console, none"


def test_a_traceparent_that_is_none_is_left_to_the_check_of_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "_is_on", True)
    with tracing.trace_enqueue("noop", "00-1-2-3") as span:
        assert span.traceparent == "00-1-2-3"
