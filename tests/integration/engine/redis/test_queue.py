"""The verbs on Redis, one by one, against a real Redis."""

from collections.abc import Sequence
from typing import Any

import msgpack
import pytest

from streamworkers.engine.redis.entry import Entry, unpack_entry
from streamworkers.engine.redis.inspector import Backlog
from streamworkers.engine.redis.keys import GROUP
from streamworkers.engine.redis.queue import Delay, Finished, FinishedBatch
from streamworkers.engine.redis.streams import Streams, open_streams
from streamworkers.errors import BadInputError, RedisUnavailableError

LIMIT = 16_384


def _entry(seq: int, **words: object) -> bytes:
    return Entry(1, seq, "noop", f"S{seq}", "", 1, **words).pack()  # type: ignore[arg-type]


def _add(streams: Streams, count: int, run_id: int = 1) -> None:
    streams.queues.ensure_groups(["q"])
    streams.queues.add("q", run_id, [_entry(seq) for seq in range(count)])


def finish(streams: Streams, done: Sequence[str], delays: Sequence[Delay] = ()) -> Finished:
    """Finish entries of run 1."""
    (finished,) = streams.queues.finish("q", [FinishedBatch(1, done, delays)])
    return finished


def test_what_was_added_before_the_group_was_made_is_delivered(streams: Streams) -> None:
    streams.queues.add("q", 1, [_entry(0)])
    assert [unpack_entry(d.packed, LIMIT).seq for d in streams.queues.read(["q"], "w", 10, 100)] == [0]


def test_an_entry_is_delivered_to_one_consumer_only(streams: Streams) -> None:
    _add(streams, 3)
    first = streams.queues.read(["q"], "a", 2, 100)
    second = streams.queues.read(["q"], "b", 2, 100)
    assert [len(first), len(second)] == [2, 1]


def test_queues_are_looked_at_in_the_order_given(streams: Streams) -> None:
    streams.queues.ensure_groups(["q", "r"])
    streams.queues.add("q", 1, [_entry(0)])
    streams.queues.add("r", 1, [_entry(1)])
    assert [d.queue for d in streams.queues.read(["r", "q"], "w", 10, 100)] == ["r"]


def test_finished_entries_leave_the_stream_and_are_counted_down(streams: Streams) -> None:
    _add(streams, 3)
    ids = [d.entry_id for d in streams.queues.read(["q"], "w", 3, 100)]
    finished = finish(streams, ids[:2])
    assert (finished.done, finished.open_left) == (2, 1)
    backlog = streams.inspector.read_backlog("q")
    assert (backlog.waiting, backlog.pending, backlog.delayed) == (0, 1, 0)


def test_a_consumer_that_lost_an_entry_cannot_finish_or_delay_it(streams: Streams) -> None:
    _add(streams, 2)
    done, failed = (d.entry_id for d in streams.queues.read(["q"], "w", 2, 100))
    streams.leases.requeue("q", "w", "killed by signal 9")
    finished = finish(streams, [done], [Delay(failed, 0, _entry(1, attempt=2))])
    assert (finished.done, finished.delayed, finished.open_left) == (0, 0, 2)
    assert streams.inspector.read_backlog("q").waiting == 2


def test_of_a_late_report_only_what_was_not_requeued_counts(streams: Streams) -> None:
    _add(streams, 3)
    (lost,) = streams.queues.read(["q"], "w", 1, 100)
    streams.leases.requeue("q", "w")
    kept = streams.queues.read(["q"], "w", 2, 100)
    finished = finish(streams, [lost.entry_id, *(d.entry_id for d in kept)])
    assert (finished.done, finished.open_left) == (2, 1)
    assert streams.inspector.read_backlog("q").waiting == 1


def test_what_was_reclaimed_cannot_be_finished_or_delayed_by_its_former_owner(streams: Streams) -> None:
    _add(streams, 2)
    done, failed = (d.entry_id for d in streams.queues.read(["q"], "w", 2, 100))
    streams.leases.renew("q", "w", 60_000)
    assert streams.leases.reclaim("q", "me", 0, "0-0", 10)[1] == 2
    finished = finish(streams, [done], [Delay(failed, 0, _entry(1, attempt=2))])
    assert (finished.done, finished.delayed, finished.open_left) == (0, 0, 2)
    assert len(streams.queues.read(["q"], "w2", 2, 100)) == 2


