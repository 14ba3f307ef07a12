"""Another program adds entries that nobody could read: no process reads them, each is named, and the others go on."""

from pathlib import Path
from typing import Any

import pytest

from harness import effects_of, running_supervisor, start_run, wait_for_end, wait_until
from streamworkers.database import Connection
from streamworkers.engine.redis import replies
from streamworkers.engine.redis.entry import unpack_entry
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.errors import BadInputError, RedisUnavailableError

_LARGE = bytes(3 << 20)
_SAYS = f"entry of {len(_LARGE)} bytes exceeds STREAMWORKERS_ENTRY_MAX_BYTES=16384"
_SMALLER = "from streamworkers.engine.redis import replies\nreplies.MOST_REPLY_BYTES = 1 << 20\n"


@pytest.fixture
def short_replies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replies of more than 1 MiB are not read."""
    monkeypatch.setattr(replies, "MOST_REPLY_BYTES", 1 << 20)


def _says(packed: bytes) -> str:
    with pytest.raises(BadInputError) as found:
        unpack_entry(packed, 16_384)
    return str(found.value)


@pytest.mark.parametrize("fields", [{"e": _LARGE}, {"e": b"", "other": _LARGE}], ids=["ours", "others"])
def test_an_entry_that_is_not_read_is_requeued_as_a_short_one(
    streams: Streams, short_replies: None, fields: dict[str, bytes]
) -> None:
    streams.queues.ensure_groups(["q"])
    streams.client.raw.xadd(streams.keys.stream("q"), fields)  # type: ignore[arg-type]
    with pytest.raises(RedisUnavailableError, match="Redis is not read further: an answer is longer than 1 MiB"):
        streams.queues.read(["q"], "w.1", 1, 100)
    assert streams.leases.requeue("q", "w.1") == 1
    (delivery,) = streams.queues.read(["q"], "w.1", 1, 100)
    size = len(_LARGE) if len(fields) == 1 else len(_LARGE) + 15  # with the names, in msgpack
    assert _says(delivery.packed) == _SAYS.replace(str(len(_LARGE)), str(size))


def test_entries_of_the_usual_size_are_requeued_unchanged(streams: Streams) -> None:
    streams.queues.ensure_groups(["q"])
    packed = bytes(1 << 20)
    streams.client.raw.xadd(streams.keys.stream("q"), {"e": packed})
    streams.queues.read(["q"], "w.1", 1, 100)
    assert streams.leases.requeue("q", "w.1") == 1
    (delivery,) = streams.queues.read(["q"], "w.1", 1, 100)
    assert delivery.packed == packed


def test_a_delayed_entry_is_cut_when_it_is_due_or_when_it_is_looked_for(streams: Streams, short_replies: None) -> None:
    streams.queues.ensure_groups(["q"])
    later = 4e12
    streams.client.raw.zadd(streams.keys.delayed("q"), {b"\x01" + _LARGE: 1, b"\x02" + _LARGE: later, b"small": later})
    assert streams.queues.promote("q", 500)[0] == 1
    (delivery,) = streams.queues.read(["q"], "w.1", 1, 100)
    assert _says(delivery.packed) == _SAYS.replace(str(len(_LARGE)), str(len(_LARGE) + 1))
    assert streams.queues.promote("q", 500)[0] == 0
    cursor, entries = streams.inspector.scan_delayed("q", 0)
    assert (cursor, len(entries), b"small" in entries) == (0, 2, True)
    streams.queues.cut_delayed("q")
    scores: Any = streams.client.raw.zrange(streams.keys.delayed("q"), 0, -1, withscores=True)
    assert dict(scores) == dict.fromkeys(entries, later)


def test_nobody_who_looks_at_a_queue_reads_them(streams: Streams, short_replies: None) -> None:
    raw, key = streams.client.raw, streams.keys.stream("q")
    for fields in ({"e": _LARGE}, {"e": b"small"}, {"a": b"b"}):
        raw.xadd(key, fields)  # type: ignore[arg-type]
    assert streams.inspector.read_oldest_age("q") >= 0.0
    first, second, third = streams.inspector.scan_stream("q", "0-0")
    assert _says(first.packed) == _SAYS
    assert (second.packed, third.packed) == (b"small", b"\x92\xa1a\xa1b")
    assert streams.inspector.scan_stream("q", first.entry_id) == [second, third]


def test_workers_go_on_and_keep_what_they_reject(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    quick_environment: dict[str, str],
    tmp_path: Path,
) -> None:
    (tmp_path / "sitecustomize.py").write_text(_SMALLER, encoding="utf-8")
    streams.queues.ensure_groups(["tests"])
    for _ in range(3):
        streams.client.raw.xadd(streams.keys.stream("tests"), {"e": _LARGE})
    run = start_run(connection, streams, registry, "ledger_entry", "A", "B")
    environment = quick_environment | {"PYTHONPATH": f"{tmp_path}:{quick_environment['PYTHONPATH']}"}
    with running_supervisor(environment, tmp_path, "--processes", "1", "--queue", "tests=1") as pool:
        assert wait_for_end(connection, run) == "COMPLETED"
        wait_until(lambda: streams.client.raw.xlen(streams.keys.stream("tests")) == 0, what="the queue is empty")
        assert pool.events("worker_ended") == []
    assert effects_of(connection, run) == ["A", "B"]
    rejected = connection.execute("SELECT reason, length(payload) < 2000 FROM rejected_entries").fetchall()
    assert rejected == [(_SAYS, True)] * 3
