"""`streamworkers schedulers`: who they are and what each does."""

from datetime import UTC, datetime

from command_line import Run
from streamworkers.database import Connection
from streamworkers.engine.ledger.processes import ProcessRecord, record_process

STARTED = datetime(2026, 11, 27, 15, 0, tzinfo=UTC)
LOOPS = [
    {"name": "outbox-relay", "worked_at": "2026-11-27T15:30:00Z", "is_leased": True},
    {"name": "sign-of-life", "worked_at": None, "is_leased": False},
    {"name": "ticker", "worked_at": "2026-11-27T15:31:00Z", "is_leased": None},
]


def _record(connection: Connection, name: str, kind: str = "scheduler", **doing: object) -> None:
    record_process(connection, ProcessRecord(name, kind, "host", 7, "0.2.0", STARTED, doing))


def test_every_scheduler_is_listed_with_what_it_does(cli: Run, connection: Connection) -> None:
    for words in (("list",), ("show",)):
        assert cli("schedulers", *words).out == "no scheduler runs: streamworkers scheduler\n"
    fault = {"who": "ticker", "store": "redis", "kind": "away", "text": "Redis is away", "since": 1.0}
    _record(connection, "host-7-a", services=["outbox-relay"], loops=LOOPS)
    _record(connection, "host-8-b", services=[], loops=[], faults=[fault])
    _record(connection, "host-9-c", "supervisor")
    connection.execute("UPDATE processes SET seen_at = now() - interval '5 minutes' WHERE id = 'host-8-b'")

    rows = {row["id"]: row for row in cli("schedulers", "list", "--json").json}
    assert {name: (row["state"], row["trouble"]) for name, row in rows.items()} == {
        "host-7-a": ("ok", None),
        "host-8-b": ("silent", "Redis is away"),
    }
    assert (rows["host-7-a"]["host"], rows["host-7-a"]["pid"], rows["host-7-a"]["version"]) == ("host", 7, "0.2.0")
    table = cli("schedulers", "list").out
    assert "2026-11-27 10:00:00 EST" in table
    assert table.splitlines()[2].endswith("Redis is away")

    shown = cli("schedulers", "show", "host-7-a", "--json").json
    assert [(row["name"], row["does"]) for row in shown] == [
        ("outbox-relay", "yes"),
        ("sign-of-life", "no"),
        ("ticker", "always"),
    ]
    lines = cli("schedulers", "show").out.splitlines()
    assert lines[1].split(maxsplit=3) == ["host-7-a", "outbox-relay", "yes", "2026-11-27 10:30:00 EST"]
    assert lines[2].split() == ["host-7-a", "sign-of-life", "no"]
    answer = cli("schedulers", "show", "host-7")
    assert (answer.code, answer.err) == (2, "Error: no scheduler is named 'host-7'; did you mean 'host-7-a'?\n")
    connection.execute('UPDATE processes SET doing = \'{"loops": [{"name": 1}]}\'')
    assert cli("schedulers", "show", "--json").json == []