def test_entries_of_several_runs_are_finished_at_once_and_counted_for_each(streams: Streams) -> None:
    _add(streams, 2, run_id=1)
    _add(streams, 5000, run_id=2)
    ids = [d.entry_id for d in streams.queues.read(["q"], "w", 5002, 100)]
    answers = streams.queues.finish(
        "q",
        [
            FinishedBatch(1, ids[:1], [Delay(ids[1], 60_000, _entry(1))]),
            FinishedBatch(2, ids[2:-1]),
            FinishedBatch(3, ids[-1:]),
        ],
    )
    assert answers == [Finished(1, 1, 1), Finished(4999, 0, 1), Finished(1, 0, None)]
    assert streams.inspector.read_backlog("q") == Backlog(0, 0, 1)


@pytest.mark.parametrize(
    "lost", ["nothing", "an older entry is left", "one was requeued", "all were requeued", "the group"]
)
def test_a_whole_delivery_is_finished_and_nothing_else_whatever_happened_to_it(streams: Streams, lost: str) -> None:
    _add(streams, 10)
    older = streams.queues.read(["q"], "w", 2, 100)
    ids = [d.entry_id for d in streams.queues.read(["q"], "w2", 5, 100)]
    if lost != "an older entry is left":
        finish(streams, [d.entry_id for d in older])
    left = streams.inspector.read_backlog("q").total - len(ids)
    match lost:
        case "one was requeued":
            streams.client.raw.xclaim(streams.keys.stream("q"), GROUP, "w3", 0, [ids[2]])
            streams.leases.requeue("q", "w3")
        case "all were requeued":
            streams.leases.requeue("q", "w2")
        case "the group":
            streams.client.raw.xgroup_destroy(streams.keys.stream("q"), GROUP)
    delays = [Delay(ids[4], 60_000, _entry(4))]
    (finished,) = streams.queues.finish("q", [FinishedBatch(1, ids[:4], delays)], ids)
    requeued, delayed = {"one was requeued": (1, 1), "all were requeued": (5, 0)}.get(lost, (0, 1))
    if lost == "the group":
        left, delayed = left + 1, 0  # it could not be told whose the failed one is
    assert (finished.done, finished.delayed) == (max(0, 4 - requeued), delayed)
    backlog = streams.inspector.read_backlog("q")
    assert (backlog.total, backlog.delayed) == (left + requeued + delayed, delayed)
    streams.queues.ensure_groups(["q"])
    assert not set(ids) & {d.entry_id for d in streams.queues.read(["q"], "w4", 10, 1)} - set(ids[4:])


def test_an_entry_whose_payload_was_lost_is_counted_down_when_it_is_finished(streams: Streams) -> None:
    _add(streams, 2)
    ids = [d.entry_id for d in streams.queues.read(["q"], "w", 2, 100)]
    streams.client.raw.xdel(streams.keys.stream("q"), ids[0])
    assert finish(streams, ids) == Finished(2, 0, 0)


def test_entries_of_a_batch_whose_worker_died_run_alone_and_pay_no_attempt(streams: Streams) -> None:
    _add(streams, 2)
    delivered = streams.queues.read(["q"], "w", 2, 100)
    assert streams.leases.requeue("q", "w", "killed by signal 9", [d.entry_id for d in delivered]) == 2
    again = [unpack_entry(d.packed, LIMIT) for d in streams.queues.read(["q"], "w2", 5, 100)]
    assert [(e.seq, e.attempt, e.isolated, e.reason) for e in again] == [
        (0, 1, True, "killed by signal 9"),
        (1, 1, True, "killed by signal 9"),
    ]


def test_an_entry_that_ran_alone_when_its_worker_died_has_used_an_attempt(streams: Streams) -> None:
    _add(streams, 2)
    guilty, innocent = streams.queues.read(["q"], "w", 2, 100)
    streams.leases.requeue("q", "w", "timeout after 1 s", [guilty.entry_id])
    first, second = (unpack_entry(d.packed, LIMIT) for d in streams.queues.read(["q"], "w2", 2, 100))
    assert (first.attempt, first.isolated, first.reason) == (2, True, "timeout after 1 s")
    assert second == unpack_entry(innocent.packed, LIMIT)


