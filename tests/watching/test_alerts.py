"""Alerts in a real Prometheus: all workers are killed in the middle of a run."""

import os
import time
from pathlib import Path

import pytest

from harness import start_run, wait_until
from patience import paced
from streamworkers.database import Connection
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.migrations import create_roles
from watching.prometheus_server import evaluating_rules
from watching.stage import watched_system

# At 1 alerts wait as long as they do in earnest.
HASTEN = float(os.environ.get("ALERTS_HASTEN", "30")) / paced(1)
WATCHED_SECONDS = 600 / HASTEN


@pytest.mark.timeout(900 / HASTEN + 300)
def test_when_all_workers_are_killed_in_a_run_the_alert_fires_and_others_do_not(
    environment: dict[str, str],
    connection: Connection,
    streams: Streams,
    registry: Registry,
    tmp_path: Path,
) -> None:
    create_roles(connection)
    with watched_system(environment, tmp_path, registry, hasten=HASTEN) as stage:
        # A hastened alert can fire while the processes start.
        wait_until(
            lambda: not {"StreamworkersNoScheduler", "StreamworkersNoWorker"} & stage.prometheus.alerts().keys(),
            what="no process is missed",
        )
        start_run(
            connection,
            streams,
            registry,
            "ledger_entry",
            *(f"K{number}" for number in range(2000)),
            parameters={"milliseconds": 50.0},
        )
        for supervisor in stage.supervisors:
            supervisor.kill_all()
        began = time.monotonic()
        fired: dict[str, float] = {}

        def look() -> bool:
            for name, state in stage.prometheus.alerts().items():
                if state == "firing":
                    fired.setdefault(name, time.monotonic() - began)
            return time.monotonic() - began >= WATCHED_SECONDS

        wait_until(look, WATCHED_SECONDS + 60, "the alerts are watched")
    (tmp_path / "alerts.txt").write_text("".join(f"{name}: after {seconds:.0f} s\n" for name, seconds in fired.items()))
    assert "StreamworkersNoWorker" in fired
    assert "StreamworkersNoScheduler" not in fired


def test_the_links_of_an_alert_begin_with_the_address_in_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """promtool does not fill variables in, so a real Prometheus does it here."""
    monkeypatch.setenv("GRAFANA_URL", "https://grafana.example.com")
    with evaluating_rules(tmp_path) as prometheus:
        wait_until(lambda: prometheus.annotations("StreamworkersNoWorker") != {}, what="the alert is pending")
        found = prometheus.annotations("StreamworkersNoWorker")
    assert found["dashboard_url"] == "https://grafana.example.com/d/streamworkers-queues?viewPanel=41"
    assert found["runbook_url"] == "https://grafana.example.com/d/streamworkers-runbook?viewPanel=1"
