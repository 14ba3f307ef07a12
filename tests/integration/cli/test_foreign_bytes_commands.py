"""Junk under our keys ends no command: `doctor` names it, and mends what is ours."""

from command_line import Run as Command
from foreign_bytes import leave_junk
from harness import start_run
from streamworkers.database import Connection
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry


def test_commands_name_the_junk_and_doctor_mends_what_is_ours(
    cli: Command, connection: Connection, streams: Streams, registry: Registry
) -> None:
    leave_junk(streams)
    run = start_run(connection, streams, registry, "ledger_entry", "A")
    streams.client.raw.hset(streams.keys.open_items("tests"), str(run.id), "many")
    assert cli("status").err == ""
    found = [row["what"] for row in cli("doctor", "--json").json if row["kind"] == "stale_count"]
    assert "the field 'abc' among the counts of queue tests is none: another program wrote it" in found
    cli("doctor", "--fix")
    assert streams.inspector.find_foreign_counts("tests") == []
    left = [row["where"] for row in cli("doctor", "--json").json if row["kind"] == "leaked_key"]
    names = (r"rate:\xff\xfe", r"whatever:\xff\xfe", r"{\xff\xfe}:stream")
    assert sorted(left) == sorted(f"key {streams.keys.prefix}:{name}" for name in names)
    for name in streams.inspector.find_leaked_keys():
        streams.delete_lasting(name)