def test_a_reclaimed_entry_runs_alone_and_pays_an_attempt_only_when_it_had_been_alone(streams: Streams) -> None:
    streams.queues.ensure_groups(["q"])
    streams.queues.add("q", 1, [_entry(0), _entry(1, isolated=True)])
    streams.queues.read(["q"], "w", 2, 100)
    streams.leases.reclaim("q", "me", 0, "0-0", 10)
    again = [unpack_entry(d.packed, LIMIT) for d in streams.queues.read(["q"], "w2", 2, 100)]
    assert [(e.attempt, e.isolated, e.reason) for e in again] == [
        (1, True, "lease ran out after 0 s"),
        (2, True, "lease ran out after 0 s"),
    ]


def test_after_redis_was_away_a_reclaimed_entry_pays_nothing(streams: Streams) -> None:
    streams.queues.ensure_groups(["q"])
    streams.queues.add("q", 1, [_entry(0, attempt=3, isolated=True)])
    streams.queues.read(["q"], "w", 1, 100)
    streams.leases.reclaim("q", "me", 0, "0-0", 10, charge=False)
    (delivery,) = streams.queues.read(["q"], "w2", 1, 100)
    entry = unpack_entry(delivery.packed, LIMIT)
    assert (entry.attempt, entry.isolated, entry.reason) == (3, True, "lease ran out after 0 s")


def test_entries_handed_back_in_order_come_back_as_they_were(streams: Streams) -> None:
    streams.queues.ensure_groups(["q"])
    sent = _entry(0, attempt=2, isolated=True, reason="x")
    streams.queues.add("q", 1, [sent])
    streams.queues.read(["q"], "w", 1, 100)
    streams.leases.requeue("q", "w")
    assert [d.packed for d in streams.queues.read(["q"], "w2", 1, 100)] == [sent]


def test_every_field_survives_being_put_back_by_lua(streams: Streams) -> None:
    streams.queues.ensure_groups(["q"])
    sent = Entry(2**52, 2**31 - 1, "job", "ΑΒΓ.X" * 10, "day", 1_800_000_000_000, 1, False, "")
    streams.queues.add("q", 1, [sent.pack()])
    (delivery,) = streams.queues.read(["q"], "w", 1, 100)
    streams.leases.requeue("q", "w", "died", [delivery.entry_id, "0-1"])
    (delivery,) = streams.queues.read(["q"], "w2", 1, 100)
    got = unpack_entry(delivery.packed, LIMIT)
    assert got.left_ms > 1_700_000_000_000
    assert got == sent._replace(isolated=True, reason="died", left_ms=got.left_ms)


def test_a_reclaimed_entry_tells_since_when_nobody_had_it(streams: Streams) -> None:
    _add(streams, 1)
    streams.queues.read(["q"], "w", 1, 100)
    streams.leases.reclaim("q", "me", 0, "0-0", 10)
    (delivery,) = streams.queues.read(["q"], "w2", 1, 100)
    left_ms = unpack_entry(delivery.packed, LIMIT).left_ms
    assert left_ms > int(delivery.entry_id.partition("-")[0]) - 60_000
    assert left_ms <= int(delivery.entry_id.partition("-")[0])


@pytest.mark.parametrize(
    "fields",
    [
        (1, 7, 3, "job", "A", "day", 1_800_000_000_000, 1, False, ""),
        (3, 7, 3, "job", "A", "day", 1_800_000_000_000, 1, False, "", 0, 5, "more", {"in": "later"}),
    ],
)
def test_an_entry_of_another_release_is_put_back_with_what_it_has(streams: Streams, fields: tuple[object, ...]) -> None:
    streams.queues.ensure_groups(["q"])
    streams.queues.add("q", 1, [msgpack.packb(fields)])
    (delivery,) = streams.queues.read(["q"], "w", 1, 100)
    streams.leases.requeue("q", "w", "died", [delivery.entry_id])
    (delivery,) = streams.queues.read(["q"], "w2", 1, 100)
    again = msgpack.unpackb(delivery.packed)
    assert again[7:10] == [2, True, "died"]
    assert (again[:7], again[11:]) == (list(fields[:7]), list(fields[11:]))


