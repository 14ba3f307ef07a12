"""The webhook of a schedule: checked when it is stored, carried by each run of it, and not by those of a backfill."""

import json
from datetime import date
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from scheduler.messages_to_runs import MessagesToRuns
from scheduler.ticker import Ticker
from scheduling import Add, Clock, end_runs, runs_of
from streamworkers.actor import LOCAL, Actor
from streamworkers.database import Connection, fetch_rows, fetch_value
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.errors import BadInputError
from streamworkers.schedules import run_factory, store
from streamworkers.schedules.backfills.driver import drive
from streamworkers.schedules.backfills.period import Period
from streamworkers.schedules.backfills.store import BackfillOptions, add_backfill
from streamworkers.schedules.backfills.subject import plan_backfill, require_ticks, subject_of_schedule
from streamworkers.schedules.definition import ScheduleDefinition
from streamworkers.schedules.webhooks import WEBHOOK_FORM
from streamworkers.schedules.yaml_file import from_yaml, to_yaml
from submitting import end_submitted_runs, install_jobs

HOOK = {"url": "https://example.com/hooks/s3cr3t", "secrets": ["env:HOOK_SECRET"]}
_NOOP = {"name": "hooked", "job": "noop", "target": {"symbols": ["A"]}, "cron": "0 * * * *"}


def _calls(connection: Connection) -> list[dict[str, Any]]:
    """What is sent, by run."""
    rows = fetch_rows(connection, "SELECT parts FROM deliveries ORDER BY ended_run_id, created_at")
    return [json.loads(part["body"])["data"] for row in rows for part in row["parts"]]


def test_runs_of_ticks_and_triggers_call_it_and_name_their_tick(
    ticker: Ticker, add: Add, connection: Connection, streams: Streams, registry: Registry, clock: Clock
) -> None:
    install_jobs(connection, registry)
    schedule = add(webhook=HOOK, max_instances=3)
    ticker.run_once()
    clock.forward(hours=1)
    ticker.run_once()
    run_factory.trigger(connection, streams, registry, "job")
    run_factory.submit_trigger(connection, "job", Actor("ann"))
    assert _calls(connection) == []
    end_submitted_runs(connection)
    calls = _calls(connection)
    assert [each["id"] for each in calls] == runs_of(connection, schedule)
    assert [each["trigger"] for each in calls] == ["schedule", "manual", "manual"]
    assert {(each["schedule"], each["status"]) for each in calls} == {("job", "COMPLETED")}
    assert calls[0]["scheduled_for"] == "2040-10-01T17:00:00+00:00"
    owners = connection.execute("SELECT DISTINCT state, endpoint_id IS NOT NULL FROM deliveries").fetchall()
    assert owners == [("queued", True)]


def test_a_run_of_an_event_calls_it(messages_to_runs: MessagesToRuns, add: Add, connection: Connection) -> None:
    schedule = add(cron=None, on_event="data_load_complete", target=None, webhook=HOOK)
    message = {"event_type": "data_load_complete", "symbols": ["A"], "timeframe": "daily", "run_analysis": True}
    messages_to_runs.accept(json.dumps({**message, "job_id": "load-1"}).encode(), "stream", 1_800_000_100.0)
    end_runs(connection)
    (call,) = _calls(connection)
    assert [call["id"]] == runs_of(connection, schedule)
    assert (call["schedule"], call["trigger"], call["scheduled_for"]) == ("job", "event", None)


def test_a_run_that_has_nothing_to_do_calls_it_once(
    ticker: Ticker, add: Add, connection: Connection, clock: Clock
) -> None:
    add(job="choosing", parameters={"do": "nothing"}, target=None, webhook=HOOK)
    add("silent", job="choosing", parameters={"do": "nothing"}, target=None)
    ticker.run_once()
    clock.forward(hours=1)
    ticker.run_once()
    (call,) = _calls(connection)
    assert (call["schedule"], call["status"], call["reason"]) == ("job", "COMPLETED", "no delivery waits")


def test_a_change_holds_from_the_next_run_on_and_a_removed_receiver_is_there_again(
    ticker: Ticker, add: Add, connection: Connection, clock: Clock
) -> None:
    schedule = add(webhook=HOOK)
    ticker.run_once()
    connection.execute("DELETE FROM endpoints")
    for change in (HOOK, {**HOOK, "url": "env:HOOK_URL"}, None):
        definition = store.require_schedule(connection, "job").require_definition()
        store.save_schedule(connection, definition.model_copy(update={"webhook": change}), old_name="job")
        clock.forward(hours=1)
        ticker.run_once()
        end_runs(connection)
    rows = fetch_rows(
        connection, "SELECT webhook ->> 'url' AS url FROM runs WHERE schedule_id = %s ORDER BY id", (schedule.id,)
    )
    assert [row["url"] for row in rows] == [HOOK["url"], "env:HOOK_URL", None]
    assert len(_calls(connection)) == 2
    assert fetch_value(connection, "SELECT count(*) FROM deliveries WHERE endpoint_id IS NULL") == 0


