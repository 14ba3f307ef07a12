"""Runs that start later, from the command line: what they wait for is shown everywhere, and waited for."""

from psycopg_pool import ConnectionPool

from command_line import Run, wait_for
from harness import Supervisor
from streamworkers.database import Connection
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from submitting import install_jobs, make_preparer


def test_what_a_run_waits_for_is_shown(
    cli: Run, connection: Connection, registry: Registry, pool: "ConnectionPool[Connection]", streams: Streams
) -> None:
    install_jobs(connection, registry)
    assert cli("enqueue", "ledger_entry", "--symbols", "A").code == 0
    started = cli("enqueue", "ledger_entry", "--symbols", "B", "--at", "2027-03-01T18:30", "--after", "1")
    assert (started.code, started.err) == (0, "")
    waits = "until 2027-03-01 18:30 EST and for run 1 (PENDING) to be COMPLETED"
    assert started.out == f"run 2 of ledger_entry waits {waits}\nwatch it: streamworkers runs watch 2\n"
    other = cli("enqueue", "ledger_entry", "--symbols", "C", "--after", "1", "--after", "2", "--after-when", "ended")
    assert "waits for run 1 (PENDING) to end and for run 2 (PENDING) to end\n" in other.out
    listed = cli("runs", "list").out
    assert waits in " ".join(listed.split())
    (third, second, first) = cli("runs", "list", "--json").json
    assert [each["is_waiting"] for each in (first, second, third)] == [False, True, True]
    assert third["after"] == [{"run_id": n, "needs": "ended", "status": "PENDING"} for n in (1, 2)]
    assert first["after"] is None
    assert f"  waits      {waits}\n" in cli("runs", "show", "2").out
    watched = cli("runs", "watch", "2", "--timeout", "0.1")
    assert watched.code == 1
    assert watched.err.startswith(f"run 2 waits {waits}\n")
    assert "run 2 has not ended after 0.1 s" in watched.err
    assert cli("runs", "cancel", "2").out == "run 2 cancelled with 0 items open\n"
    assert cli("runs", "cancel", "1").code == 0
    while make_preparer(pool, streams, registry).run_once() is not None:
        pass
    assert "waits" not in cli("runs", "list").out
    assert cli("runs", "show", "3", "--json").json["prepared_at"] is not None


def test_how_the_call_of_a_webhook_stands_is_shown(cli: Run, connection: Connection, registry: Registry) -> None:
    install_jobs(connection, registry)
    hook = ("--webhook", "https://x.example/s3cr3t", "--webhook-secret", "env:HOOK")
    started = cli("enqueue", "noop", "--symbols", "A", *hook)
    assert "run 1 of noop waits to be prepared by a worker or scheduler that has the job\n" in started.out
    assert "  webhook    https://x.example/…: is called when the run has ended\n" in cli("runs", "show", "1").out
    cli("runs", "cancel", "1")
    assert "  webhook    https://x.example/…: queued after 0 attempts (" in cli("runs", "show", "1").out
    connection.execute("UPDATE deliveries SET state = 'dead', attempts = 1, reason = 'the receiver answered 404'")
    dead = cli("runs", "show", "1").out
    assert "  webhook    https://x.example/…: dead after 1 attempts: the receiver answered 404 (" in dead
    connection.execute("UPDATE deliveries SET state = 'sent', sent_at = '2026-11-27T23:41:07.5Z'")
    shown = cli("runs", "show", "1")
    assert "  webhook    https://x.example/…: sent at 2026-11-27T23:41:07" in shown.out
    assert cli("runs", "show", "1", "--json").json["webhook"]["state"] == "sent"
    assert "s3cr3t" not in shown.out
    connection.execute("DELETE FROM deliveries")
    assert "  webhook    https://x.example/…: the record of its call is removed\n" in cli("runs", "show", "1").out
    cli("enqueue", "noop", "--symbols", "A", "--webhook", "env:HOOK_URL", *hook[2:])
    assert "  webhook    env:HOOK_URL: is called when the run has ended\n" in cli("runs", "show", "2").out
    assert cli("runs", "list", "--json").json[0]["webhook"]["url"] == "env:HOOK_URL"


def test_a_run_is_followed_until_it_has_waited_and_ended(cli: Run, worker: Supervisor) -> None:
    answer = cli("enqueue", "ledger_entry", "--symbols", "A", "--in", "2s", *wait_for(60))
    assert answer.code == 0
    assert "run 1 waits until " in answer.err
    assert "run 1: ledger_entry over A: COMPLETED" in answer.out
    chained = cli("enqueue", "ledger_entry", "--symbols", "A", "--after", "1", *wait_for(60))
    assert (chained.code, "run 2: ledger_entry over A: COMPLETED" in chained.out) == (0, True)


def test_a_run_whose_predecessor_failed_says_so(cli: Run, worker: Supervisor) -> None:
    failed = cli("enqueue", "ledger_entry", "--symbols", "BAD", "--max-attempts", "1", "--in", "2h")
    assert failed.code == 0
    cli("runs", "cancel", "1")
    answer = cli("enqueue", "ledger_entry", "--symbols", "A", "--after", "1", *wait_for(60))
    assert answer.code == 1
    assert "run 2: ledger_entry over A: CANCELLED" in answer.out
    assert "  reason     it waited for run 1 to be COMPLETED, and that is CANCELLED\n" in answer.out


def test_a_key_is_of_one_start_at_the_command_line_too(cli: Run, connection: Connection, registry: Registry) -> None:
    install_jobs(connection, registry)
    words = ("enqueue", "noop", "--symbols", "A", "--key", "k")
    first = cli(*words, "--at", "2027-03-01T18:30")
    assert "run 1 of noop waits until 2027-03-01 18:30 EST" in first.out
    again = cli(*words, "--at", "2027-03-01T18:30")
    assert again.out == "run 1 has the key 'k' already and is PENDING; nothing was started\n"
    for more in ((), ("--at", "2027-03-01T18:31"), ("--at", "2027-03-01T18:30", "--after", "1")):
        answer = cli(*words, *more)
        assert answer.code == 2
        assert "key 'k' belongs to run 1, whose request differs in: " in answer.err
        assert ("after" if "--after" in more else "start_at") in answer.err
    assert len(cli("runs", "list", "--json").json) == 1


def test_parameters_are_checked_before_a_run_waits(cli: Run, connection: Connection, registry: Registry) -> None:
    install_jobs(connection, registry)
    answer = cli("enqueue", "ledger_entry", "--symbols", "A", "--in", "1h", "--param", "milliseconds=long")
    assert "parameter milliseconds='long' of job 'ledger_entry': it is not a number" in answer.err
    unknown = cli("enqueue", "ledger_entry", "--universe", "nobody", "--in", "1h")
    assert "no universe is named 'nobody'" in unknown.err
    assert cli("runs", "list", "--json").json == []