def test_an_entry_with_fields_of_a_stranger_is_delivered_and_put_back_as_one_payload(streams: Streams) -> None:
    streams.queues.ensure_groups(["q"])
    many = {str(number): "x" for number in range(6000)}
    for fields in ({"e": b"1", "f": b"2"}, {"x": b"\xff"}, many):
        streams.client.raw.xadd(streams.keys.stream("q"), fields)  # type: ignore[arg-type]
        (delivery,) = streams.queues.read(["q"], "w", 1, 100)
        words = [word for pair in fields.items() for word in pair]
        assert msgpack.unpackb(delivery.packed) == [
            word if isinstance(word, bytes) else word.encode() for word in words
        ]
        assert streams.leases.requeue("q", "w", "died", [delivery.entry_id]) == 1
        (delivery,) = streams.queues.read(["q"], "w2", 1, 100)
        assert len(msgpack.unpackb(delivery.packed, raw=True)) == len(words)
        streams.queues.discard("q", [delivery.entry_id])


def test_a_payload_that_is_no_entry_is_put_back_untouched(streams: Streams) -> None:
    streams.queues.ensure_groups(["q"])
    for payload in (b"\xc1 not msgpack", b"plain", b"\x93\x01\x02\x03"):
        streams.queues.add("q", 1, [payload])
        (delivery,) = streams.queues.read(["q"], "w", 1, 100)
        streams.leases.requeue("q", "w", "died", [delivery.entry_id])
        (delivery,) = streams.queues.read(["q"], "w2", 1, 100)
        assert delivery.packed == payload
        streams.queues.discard("q", [delivery.entry_id])


def test_more_entries_than_one_call_takes_are_all_handed_over(streams: Streams) -> None:
    _add(streams, 250)
    assert len(streams.queues.read(["q"], "w", 1000, 100)) == 250
    assert streams.leases.requeue("q", "w", "died") == 250
    assert streams.inspector.read_backlog("q").waiting == 250


def test_only_entries_whose_lease_ran_out_are_reclaimed(streams: Streams) -> None:
    _add(streams, 2)
    streams.queues.read(["q"], "w", 1, 100)
    assert streams.leases.reclaim("q", "me", 60_000, "0-0", 10) == ("0-0", 0)
    assert streams.leases.reclaim("q", "me", 0, "0-0", 10) == ("0-0", 1)
    assert streams.inspector.read_backlog("q").waiting == 2
    assert set(streams.inspector.read_consumers("q")) == {"w"}


def test_reclaiming_goes_on_from_its_cursor(streams: Streams) -> None:
    _add(streams, 25)
    streams.queues.read(["q"], "w", 25, 100)
    cursor, total, calls = "0-0", 0, 0
    while calls == 0 or cursor != "0-0":
        cursor, count = streams.leases.reclaim("q", "me", 0, cursor, 10)
        total, calls = total + count, calls + 1
    assert (total, calls >= 3) == (25, True)


def test_a_deleted_entry_leaves_the_pending_list_when_it_is_reclaimed(streams: Streams) -> None:
    _add(streams, 1)
    (delivery,) = streams.queues.read(["q"], "w", 1, 100)
    streams.client.raw.xdel(streams.keys.stream("q"), delivery.entry_id)
    assert streams.leases.reclaim("q", "me", 0, "0-0", 10)[1] == 0
    assert streams.inspector.read_backlog("q").pending == 0


def test_a_renewed_lease_starts_over_and_an_expired_one_is_not_revived(streams: Streams) -> None:
    _add(streams, 2)
    streams.queues.read(["q"], "w", 2, 100)
    assert streams.leases.renew("q", "w", 60_000) == 2
    assert streams.leases.renew("q", "w", 0) == 0
    assert streams.leases.renew("q", "other", 60_000) == 0


def test_renewal_reaches_more_entries_than_one_call_takes(streams: Streams) -> None:
    _add(streams, 230)
    streams.queues.read(["q"], "w", 230, 100)
    assert streams.leases.renew("q", "w", 60_000) == 230


def test_delayed_entries_are_promoted_when_they_are_due(streams: Streams) -> None:
    _add(streams, 2)
    soon, later = (d.entry_id for d in streams.queues.read(["q"], "w", 2, 100))
    finish(streams, (), [Delay(soon, 0, _entry(0)), Delay(later, 60_000, _entry(1))])
    assert streams.inspector.read_backlog("q").delayed == 2
    assert streams.queues.list_delayed(["empty", "q"]) == ["q"]
    count, next_ms = streams.queues.promote("q", 10)
    assert count == 1
    assert next_ms is not None
    assert 50_000 < next_ms <= 60_000
    assert streams.queues.promote("q", 10)[0] == 0


