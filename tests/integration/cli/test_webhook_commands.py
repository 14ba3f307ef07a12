"""Webhooks at the command line: the options of schedules, and calling the webhook of a run again."""

from pathlib import Path

import pytest

from command_line import Run
from streamworkers.database import Connection, fetch_value
from streamworkers.engine.registry import Registry
from submitting import install_jobs

_NOOP = ("--job", "noop", "--symbols", "A", "--cron", "0 12 * * *")
_HOOK = ("--webhook", "https://x.example/s3cr3t", "--webhook-secret", "env:HOOK")
_ANSWERED_410 = "the receiver answered 410"


def test_a_schedule_is_given_a_webhook_and_another_and_none(cli: Run, connection: Connection, tmp_path: Path) -> None:
    assert cli("schedules", "add", "nightly", *_NOOP, *_HOOK).code == 0
    shown = cli("schedules", "show", "nightly")
    assert "https://x.example/…" in shown.out
    assert "s3cr3t" not in shown.out
    assert cli("schedules", "list", "--json").json[0]["webhook"]["secrets"] == ["env:HOOK"]
    file = tmp_path / "schedules.yaml"
    assert cli("schedules", "export", file).code == 0
    assert "https://x.example/s3cr3t" in file.read_text()
    assert "unchanged" in cli("schedules", "import", file).out
    both = ("--webhook-secret", "env:A", "--webhook-secret", "env:B")
    assert cli("schedules", "edit", "nightly", "--webhook", "env:HOOK_URL", *both).code == 0
    found = cli("schedules", "show", "nightly", "--json").json["webhook"]
    assert found == {"url": "env:HOOK_URL", "secrets": ["env:A", "env:B"]}
    assert cli("schedules", "edit", "nightly", "--cron", "@daily").code == 0
    assert cli("schedules", "show", "nightly", "--json").json["webhook"] == found
    assert cli("schedules", "edit", "nightly", "--clear", "webhook").code == 0
    assert cli("schedules", "show", "nightly", "--json").json["webhook"] is None
    once = cli("schedules", "at", "noop", "2199-01-01T12:00", "--symbols", "A", "--name", "once", *_HOOK)
    assert once.code == 0, once.err
    assert fetch_value(connection, "SELECT webhook ->> 'url' FROM schedules WHERE name = 'once'") == _HOOK[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (_HOOK[:2], "--webhook is signed with --webhook-secret: name both"),
        (_HOOK[2:], "--webhook is signed with --webhook-secret: name both"),
        (("--webhook", "ftp://x", *_HOOK[2:]), "schedule 'x': the url of the webhook is not a URL as https://example"),
        ((*_HOOK[:3], "s3cr3t"), "schedule 'x': a secret of the webhook is not named: name the variable that holds it"),
    ],
)
def test_a_webhook_that_breaks_a_rule_is_rejected(
    cli: Run, connection: Connection, words: tuple[str, ...], message: str
) -> None:
    answer = cli("schedules", "add", "x", *_NOOP, *words)
    assert (answer.code, message in answer.err) == (2, True), answer.err
    assert "s3cr3t" not in answer.err
    assert cli("schedules", "list", "--json").json == []


def test_a_dead_call_is_sent_again_with_its_id(cli: Run, connection: Connection, registry: Registry) -> None:
    install_jobs(connection, registry)
    unknown = cli("runs", "retry-webhook", "1")
    assert (unknown.code, "no run is named '1'" in unknown.err) == (2, True)
    cli("enqueue", "noop", "--symbols", "A")
    assert cli("runs", "retry-webhook", "1").err == "Error: run 1 has no webhook\n"
    cli("enqueue", "noop", "--symbols", "A", *_HOOK)
    cli("runs", "cancel", "2")
    call = fetch_value(connection, "SELECT id::text FROM deliveries")
    for state in ("dead", "ambiguous", "suppressed"):
        connection.execute("UPDATE deliveries SET state = %s, attempts = 3, reason = 'x'", (state,))
        assert cli("runs", "retry-webhook", "2").out == f"run 2: its webhook is called again, as {call}\n"
        row = connection.execute("SELECT id::text, state, attempts, reason FROM deliveries").fetchone()
        assert row == (call, "queued", 0, None)
    connection.execute("UPDATE deliveries SET state = 'dead', parts = NULL")
    assert cli("runs", "retry-webhook", "2").err == "Error: what the call of run 2 says is not kept any more\n"
    rejected = "SELECT count(*) FROM audit_log WHERE action = 'run.webhook_retry' AND outcome = 'rejected'"
    assert fetch_value(connection, rejected) == 3


def test_a_receiver_that_was_switched_off_or_removed_is_there_again(
    cli: Run, connection: Connection, registry: Registry
) -> None:
    install_jobs(connection, registry)
    cli("enqueue", "noop", "--symbols", "A", *_HOOK)
    cli("runs", "cancel", "1")
    (receiver,) = cli("endpoints", "list", "--user=-run-webhooks", "--json").json
    connection.execute("UPDATE deliveries SET state = 'dead'")
    off = "UPDATE endpoints SET off_at = now(), off_reason = %s, off_by_provider = true"
    connection.execute(off, (_ANSWERED_410,))
    assert cli("runs", "retry-webhook", "1", "--json").code == 0
    assert fetch_value(connection, "SELECT off_at FROM endpoints") is None

    # What a person has switched off, that person switches on.
    connection.execute("UPDATE deliveries SET state = 'dead'")
    by_hand = ("--reason", "it is moved", "--user=-run-webhooks")
    assert cli("endpoints", "off", receiver["name"], *by_hand).code == 0
    on = ("endpoints", "on", receiver["name"], "--user=-run-webhooks")
    answer = cli("runs", "retry-webhook", "1")
    assert answer.err == f"Error: the receiver of run 1 is off (it is moved): `streamworkers {' '.join(on)}`\n"
    assert cli(*on).code == 0
    assert cli("runs", "retry-webhook", "1").code == 0

    connection.execute("UPDATE deliveries SET state = 'suppressed'")
    assert cli("endpoints", "remove", receiver["name"], "--user=-run-webhooks").code == 0
    assert cli("runs", "retry-webhook", "1").code == 0
    found = "SELECT e.address FROM deliveries d JOIN endpoints e ON e.id = d.endpoint_id WHERE d.state = 'queued'"
    assert fetch_value(connection, found) == f"{_HOOK[1]}#env:HOOK"


def test_the_newest_call_is_sent_again(cli: Run, connection: Connection, registry: Registry) -> None:
    install_jobs(connection, registry)
    cli("enqueue", "noop", "--symbols", "A", *_HOOK)
    cli("runs", "cancel", "1")
    connection.execute("UPDATE deliveries SET state = 'dead', created_at = created_at - interval '1 hour'")
    connection.execute("UPDATE runs SET status = 'PENDING'")
    cli("runs", "cancel", "1")
    waiting = cli("runs", "retry-webhook", "1")
    assert waiting.err == "Error: the call of run 1 is queued, and only a dead, held or suppressed one is retried\n"
    connection.execute("UPDATE deliveries SET state = 'dead'")
    newest = fetch_value(connection, "SELECT id::text FROM deliveries ORDER BY created_at DESC LIMIT 1")
    assert cli("runs", "retry-webhook", "1", "--json").json == {"run_id": 1, "webhook_id": newest}
    assert fetch_value(connection, "SELECT id::text FROM deliveries WHERE state = 'queued'") == newest