def test_the_receiver_is_there_for_each_run_of_a_tick(
    ticker: Ticker, add: Add, connection: Connection, clock: Clock
) -> None:
    add(webhook=HOOK)
    ticker.run_once()
    connection.execute("DELETE FROM endpoints")
    clock.forward(hours=1)
    ticker.run_once()
    end_runs(connection)
    assert fetch_value(connection, "SELECT address FROM endpoints") == f"{HOOK['url']}#env:HOOK_SECRET"
    assert fetch_value(connection, "SELECT count(*) FROM deliveries WHERE endpoint_id IS NOT NULL") == 1


def test_runs_of_a_backfill_call_nobody(connection: Connection, registry: Registry) -> None:
    install_jobs(connection, registry)
    fields = {**_NOOP, "cron": "10 18 * * *", "enabled": False, "webhook": HOOK}
    store.save_schedule(connection, ScheduleDefinition.parse(fields))
    schedule = store.require_schedule(connection, "hooked")
    period = Period(date(2024, 7, 1), date(2024, 7, 3))
    timing = require_ticks("hooked", schedule.require_definition())
    plan = plan_backfill(connection, subject_of_schedule(schedule), timing, period, again=False)
    added = add_backfill(connection, plan.subject, period, plan.ticks, BackfillOptions(3, False, "ann"), LOCAL)
    assert added.id is not None
    drive(connection, added.id)
    end_submitted_runs(connection)
    assert fetch_value(connection, "SELECT count(*) FROM runs WHERE status = 'COMPLETED'") == 3
    assert _calls(connection) == []


@pytest.mark.parametrize(
    ("webhook", "message"),
    [
        ("https://example.com/s3cr3t", WEBHOOK_FORM),
        ({"url": "https://example.com/s3cr3t", "secrets": date(2026, 1, 1)}, WEBHOOK_FORM),
        ({**HOOK, "method": "GET"}, WEBHOOK_FORM),
        (
            {**HOOK, "url": "ftp://example.com/s3cr3t"},
            "the url of the webhook is not a URL as https://example.com/hooks",
        ),
        ({**HOOK, "url": "https://example.com/\0s3cr3t"}, WEBHOOK_FORM),
        ({"url": HOOK["url"]}, "the secrets of the webhook are not a list of 1 to 5 references as env:MY_SECRET"),
        ({**HOOK, "secrets": ["s3cr3t"]}, "a secret of the webhook is not named: name the variable that holds it"),
    ],
)
def test_a_webhook_that_breaks_a_rule_is_rejected_when_it_is_stored(
    webhook: Any, message: str, connection: Connection
) -> None:
    with pytest.raises(BadInputError) as caught:
        store.save_schedule(connection, ScheduleDefinition.parse({**_NOOP, "webhook": webhook}))
    assert str(caught.value).startswith(f"schedule 'hooked': {message}")
    assert "s3cr3t" not in str(caught.value)
    assert fetch_value(connection, "SELECT count(*) FROM schedules") == 0
    assert fetch_value(connection, "SELECT count(*) FROM endpoints") == 0


def test_a_reference_to_a_url_has_one_set_of_secrets(connection: Connection) -> None:
    hook = {"url": "env:HOOK_URL", "secrets": ["env:A"]}
    store.save_schedule(connection, ScheduleDefinition.parse({**_NOOP, "webhook": hook}))
    other = ScheduleDefinition.parse({**_NOOP, "name": "other", "webhook": {**hook, "secrets": ["env:B"]}})
    with pytest.raises(BadInputError, match="schedule 'other': the webhook env:HOOK_URL is signed with other secrets"):
        store.save_schedule(connection, other)


def test_any_program_that_stores_a_wrong_one_is_rejected(connection: Connection) -> None:
    store.save_schedule(connection, ScheduleDefinition.parse(_NOOP))
    wrong = Jsonb({"url": "x", "secrets": ["env:A"]})
    with pytest.raises(psycopg.Error, match="schedule 'hooked': the url of the webhook is not a URL") as caught:
        connection.execute("UPDATE schedules SET webhook = %s", (wrong,))
    assert caught.value.diag.sqlstate == "SW001"
    connection.execute("UPDATE schedules SET webhook = %s", (Jsonb(HOOK),))
    assert fetch_value(connection, "SELECT count(*) FROM endpoints") == 1


def test_a_change_is_a_version_and_neither_it_nor_the_audit_log_shows_the_url(connection: Connection) -> None:
    store.save_schedule(connection, ScheduleDefinition.parse(_NOOP))
    before = store.require_schedule(connection, "hooked").version
    definition = ScheduleDefinition.parse({**_NOOP, "webhook": HOOK})
    store.save_schedule(connection, definition, old_name="hooked")
    assert store.require_schedule(connection, "hooked").version > before
    assert definition.show()["webhook"] == {"url": "https://example.com/…", "secrets": ["env:HOOK_SECRET"]}
    rows = connection.execute(
        "SELECT after #>> '{webhook,url}' FROM audit_log WHERE action = 'schedule.change'"
    ).fetchall()
    assert rows == [("https://example.com/…",)]
    assert fetch_value(connection, "SELECT count(*) FROM audit_log WHERE after::text LIKE '%s3cr3t%'") == 0


def test_an_export_has_the_whole_url(connection: Connection) -> None:
    definition = ScheduleDefinition.parse({**_NOOP, "webhook": HOOK})
    assert from_yaml(to_yaml([definition])) == [definition]