def test_promoting_nothing_says_that_nothing_is_due(streams: Streams) -> None:
    assert streams.queues.promote("q", 10) == (0, None)


def test_a_consumer_with_pending_entries_is_not_deleted(streams: Streams) -> None:
    _add(streams, 1)
    (delivery,) = streams.queues.read(["q"], "w", 1, 100)
    assert not streams.leases.remove_consumer("q", "w")
    finish(streams, [delivery.entry_id])
    assert streams.leases.remove_consumer("q", "w")
    assert streams.inspector.read_consumers("q") == {}


def test_a_service_lease_is_held_by_one_owner_at_a_time(streams: Streams) -> None:
    assert streams.leases.hold_service_lease("promoter", "a", 60_000)
    assert not streams.leases.hold_service_lease("promoter", "b", 60_000)
    assert streams.leases.hold_service_lease("promoter", "a", 60_000)
    assert 0 < streams.leases.read_service_lease_ms("promoter") <= 60_000
    assert streams.leases.read_service_lease_ms("nobody") == 0


def test_a_reader_of_queues_that_were_empty_asks_once_and_gets_one_entry_of_each(streams: Streams) -> None:
    assert streams.queues.read(["p", "q"], "w", 10, 1) == []
    calls = _reads(streams)
    assert streams.queues.read(["p", "q"], "w", 10, 1, were_empty=True) == []
    assert _reads(streams) == calls + 1
    _add(streams, 3)
    assert len(streams.queues.read(["p", "q"], "w", 10, 100, were_empty=True)) == 1
    assert len(streams.queues.read(["p", "q"], "w", 10, 100)) == 2


def _reads(streams: Streams) -> int:
    stats: Any = streams.client.raw.info("commandstats")
    return int(stats["cmdstat_xreadgroup"]["calls"])


def test_verbs_do_not_fail_when_the_group_is_gone(streams: Streams) -> None:
    _add(streams, 1)
    (delivery,) = streams.queues.read(["q"], "w", 1, 100)
    streams.client.raw.xgroup_destroy(streams.keys.stream("q"), GROUP)
    assert finish(streams, (), [Delay(delivery.entry_id, 0, _entry(0))]).delayed == 0
    assert streams.leases.requeue("q", "w", "died") == 0
    assert streams.leases.renew("q", "w", 1000) == 0
    assert streams.leases.remove_consumer("q", "w")
    assert streams.inspector.read_consumers("q") == {}
    assert streams.inspector.read_consumers("never-made") == {}
    assert streams.inspector.read_backlog("q").waiting == 1
    streams.queues.ensure_groups(["q"])
    streams.client.raw.xgroup_destroy(streams.keys.stream("q"), GROUP)
    assert finish(streams, [delivery.entry_id]) == Finished(1, 0, 0)
    assert streams.queues.read(["q"], "w", 1, 1) == []


def test_reclaiming_makes_a_lost_group_again(streams: Streams) -> None:
    assert streams.leases.reclaim("q", "me", 0, "0-0", 10) == ("0-0", 0)
    assert streams.inspector.read_consumers("q") == {}


def test_an_unreachable_redis_is_said_to_be_unreachable() -> None:
    streams = open_streams("unix:///nowhere/redis.sock", "x")
    with pytest.raises(RedisUnavailableError, match=r"^Redis does not answer: .*"):
        streams.inspector.ping()
    streams.close()


def test_a_rejection_by_redis_is_told_with_its_words(streams: Streams) -> None:
    streams.client.raw.set(streams.keys.stream("q"), "a string", ex=60)
    with pytest.raises(RedisUnavailableError, match=r"^Redis rejects: .*WRONGTYPE"):
        streams.queues.add("q", 1, [_entry(0)])


def test_a_url_that_is_none_is_rejected() -> None:
    with pytest.raises(BadInputError, match=r"STREAMWORKERS_REDIS_URL is not a URL that begins with redis://"):
        open_streams("http://localhost", "x")
