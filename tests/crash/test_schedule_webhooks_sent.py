"""The webhook of a schedule with real processes and a receiver: a tick calls it, and a dead call is sent again."""

from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from harness import Scheduler, running_supervisor, wait_until
from streamworkers.database import Connection, fetch_rows
from streamworkers.engine.registry import Registry
from streamworkers.notifications.store.run_webhooks import reopen_webhook_call
from streamworkers.schedules import store
from streamworkers.schedules.definition import ScheduleDefinition
from streamworkers.schedules.once import write_once
from streamworkers_fakes.webhook import FakeReceiver, running_fake_receiver
from submitting import install_jobs

SECRET = b"a secret, long enough"


def _states(connection: Connection) -> list[tuple[str, int, str | None]]:
    rows = fetch_rows(connection, "SELECT state, attempts, reason FROM deliveries ORDER BY ended_run_id")
    return [(row["state"], row["attempts"], row["reason"]) for row in rows]


def test_a_tick_calls_it_and_a_dead_call_is_sent_again_with_its_id(
    environment: dict[str, str], connection: Connection, registry: Registry, tmp_path: Path
) -> None:
    own = environment | {"HOOK_SECRET": SECRET.decode(), "STREAMWORKERS_WEBHOOK_PRIVATE": "true"}
    install_jobs(connection, registry)
    with ExitStack() as stack:
        receiver = stack.enter_context(running_fake_receiver(FakeReceiver([SECRET])))
        receiver.receiver.plan("status=410", "status=200")
        soon = store.database_clock(connection) + timedelta(seconds=2)
        fields = {"name": "soon", "job": "ledger_entry", "target": {"symbols": ["A"]}}
        hook = {"url": f"{receiver.url}/hooks", "secrets": ["env:HOOK_SECRET"]}
        tick = write_once(soon, ZoneInfo("America/New_York"))
        store.save_schedule(connection, ScheduleDefinition.parse({**fields, "cron": tick, "webhook": hook}))
        scheduler = Scheduler(own, tmp_path / "scheduler.log", ())
        stack.callback(scheduler.kill_all)
        queues = ("--queue", "tests", "--queue", "notify", "--processes", "1")
        stack.enter_context(running_supervisor(own, tmp_path, *queues))
        dead = [("dead", 1, "the receiver answered 410")]
        wait_until(lambda: _states(connection) == dead, 90, "the tick's run has ended, and its call is dead")
        (run,) = fetch_rows(connection, "SELECT id, scheduled_for FROM runs WHERE schedule = 'soon'")
        identifier = reopen_webhook_call(connection, run["id"])
        wait_until(lambda: _states(connection) == [("sent", 0, None)], 90, "the call is sent again")
    first, second = receiver.calls
    assert [call.headers["webhook-id"] for call in (first, second)] == [str(identifier)] * 2
    assert first.body == second.body
    assert (second.taken, second.fault) == (True, None)
    data = second.json["data"]
    assert (data["id"], data["schedule"], data["status"]) == (run["id"], "soon", "COMPLETED")
    assert datetime.fromisoformat(data["scheduled_for"]) == run["scheduled_for"]
