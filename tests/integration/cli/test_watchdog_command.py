"""The watchdog sees that the pool stands still, and says so by a channel that needs nothing of it."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from command_line import Run
from harness import running_supervisor, wait_until
from streamworkers.cli.session import Session
from streamworkers.cli.watchdog import Watching, _look
from streamworkers.config import Settings
from streamworkers.database import Connection
from streamworkers.diagnosis.watchdog import BoundedLook
from streamworkers.engine.ledger.processes import ProcessRecord, record_process
from streamworkers.notifications.channels.webhook import Webhook
from streamworkers_fakes.webhook import FakeReceiver, RunningFakeReceiver, running_fake_receiver

SECRET = "a secret that is long enough"


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningFakeReceiver]:
    monkeypatch.setenv("WATCHDOG_SECRET", SECRET)
    with running_fake_receiver(FakeReceiver([SECRET.encode()])) as running:
        yield running


@pytest.fixture
def watching(cli: Run, receiver: RunningFakeReceiver) -> Iterator[Watching]:
    """A watchdog of the test's services, without its loop."""
    channel = Webhook(Settings(webhook_private=True))
    address = channel.check_address(f"{receiver.url}/hook", {"secret": "env:WATCHDOG_SECRET"})
    yield Watching(BoundedLook(lambda: _look(Session.open()), 60.0), channel, address)
    channel.close()


def titles(receiver: RunningFakeReceiver) -> list[str]:
    """What was reported, in order."""
    return [call.json["data"]["title"] for call in receiver.taken]


def let_scheduler_live(connection: Connection) -> None:
    """Let PostgreSQL have seen a scheduler just now."""
    process = ProcessRecord("scheduler-1", "scheduler", "host", 1, "0.2.0", datetime.now(UTC), {})
    record_process(connection, process)


def test_a_pool_that_is_killed_is_reported_once_and_so_is_its_return(
    watching: Watching,
    receiver: RunningFakeReceiver,
    connection: Connection,
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    """The watchdog is given what a look has found: a second look would depend on how fast the machine is."""
    look, seen = watching.look, list[str]()
    watching.look = lambda: seen

    def sees(troubles: int) -> bool:
        let_scheduler_live(connection)
        seen[:] = look()
        return len(seen) == troubles

    with running_supervisor(environment, tmp_path, "--processes", "1") as supervisor:
        wait_until(lambda: sees(0), what="the pool lives")
        for now in (0.0, 30.0):
            watching.turn(now)
        assert titles(receiver) == []
        supervisor.kill_all()
        wait_until(lambda: sees(1), what="its heartbeat has ended")
        for now in (60.0, 90.0, 120.0):
            watching.turn(now)
        assert titles(receiver) == ["Watchdog: messages may not reach you"]
    connection.execute("UPDATE processes SET seen_at = seen_at - interval '1 hour'")
    seen[:] = look()
    assert len(seen) == 2
    watching.turn(150.0)
    assert len(titles(receiver)) == 1
    with running_supervisor(environment, tmp_path, "--processes", "1"):
        wait_until(lambda: sees(0), what="the pool lives again")
        watching.turn(180.0)
    assert titles(receiver) == ["Watchdog: messages may not reach you", "Watchdog: messages reach you again"]


def test_a_report_that_is_not_taken_is_sent_at_the_next_look_as_the_same_message(
    cli: Run, watching: Watching, receiver: RunningFakeReceiver
) -> None:
    watching.look = lambda: ["no worker is alive"]
    receiver.receiver.plan("status=503", "status=503", "status=200")
    for now in (0.0, 30.0, 60.0):
        watching.turn(now)
    assert titles(receiver) == []
    watching.turn(90.0)
    assert titles(receiver) == ["Watchdog: messages may not reach you"]
    assert len({call.headers["webhook-id"] for call in receiver.calls}) == 1


def test_one_bad_look_between_good_ones_is_no_fault(watching: Watching, receiver: RunningFakeReceiver) -> None:
    looks: list[list[str]] = [["x"], [], ["x"], []]
    watching.look = lambda: looks.pop(0)
    for now in range(4):
        watching.turn(float(now))
    assert receiver.calls == []


def test_stores_that_are_away_are_troubles_and_not_the_end_of_the_watchdog(
    cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMWORKERS_REDIS_URL", "redis://127.0.0.1:1/0")
    look = BoundedLook(lambda: _look(Session.open()), 60.0)
    (trouble,) = look()
    assert "127.0.0.1:1" in trouble
    monkeypatch.setenv("STREAMWORKERS_DATABASE_URL", "postgresql://x@127.0.0.1:1/x")
    (trouble,) = look()
    assert "127.0.0.1" in trouble


def test_looking_once_prints_and_the_exit_code_says_it(cli: Run, connection: Connection) -> None:
    found = cli("watchdog", "--once", "--json")
    assert (found.code, [each["trouble"] for each in found.json]) == (
        1,
        ["no scheduler is alive", "workers: no worker is alive"],
    )
    assert "no scheduler is alive" in cli("watchdog", "--once").out


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ((), "a watchdog needs --channel and --address: where it reports, without the pool"),
        (("--channel", "fax", "--address", "1"), "no channel is named 'fax'"),
        (("--channel", "mail", "--address", "x"), "'x' is not an address of mail"),
    ],
)
def test_a_watchdog_that_could_not_report_does_not_begin(cli: Run, words: tuple[str, ...], error: str) -> None:
    wrong: Any = cli("watchdog", *words)
    assert wrong.code == 2
    assert error in wrong.err
