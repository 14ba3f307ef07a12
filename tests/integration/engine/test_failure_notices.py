"""A run that fails notifies the user of system notifications, exactly once, in the transaction that closes it."""

from typing import Any

import pytest

from consumer import Consumer
from harness import start_run
from streamworkers.database import Connection
from streamworkers.engine.ledger.job_types import record_job_types
from streamworkers.engine.ledger.notices import with_notices
from streamworkers.engine.ledger.outbox import take_notify_events
from streamworkers.engine.ledger.transitions import close_runs, make_run_failed
from streamworkers.engine.redis.keys import ERRORS_CHANNEL, NOTIFY_CHANNEL
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.engine.services.job_types import list_job_types
from streamworkers.notifications.notification import parse_notification
from streamworkers.notifications.wording import write_content


def notices(connection: Connection) -> list[dict[str, Any]]:
    """What people are notified of."""
    rows = connection.execute("SELECT payload FROM outbox WHERE channel = %s ORDER BY id", (NOTIFY_CHANNEL,))
    return [payload for (payload,) in rows]


def test_a_failed_run_notifies_once(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", "A", "B")
    connection.execute("UPDATE run_items SET status = 'completed' WHERE run_id = %s AND seq = 1", (run.id,))
    connection.execute(
        "UPDATE run_items SET status = 'failed', error = 'no bars' WHERE run_id = %s AND seq = 0", (run.id,)
    )
    del consumer
    with connection.transaction(force_rollback=True):
        close_runs(connection, [run])
        assert len(notices(connection)) == 1
    assert notices(connection) == []
    assert close_runs(connection, [run])[0] == {run.id: "COMPLETED_WITH_ERRORS"}
    assert close_runs(connection, [run])[0] == {}
    (event,) = take_notify_events(connection, 10)
    found = parse_notification(*event)
    assert (found.user_id, found.type, found.priority) == ("local", "run_failed", "high")
    assert found.dedup_key.startswith(f"run_failed:{run.id}:")
    content = write_content(found)
    assert content.title == f"Run {run.id} of ledger_entry failed"
    assert content.lines == ("no bars", "1 of 2 items failed", f"Look: streamworkers runs show {run.id}")


@pytest.mark.parametrize(("job", "count"), [("analysis", 1), ("deliver", 0), ("not_installed", 1)])
def test_only_a_run_of_a_silent_job_notifies_nobody(
    connection: Connection, registry: Registry, monkeypatch: pytest.MonkeyPatch, job: str, count: int
) -> None:
    """A notification of a dead delivery would go the same way, and fail again."""
    record_job_types(connection, list_job_types(registry), "0.2.0")
    monkeypatch.setenv("STREAMWORKERS_SYSTEM_USER", "desk")
    events = with_notices(connection, [make_run_failed(7, job, "FAILED", reason="x" * 5000)])
    assert [event.channel for event in events] == [ERRORS_CHANNEL, *[NOTIFY_CHANNEL] * count]
    if count:
        assert events[1].payload["user_id"] == "desk"
        assert len(events[1].payload["data"]["reason"]) == 2000


def test_deliver_is_the_only_silent_job(registry: Registry) -> None:
    assert [name for name, job in registry.items() if not job.notifies_failure] == ["deliver"]


def test_a_job_that_is_not_silent_any_more_notifies(connection: Connection, registry: Registry) -> None:
    deliver = next(each for each in list_job_types(registry) if each.name == "deliver")
    record_job_types(connection, [deliver], "0.2.0")
    record_job_types(connection, [deliver._replace(notifies_failure=True)], "0.2.0")
    assert len(with_notices(connection, [make_run_failed(7, "deliver", "FAILED")])) == 2


def test_a_stale_run_says_so(connection: Connection) -> None:
    events = with_notices(connection, [make_run_failed(7, "analysis", "COMPLETED_WITH_ERRORS", items=9, stale=8)])
    assert events[1].payload["data"]["reason"] == "8 of 9 symbols are stale"
