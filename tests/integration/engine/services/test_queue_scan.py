"""What is in a queue is seen, wherever it is and while it moves."""

import msgpack
import pytest

from consumer import Consumer
from harness import start_run
from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.ledger import Run
from streamworkers.engine.redis.entry import ENTRY_VERSION, Entry
from streamworkers.engine.redis.streams import Streams, open_streams
from streamworkers.engine.registry import Registry
from streamworkers.engine.services import queue_scan as census_module
from streamworkers.engine.services.queue_scan import QueueScan, read_item, split_for_scans
from streamworkers.errors import RedisUnavailableError

LIMIT = 16_384
FAR = {"ready_at": 32503680000}


def _queue_scan(streams: Streams, *runs: Run) -> QueueScan:
    return QueueScan(streams, "tests", runs, LIMIT)


def _seen(scan: QueueScan, run: Run) -> list[int]:
    return [seq for seq in range(run.item_count) if scan.has_seen(run.id, seq)]


def test_waiting_pending_and_delayed_entries_are_seen_and_finished_ones_are_not(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer, second_consumer: Consumer
) -> None:
    done = start_run(connection, streams, registry, "ledger_entry", "A", "B", "C")
    consumer.work(count=1)
    second_consumer.read(count=1)
    snoozed = start_run(connection, streams, registry, "snoozing", "D", parameters=FAR)
    consumer.execute([delivery for delivery in consumer.read(count=9) if b"snoozing" in delivery.packed])
    assert streams.inspector.read_backlog("tests").delayed == 1
    scan = _queue_scan(streams, done, snoozed)
    scan.finish()
    assert (_seen(scan, done), _seen(scan, snoozed)) == ([1, 2], [0])
    assert (scan.count_seen(done.id), scan.count_seen(snoozed.id)) == (2, 1)
    assert (scan.malformed, dict(scan.other_runs)) == (0, {})
    streams.client.raw.delete(streams.keys.delayed("tests"))


def test_entries_of_other_runs_and_of_nobody_are_counted_apart(
    connection: Connection, streams: Streams, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = start_run(connection, streams, registry, "ledger_entry", "A")
    other = start_run(connection, streams, registry, "ledger_entry", "B", "C")
    beyond = Entry(asked.id, 1, "ledger_entry", "B", "", 1).pack()
    streams.queues.add("tests", 77, [Entry(77, 0, "ledger_entry", "A", "", 1).pack(), b"\xc1", beyond])
    streams.client.raw.xadd(streams.keys.stream("tests"), {"some": "thing", "quite": "different"})
    scan = _queue_scan(streams, asked)
    scan.finish()
    assert _seen(scan, asked) == [0]
    assert dict(scan.other_runs) == {other.id: 2, 77: 1}
    assert scan.malformed == 3
    monkeypatch.setattr(census_module, "MOST_OTHER_RUNS", 1)
    bounded = _queue_scan(streams, asked)
    bounded.finish()
    assert (dict(bounded.other_runs), bounded.malformed) == ({other.id: 2}, 4)


def test_a_long_stream_is_read_in_bounded_steps_from_end_to_end(
    connection: Connection, streams: Streams, registry: Registry
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", *[f"S{n}" for n in range(2500)])
    scan = _queue_scan(streams, run)
    assert [scan.step(1) for _ in range(6)] == [False, False, False, False, True, True]
    assert scan.count_seen(run.id) == 2500


def test_an_entry_that_is_put_back_behind_the_reading_is_seen(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", *[f"S{n}" for n in range(1500)])
    scan = _queue_scan(streams, run)
    assert not scan.step(2)
    assert len(consumer.read(count=1500)) == 1500
    streams.leases.requeue("tests", "one")
    scan.finish()
    assert scan.count_seen(run.id) == 1500


def test_an_entry_that_is_promoted_during_the_reading_is_seen(
    connection: Connection, streams: Streams, registry: Registry
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", "A", "B")
    keys = streams.keys
    (first, *_) = streams.inspector.scan_stream("tests", "0-0")
    streams.queues.remove_entries("tests", [first.entry_id], [])
    streams.client.raw.zadd(keys.delayed("tests"), {first.packed: 1})
    scan = _queue_scan(streams, run)
    assert not scan.step(1)
    streams.queues.promote("tests", 10)
    scan.finish()
    assert scan.count_seen(run.id) == 2


def test_an_entry_that_goes_to_the_delayed_set_before_the_stream_is_read_is_seen(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    run = start_run(connection, streams, registry, "snoozing", "A", "B", parameters=FAR)
    scan = _queue_scan(streams, run)
    assert not scan.step(1)
    consumer.work()
    assert streams.inspector.read_backlog("tests").delayed == 2
    scan.finish()
    assert scan.count_seen(run.id) == 2
    streams.client.raw.delete(streams.keys.delayed("tests"))


def test_a_census_that_fails_goes_on_where_it_was(connection: Connection, streams: Streams, registry: Registry) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", *[f"S{n}" for n in range(1500)])
    scan = _queue_scan(streams, run)
    assert not scan.step(2)
    there, away = scan._inspector, open_streams("unix:///nowhere/redis.sock", "x")
    scan._inspector = away.inspector
    with pytest.raises(RedisUnavailableError):
        scan.step(1)
    away.close()
    scan._inspector = there
    scan.finish()
    assert scan.count_seen(run.id) == 1500


def test_what_either_of_two_looks_saw_is_seen(connection: Connection, streams: Streams, registry: Registry) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", "A", "B", "C")
    entries = streams.inspector.scan_stream("tests", "0-0")
    streams.queues.remove_entries("tests", [entries[0].entry_id, entries[2].entry_id], [])
    first = _queue_scan(streams, run)
    first.finish()
    streams.queues.remove_entries("tests", [entries[1].entry_id], [])
    streams.queues.add("tests", run.id, [entries[0].packed])
    second = _queue_scan(streams, run)
    second.finish()
    second.add_seen(first)
    assert _seen(second, run) == [0, 1]


def test_the_items_of_entries_of_a_newer_release_are_known() -> None:
    newer = msgpack.packb([ENTRY_VERSION + 1, 7, 3, "job", {"what": "ever"}])
    assert read_item(newer, LIMIT) == (7, 3)
    assert read_item(msgpack.packb([ENTRY_VERSION + 1, "7", 3]), LIMIT) is None
    assert read_item(msgpack.packb([ENTRY_VERSION + 1]), LIMIT) is None
    assert read_item(b"x" * (LIMIT + 1), LIMIT) is None


def test_a_census_is_asked_for_a_bounded_number_of_items(
    connection: Connection, streams: Streams, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(census_module, "MOST_ITEMS_SCANNED", 4)
    for count in (1, 3, 1, 9, 2):
        start_run(connection, streams, registry, "ledger_entry", *[f"S{n}" for n in range(count)])
    runs = ledger.read_unfinished_runs(connection, "tests", ledger.read_moment_before(connection, 0), 0, 10)
    sizes = [[unfinished.run.item_count for unfinished in group] for group in split_for_scans(runs)]
    assert sizes == [[1, 3], [1], [9], [2]]
