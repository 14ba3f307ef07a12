"""A loop that keeps failing by an error of its own makes its process not ready, and is named, until it works again."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from harness import wait_until
from patience import patient
from scheduler.service import Scheduler, SchedulerOptions
from streamworkers.api.process import ApiOptions, ApiProcess
from streamworkers.config import Settings
from streamworkers.database import Connection
from streamworkers.engine.host.host import Host, stop_loops
from streamworkers.engine.ledger.processes import read_processes
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.engine.supervisor.child import Limits
from streamworkers.engine.supervisor.options import SupervisorOptions
from streamworkers.engine.supervisor.supervisor import Supervisor
from streamworkers.market.targets import MarketTargets

# What no store is at fault for: a trigger that somebody has put on our tables.
_TRIGGER = """
    CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'junk is in the way'; END $$;
    CREATE TRIGGER spoil BEFORE UPDATE ON processes EXECUTE FUNCTION spoil();
    CREATE TRIGGER spoil BEFORE DELETE ON outbox EXECUTE FUNCTION spoil();
"""


@dataclass(frozen=True)
class Part:
    """A process whose loops run in threads of the test, and what it says of itself."""

    host: Host
    not_ready: Callable[[], list[str]]


@pytest.fixture
def parts(settings: Settings, streams: Streams, registry: Registry) -> Iterator[dict[str, Part]]:
    """A supervisor without workers, a scheduler and an API."""
    quick = settings.model_copy(update={"failing_seconds": 0.2})
    assert settings.redis_url is not None
    assert settings.database_url is not None
    urls = settings.redis_url.get_secret_value(), settings.database_url.get_secret_value()
    options = SupervisorOptions((), Registry(()), MarketTargets(), Limits(), 1.0, "127.0.0.1", 0)
    with (
        closing(Supervisor(quick, *urls, options)) as supervisor,
        closing(Scheduler(quick, *urls, registry, SchedulerOptions("127.0.0.1", 0))) as scheduler,
        closing(ApiProcess(quick, *urls, ApiOptions("127.0.0.1", 0, metrics_port=0))) as api,
    ):
        made = {each.host.kind: Part(each.host, each.not_ready) for each in (supervisor, scheduler, api)}
        loops = [loop for part in made.values() for loop in part.host.loops if loop.name in ("heartbeat", "outbox")]
        for part in made.values():
            assert part.host.server is not None
            part.host.server.start()
        for loop in loops:
            loop.start()
        yield made
        stop_loops(loops, patient(20))


def _probe(part: Part, path: str) -> tuple[int, str]:
    try:
        with urlopen(f"http://127.0.0.1:{part.host.metrics_port}{path}", timeout=patient(20)) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


def _names(part: Part, loop: str) -> bool:
    """True if probe and metric both say that a loop keeps failing; every heartbeat is asked to come now."""
    for each in part.host.loops:
        each.wake()
    code, text = _probe(part, "/readyz")
    return code == 503 and f"{loop} has kept failing for" in text and "junk is in the way" in text


def _failing(part: Part) -> set[str]:
    lines = _probe(part, "/metrics")[1].splitlines()
    return {
        line.split('"')[1] for line in lines if line.startswith("streamworkers_loops_failing{") and line[-3:] == "1.0"
    }


def test_a_process_is_not_ready_while_one_of_its_loops_keeps_failing(
    parts: dict[str, Part], connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamworkers.engine.host.heartbeat.BEAT_SECONDS", 0.1)
    connection.execute("INSERT INTO outbox (channel, payload) VALUES ('tests.x', '{}')")
    connection.execute(_TRIGGER)
    expected = {"supervisor": {"heartbeat", "outbox"}, "scheduler": {"heartbeat", "outbox"}, "api": {"heartbeat"}}
    for kind, names in expected.items():
        for name in names:
            wait_until(partial(_names, parts[kind], name), 60, f"{kind} says that {name} fails")
        assert _failing(parts[kind]) == names
        assert _probe(parts[kind], "/livez")[0] == 200
    connection.execute("DROP TRIGGER spoil ON processes")
    wait_until(lambda: _recorded(connection) == {"outbox"}, 60, "the scheduler's row carries it")
    connection.execute("DROP FUNCTION spoil CASCADE")
    for part in parts.values():
        wait_until(partial(_is_well, part), 60, "it works, and so it is ready")
        assert _failing(part) == set()


def _recorded(connection: Connection) -> set[str]:
    return {
        failure["who"]
        for process in read_processes(connection)
        if process.kind == "scheduler"
        for failure in process.doing["failing"]
    }


def _is_well(part: Part) -> bool:
    return not any("kept failing" in text for text in part.not_ready())
