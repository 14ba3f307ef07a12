"""Junk rows in our tables end no command and no step of a service: what is sound beside them goes on."""

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial

import pytest
from prometheus_client import CollectorRegistry

from command_line import Run as Command
from consumer import Consumer
from harness import run_status, start_run
from junk_rows import seed, spoil
from scheduler.service import Scheduler, SchedulerOptions
from streamworkers.config import Settings
from streamworkers.database import Connection
from streamworkers.diagnosis import doctor as doctor_module
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.engine.supervisor.child import Limits
from streamworkers.engine.supervisor.options import SupervisorOptions
from streamworkers.engine.supervisor.supervisor import Supervisor
from streamworkers.market.targets import MarketTargets

COMMANDS = (
    *("status", "doctor", "top --once", "runs list", "runs show 1", "runs show 16", "dead list", "rejected list"),
    *("items list --since 2000-01-01", "items show 1:0", "items show 16:0", "dead show 1:0"),
    *("schedules list", "schedules history s1", "universes list", "indicators list", "patterns list", "alerts list"),
    *("notifications list", "endpoints list", "users list", "tokens list", "audit list"),
)


@pytest.fixture
def steps(settings: Settings, streams: Streams, registry: Registry) -> Iterator[dict[str, Callable[[], object]]]:
    """A step of the ticker and of every service of a supervisor and of a scheduler, and a scrape of both."""
    assert settings.redis_url is not None
    assert settings.database_url is not None
    urls = settings.redis_url.get_secret_value(), settings.database_url.get_secret_value()
    options = SupervisorOptions([["tests"]], registry, MarketTargets(), Limits(), 1.0, "127.0.0.1", None)
    with (
        closing(Supervisor(settings, *urls, options)) as supervisor,
        closing(Scheduler(settings, *urls, registry, SchedulerOptions("127.0.0.1", None))) as scheduler,
    ):
        made: dict[str, Callable[[], object]] = {"ticker": scheduler.ticker.run_once}
        made |= {f"scheduler {loop.name}": loop.service.run_once for loop in scheduler._services}
        made |= {f"supervisor {name}": loop.service.run_once for name, loop in supervisor._loops.items()}
        for owner in (supervisor, scheduler):
            made[f"scrape of {owner.host.kind}"] = partial(_scrape, owner.metrics.registry)
        yield made
        assert scheduler.host.scrapes.own() == []
        assert supervisor.host.scrapes.own() == []


def _scrape(registry: CollectorRegistry) -> None:
    assert list(registry.collect())


def test_readers_go_on_beside_junk_in_every_column(
    cli: Command,
    steps: dict[str, Callable[[], object]],
    connection: Connection,
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor_module, "SECOND_LOOK_SECONDS", 0.0)
    seed(connection)
    taken, rejected = spoil(connection)
    assert len(taken) > 100
    assert {"runs.parameters", "processes.doing", "schedules.due_at"} & rejected == {"schedules.due_at"}
    failed: dict[str, object] = {}
    for words in COMMANDS:
        try:
            answer = cli(*words.split())
        except Exception as error:  # noqa: BLE001  # whatever ends it
            failed[words] = error
            continue
        if answer.code not in (0, 1) or "Traceback" in answer.err or "unexpected" in answer.err:
            failed[words] = answer
    for name, step in steps.items():
        try:
            step()
        except Exception as error:  # noqa: BLE001  # whatever ends it
            failed[name] = error
    assert failed == {}
    streams.queues.ensure_groups(["tests"])
    run = start_run(connection, streams, registry, "ledger_entry", "X")
    for _ in range(20):
        if not consumer.work():
            break
    assert run_status(connection, run) == "COMPLETED"
