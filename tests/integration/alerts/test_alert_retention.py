"""Old firings are deleted, and nothing is decided or compared otherwise than before."""

from datetime import UTC, datetime, timedelta

import pytest

from alert_stage import AlertStage, before_day
from consumer import Consumer
from streamworkers.actor import LOCAL
from streamworkers.alerts.engine.replaying import replay_alert
from streamworkers.alerts.store.changes import remove_alert
from streamworkers.alerts.store.decisions import lock_shards
from streamworkers.alerts.store.mutes import mute_alert
from streamworkers.alerts.store.retention import ALERT_TABLES
from streamworkers.database import Connection, connect
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.jobs.cleanup import CleanupParameters, clean

PATH = [99, 101, 99, 101, 99, 101, 99, 99]  # fires at 1, 3 and 5


@pytest.fixture
def stage(connection: Connection, streams: Streams, registry: Registry, consumer: Consumer) -> AlertStage:
    return AlertStage(connection, streams, registry, consumer)


def _clean(stage: AlertStage, *, days: int = 400, dry_run: bool = False) -> dict[str, int]:
    """What a cleanup deletes so many days from now."""
    now, parameters = datetime.now(UTC) + timedelta(days=days), CleanupParameters(dry_run=dry_run)
    return {part: clean(stage.connection, part, parameters, now).rows for part in ALERT_TABLES}


def test_all_but_the_newest_old_firing_goes_and_decisions_go_on(stage: AlertStage) -> None:
    alert = stage.add("price > 100", name="one")
    mute_alert(stage.connection, LOCAL, "one", before_day(1), at=before_day(0))
    stage.bar_by_bar(PATH)
    assert _clean(stage, days=300) == dict.fromkeys(ALERT_TABLES, 0)
    expected = {"alert_firings": 2, "alert_corrections": 0, "alert_mutes": 0}
    assert _clean(stage, dry_run=True) == expected
    assert stage.fired() == [1, 3, 5]
    assert _clean(stage) == expected
    assert stage.fired() == [5]
    stage.run()
    stage.bar_by_bar([101], 8)
    assert stage.fired() == [5, 8]
    replay = replay_alert(stage.connection, alert, None, before_day(10), "XNYS")
    assert (replay.differences, [each.found_by for each in replay.firings]) == (0, ["both", "both"])


def test_a_correction_of_what_was_deleted_is_not_checked_and_a_later_one_is(stage: AlertStage) -> None:
    stage.add("price > 100")
    stage.bar_by_bar(PATH)
    _clean(stage)
    stage.load([98], 2)
    stage.run()
    assert stage.corrections() == [(2, "not_checked")]
    stage.load([101], 7)
    stage.run()
    assert stage.corrections() == [(2, "not_checked"), (7, "would_have_fired")]
    assert _clean(stage)["alert_corrections"] == 2


def test_control_without_the_mark_a_correction_would_claim_what_has_fired(stage: AlertStage) -> None:
    stage.add("price > 100")
    stage.bar_by_bar(PATH)
    _clean(stage)
    stage.connection.execute("UPDATE alert_state SET forgotten_through = NULL")
    stage.load([98], 2)
    stage.run()
    assert stage.corrections() == [(3, "would_have_fired")]


def test_what_a_decision_holds_is_left(stage: AlertStage, database_url: str) -> None:
    """Also what is left is deleted later; nothing waits for the decision."""
    stage.add("price > 100")
    stage.bar_by_bar(PATH)
    with connect(database_url) as other, other.transaction():
        lock_shards(other, "day", ["AAA"])
        other.execute("UPDATE alert_state SET streak = streak")
        assert _clean(stage)["alert_firings"] == 0
    assert _clean(stage)["alert_firings"] == 2


def test_nothing_is_left_of_an_alert_that_was_removed_long_ago(stage: AlertStage) -> None:
    stage.add("price > 100", name="one")
    stage.bar_by_bar(PATH)
    mute_alert(stage.connection, LOCAL, "one", None)
    remove_alert(stage.connection, LOCAL, "one")
    assert _clean(stage) == {"alert_firings": 3, "alert_corrections": 0, "alert_mutes": 1}
