"""The call of a run's webhook is a row from the transaction that ends the run, one for each end."""

import json
from typing import Any

import psycopg
import pytest
from psycopg_pool import ConnectionPool

from consumer import Consumer
from streamworkers.admin import runs as admin
from streamworkers.database import Connection, fetch_rows, fetch_value
from streamworkers.engine.enqueue import enqueue, enqueue_many
from streamworkers.engine.job import RunRequest
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.engine.services.preparer import Preparer
from streamworkers.errors import BadInputError
from streamworkers.users import RUN_WEBHOOKS
from submitting import install_jobs, load, make_preparer, submit

HOOK = {"url": "https://example.com/hooks/1?x=2", "secrets": ["env:HOOK_SECRET"]}


@pytest.fixture(autouse=True)
def jobs_installed(connection: Connection, registry: Registry) -> None:
    install_jobs(connection, registry)


@pytest.fixture
def preparer(pool: "ConnectionPool[Connection]", streams: Streams, registry: Registry) -> Preparer:
    return make_preparer(pool, streams, registry)


def _calls(connection: Connection, run_id: int) -> list[dict[str, Any]]:
    """What is sent about a run: the data of each call."""
    rows = fetch_rows(connection, "SELECT parts FROM deliveries WHERE ended_run_id = %s ORDER BY created_at", (run_id,))
    return [json.loads(part["body"])["data"] for row in rows for part in row["parts"]]


def test_each_way_to_end_writes_one_call(
    connection: Connection, preparer: Preparer, streams: Streams, consumer: Consumer
) -> None:
    done = submit(connection, "ledger_entry", symbols=["A", "B"], webhook=HOOK, key="k", user="ann")
    empty = submit(connection, "choosing", parameters={"do": "nothing"}, webhook=HOOK)
    rejected = submit(connection, "choosing", parameters={"do": "reject"}, webhook=HOOK)
    cancelled = submit(connection, "ledger_entry", symbols=["A"], webhook=HOOK)
    after = submit(connection, "ledger_entry", symbols=["A"], webhook=HOOK, after=cancelled)
    silent = submit(connection, "ledger_entry", symbols=["A"], webhook=None)
    admin.cancel(connection, streams, cancelled)
    preparer.run_once()
    assert _calls(connection, done) == []
    consumer.work_until_empty()
    ends = {
        done: ("COMPLETED", None),
        empty: ("COMPLETED", "no delivery waits"),
        rejected: ("FAILED", "the parameter do is not to my liking"),
        cancelled: ("CANCELLED", None),
        after: ("CANCELLED", f"it waited for run {cancelled} to be COMPLETED, and that is CANCELLED"),
    }
    for run_id, end in ends.items():
        (data,) = _calls(connection, run_id)
        assert (data["id"], data["status"], data["reason"]) == (run_id, *end)
    (data,) = _calls(connection, done)
    counts = ("items", "completed", "failed", "cancelled")
    assert [data[name] for name in (*counts, "key", "user", "job")] == [2, 2, 0, 0, "k", "ann", "ledger_entry"]
    assert data["completed_at"] is not None
    assert _calls(connection, silent) == []
    owners = connection.execute("SELECT DISTINCT user_id, channel, type, state FROM deliveries").fetchall()
    assert owners == [(RUN_WEBHOOKS, "webhook", "run_ended", "queued")]
    assert fetch_value(connection, "SELECT count(*) FROM endpoints") == 1


def test_the_call_goes_with_the_transaction_that_ends_the_run(connection: Connection) -> None:
    run_id = submit(connection, "ledger_entry", symbols=["A"], webhook=HOOK)
    with connection.transaction(force_rollback=True):
        connection.execute("SELECT cancel_run(%s)", (run_id,))
        assert len(_calls(connection, run_id)) == 1
    assert (_calls(connection, run_id), load(connection, run_id).status) == ([], "PENDING")


def test_control_without_the_trigger_no_end_is_reported(connection: Connection, streams: Streams) -> None:
    connection.execute("DROP TRIGGER runs_call_webhook ON runs")
    run_id = submit(connection, "ledger_entry", symbols=["A"], webhook=HOOK)
    admin.cancel(connection, streams, run_id)
    assert _calls(connection, run_id) == []


