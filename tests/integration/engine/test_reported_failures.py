"""A real pool that reports to Sentry: what dies in it is an event there, and a server that is away holds nothing up."""

from collections import Counter
from pathlib import Path

from harness import running_supervisor, start_run, wait_for_end
from patience import patient
from streamworkers.database import Connection
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from telemetry_servers import dead_url, telemetry_server


def test_deaths_of_a_pool_are_events_of_sentry(
    connection: Connection, streams: Streams, registry: Registry, quick_environment: dict[str, str], tmp_path: Path
) -> None:
    run = start_run(connection, streams, registry, "misbehaving", "A", "RAISE", "PERMANENT", max_attempts=2)
    environment = {**quick_environment, "STREAMWORKERS_HOOK_SECONDS": f"{min(60.0, patient(5)):g}"}
    with telemetry_server() as ingest:
        environment["STREAMWORKERS_SENTRY_DSN"] = ingest.url.replace("http://", "http://key-of-a-test@") + "/7"
        with running_supervisor(environment, tmp_path, "--processes", "1", "--queue", "tests") as supervisor:
            assert wait_for_end(connection, run) == "COMPLETED_WITH_ERRORS"
            assert supervisor.stop() == 0
    found = Counter((event["level"], event["tags"]["symbol"], event["tags"]["attempt"]) for event in ingest.events)
    assert found == {("warning", "RAISE", "1"): 1, ("error", "RAISE", "2"): 1, ("error", "PERMANENT", "1"): 1}
    assert "key-of-a-test" not in supervisor.log.read_text(encoding="utf-8")


def test_a_server_of_sentry_that_is_away_does_not_affect_the_pool(
    connection: Connection, streams: Streams, registry: Registry, quick_environment: dict[str, str], tmp_path: Path
) -> None:
    run = start_run(connection, streams, registry, "misbehaving", "A", "PERMANENT")
    url = dead_url().replace("http://", "http://key-of-a-test@") + "/7"
    environment = {**quick_environment, "STREAMWORKERS_SENTRY_DSN": url}
    with running_supervisor(environment, tmp_path, "--processes", "1", "--queue", "tests") as supervisor:
        assert wait_for_end(connection, run) == "COMPLETED_WITH_ERRORS"
        assert supervisor.stop() == 0
    assert supervisor.events("hook_failed") == []
    assert {line["end"] for line in supervisor.events("worker_ended")} == {"stopped"}
    assert "key-of-a-test" not in supervisor.log.read_text(encoding="utf-8")
