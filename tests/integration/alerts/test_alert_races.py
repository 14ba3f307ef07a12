"""An alert that is changed while a run decides it: nobody waits for the other, and who has stopped does not fire."""

from datetime import timedelta

import pytest

from alert_stage import DAY, WORDS, AlertStage, document
from consumer import Consumer
from streamworkers.actor import LOCAL
from streamworkers.alerts.document import parse_alert
from streamworkers.alerts.engine.reading import SymbolWork, read_work
from streamworkers.alerts.store.alerts import find_alert, read_versions
from streamworkers.alerts.store.changes import edit_alert, pause_alert, remove_alert, resume_alert
from streamworkers.database import Connection, connect, fetch_value
from streamworkers.engine.outcome import Completed, Item
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.jobs.alerts import Alerts


@pytest.fixture
def stage(connection: Connection, streams: Streams, registry: Registry, consumer: Consumer) -> AlertStage:
    return AlertStage(connection, streams, registry, consumer)


Read = Completed[SymbolWork | None]


def _read(stage: AlertStage) -> tuple[Alerts, Read]:
    """A run that has read, and not decided yet."""
    job = Alerts()
    work = read_work(stage.connection, DAY, ["AAA"], job.versions)["AAA"]
    return job, Completed(Item(9, 0, "AAA", "day", 1), work)


def _save(connection: Connection, job: Alerts, completed: Read) -> int:
    with connection.transaction():
        return len(list(job.save(connection, [completed])))


def test_who_changes_an_alert_and_who_decides_it_do_not_wait_for_each_other(
    stage: AlertStage, database_url: str
) -> None:
    """A removal locks its alert, then deletes the states, which a decision has locked before it refers to the alert."""
    stage.add("price > 100", {"type": "simple"}, name="one")
    stage.bar_by_bar([101])
    stage.load([102], 1)
    job, completed = _read(stage)
    with connect(database_url) as other, other.transaction():
        find_alert(other, "local", "one", lock=True)
        stage.connection.execute("SET lock_timeout = '1ms'")
        assert _save(stage.connection, job, completed) == 2
    assert stage.fired() == [0, 1]


def test_an_alert_that_stops_while_it_is_decided_does_not_fire(stage: AlertStage) -> None:
    """The others of its symbol do."""
    for name in ("removed", "paused"):
        stage.add("price > 100", name=name)
    going = stage.add("price > 100")
    stage.load([101])
    job, completed = _read(stage)
    remove_alert(stage.connection, LOCAL, "removed")
    pause_alert(stage.connection, LOCAL, "paused")
    assert _save(stage.connection, job, completed) == 2
    assert stage.fired() == stage.fired(going) == [0]
    assert stage.connection.execute("SELECT alert_id FROM alert_state").fetchall() == [(going.id,)]


def test_a_change_after_a_clock_went_back_is_in_force_from_the_version_before(stage: AlertStage) -> None:
    """It cannot be made in the past, and is not rejected until the clock is there again."""
    ahead = fetch_value(stage.connection, "SELECT now()") + timedelta(hours=1)
    stored = stage.add("price > 100", name="one", at=ahead)
    pause_alert(stage.connection, LOCAL, "one")
    resume_alert(stage.connection, LOCAL, "one")
    edit_alert(stage.connection, LOCAL, "one", parse_alert(document("price > 200"), WORDS))
    remove_alert(stage.connection, LOCAL, "one")
    versions = read_versions(stage.connection, [stored.id])[stored.id]
    assert [each.effective_from for each in versions] == [ahead] * 5