def test_a_run_that_ends_twice_has_two_calls(connection: Connection, preparer: Preparer, streams: Streams) -> None:
    run_id = submit(connection, "ledger_entry", symbols=["A"], webhook=HOOK)
    preparer.run_once()
    admin.cancel(connection, streams, run_id)
    admin.retry(connection, streams, run_id)
    admin.cancel(connection, streams, run_id)
    first, second = _calls(connection, run_id)
    assert first["last_event"] < second["last_event"]


def test_a_thousand_runs_have_one_call_each(connection: Connection, preparer: Preparer, consumer: Consumer) -> None:
    made = enqueue_many(connection, [RunRequest("noop", (f"S{n}",), "x", webhook=HOOK) for n in range(1000)])
    while preparer.run_once() is not None:
        pass
    consumer.work_until_empty("bench")
    rows = connection.execute("SELECT ended_run_id, count(*), count(DISTINCT id) FROM deliveries GROUP BY 1").fetchall()
    assert sorted(rows) == [(each.id, 1, 1) for each in made]


@pytest.mark.parametrize(
    ("webhook", "message"),
    [
        ("https://example.com", "webhook is not an object with the fields url and secrets alone"),
        ({**HOOK, "method": "GET"}, "webhook is not an object with the fields url and secrets alone"),
        ({"secrets": ["env:A"]}, "the url of the webhook is not a URL as https://example.com/hooks without user"),
        ({**HOOK, "url": "ftp://example.com"}, "the url of the webhook is not a URL as https://example.com/hooks"),
        ({**HOOK, "url": "https://u:p@example.com"}, "the url of the webhook is not a URL as"),
        ({**HOOK, "url": "https://example.com/#x"}, "the url of the webhook is not a URL as"),
        ({**HOOK, "url": "https://example.com/a b"}, "the url of the webhook is not a URL as"),
        ({**HOOK, "url": "https://example.com/" + "x" * 1000}, "the url of the webhook is not a URL as"),
        ({"url": HOOK["url"]}, "the secrets of the webhook are not a list of 1 to 5 references as env:MY_SECRET"),
        ({**HOOK, "secrets": []}, "the secrets of the webhook are not a list of 1 to 5 references as env:MY_SECRET"),
        ({**HOOK, "secrets": ["whsec_abc"]}, "a secret of the webhook is not named: name the variable that holds it"),
    ],
)
def test_a_webhook_that_breaks_a_rule_is_rejected(connection: Connection, webhook: Any, message: str) -> None:
    with pytest.raises(psycopg.Error) as caught:
        submit(connection, "ledger_entry", symbols=["A"], webhook=webhook)
    assert caught.value.diag.sqlstate == "SW001"
    text = caught.value.diag.message_primary or ""
    assert message in text
    assert "example.com/hooks/1" not in text
    assert "whsec_abc" not in text
    assert fetch_value(connection, "SELECT count(*) FROM runs") == 0


def test_a_url_by_reference_has_one_set_of_secrets(connection: Connection) -> None:
    hook = {"url": "env:HOOK_URL", "secrets": ["env:A"]}
    submit(connection, "ledger_entry", symbols=["A"], webhook=hook)
    submit(connection, "ledger_entry", symbols=["A"], webhook=hook)
    with pytest.raises(psycopg.Error, match="the webhook env:HOOK_URL is signed with other secrets already"):
        submit(connection, "ledger_entry", symbols=["A"], webhook={**hook, "secrets": ["env:B"]})
    for secret in ("env:A", "env:B"):
        submit(connection, "ledger_entry", symbols=["A"], webhook={**HOOK, "secrets": [secret]})
    assert fetch_value(connection, "SELECT count(*) FROM endpoints") == 3


def test_a_key_is_of_one_webhook(connection: Connection) -> None:
    run_id = submit(connection, "ledger_entry", symbols=["A"], webhook=HOOK, key="k")
    assert submit(connection, "ledger_entry", symbols=["A"], webhook=HOOK, key="k") == run_id
    with pytest.raises(psycopg.Error, match=f"key 'k' belongs to run {run_id}, whose request differs in: webhook"):
        submit(connection, "ledger_entry", symbols=["A"], key="k")


def test_a_run_with_a_webhook_is_submitted_and_not_enqueued(
    connection: Connection, streams: Streams, registry: Registry
) -> None:
    with pytest.raises(BadInputError, match="a run that starts later or has a webhook is submitted"):
        enqueue(connection, streams, registry, RunRequest("ledger_entry", ("A",), "A", webhook=HOOK))
