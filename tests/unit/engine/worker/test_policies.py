"""The pure parts of the pool: when to retry, how much to read, what becomes of an outcome, who reads which queue."""

import random
import threading
from datetime import UTC, datetime, timedelta

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamworkers.engine.backoff import Backoff
from streamworkers.engine.outcome import Completed, Failed, Item, Outcome, Snoozed
from streamworkers.engine.redis.entry import Entry, NewerEntryError, unpack_entry
from streamworkers.engine.supervisor.slots import plan_slots
from streamworkers.engine.worker.batch_size import BatchSizer
from streamworkers.engine.worker.decide import NO_OUTCOME, RetryRule, decide
from streamworkers.engine.worker.handler import split_batches
from streamworkers.engine.worker.retry_policy import retry_delay_seconds
from streamworkers.errors import BadInputError

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def _entry(seq: int = 0, attempt: int = 1, isolated: bool = False) -> Entry:
    return Entry(7, seq, "job", f"S{seq}", "day", 1, attempt, isolated, entry_id=f"{seq}-0")


def _rule(max_attempts: int = 3) -> RetryRule:
    return RetryRule(max_attempts, 2.0, 60.0)


@pytest.mark.parametrize(("attempt", "bound"), [(1, 2.0), (2, 4.0), (5, 32.0), (6, 60.0), (100, 60.0)])
def test_retry_delays_fill_the_range_below_a_doubling_bound_with_a_mean_of_half(attempt: int, bound: float) -> None:
    rng = random.Random(1)
    delays = [retry_delay_seconds(attempt, rng, base_seconds=2.0, cap_seconds=60.0) for _ in range(4000)]
    assert 0 <= min(delays) < 0.01 * bound
    assert 0.99 * bound < max(delays) <= bound
    assert sum(delays) / len(delays) == pytest.approx(bound / 2, rel=0.05)


def test_the_first_read_is_small_and_the_next_fits_the_measured_pace() -> None:
    sizer = BatchSizer(1.0, 50)
    assert sizer.count == BatchSizer.FIRST_COUNT
    sizer.measured(10, 1.0)
    assert sizer.count == 10
    sizer.measured(10, 0.0)
    assert 10 < sizer.count <= 50


def test_an_item_that_takes_longer_than_the_target_is_read_alone() -> None:
    sizer = BatchSizer(1.0, 50)
    sizer.measured(1, 30.0)
    assert sizer.count == 1


def test_instant_items_are_read_in_the_largest_batches() -> None:
    sizer = BatchSizer(1.0, 50)
    sizer.measured(8, 0.0)
    assert sizer.count == 50


def test_a_completed_item_keeps_its_value_and_result() -> None:
    entry = _entry()
    decisions = decide([entry], {0: Completed(entry.item, 5, {"n": 1})}, _rule(), NOW, random.Random(1))
    assert [outcome.value for _, outcome in decisions.completed] == [5]
    assert [(c.seq, c.status, c.result) for c in decisions.completions()] == [(0, "completed", {"n": 1})]


def test_a_failed_item_runs_again_alone_in_its_next_attempt() -> None:
    entry = _entry(attempt=2)
    decisions = decide([entry], {0: Failed(entry.item, "boom")}, _rule(), NOW, random.Random(1))
    (retry,) = decisions.retries
    assert (retry.next_entry.attempt, retry.next_entry.isolated, retry.next_entry.reason) == (3, True, "boom")
    assert 0 <= retry.delay_seconds <= 4.0
    assert [(c.status, c.attempt, c.error) for c in decisions.failures()] == [("retrying", 2, "boom")]


def test_the_last_attempt_and_a_permanent_failure_are_dead() -> None:
    last, permanent = _entry(0, attempt=3), _entry(1)
    outcomes = {0: Failed(last.item, "boom"), 1: Failed(permanent.item, "never", permanent=True)}
    decisions = decide([last, permanent], outcomes, _rule(), NOW, random.Random(1))
    assert [outcome.error for _, outcome in decisions.dead] == ["boom", "never"]


def test_a_snoozed_item_costs_no_attempt_and_no_row() -> None:
    entry = _entry(attempt=2)
    outcome = Snoozed(entry.item, NOW + timedelta(seconds=90))
    decisions = decide([entry], {0: outcome}, _rule(), NOW, random.Random(1))
    assert [(r.delay_seconds, r.entry) for r in decisions.retries] == [(90.0, entry)]
    assert decisions.failures() == []


def test_an_error_that_stops_the_run_ends_everything_of_the_call_but_what_is_completed() -> None:
    entries = [_entry(seq) for seq in range(5)]
    stop = Failed(entries[2].item, "no key", stops_run=True)
    given: list[Outcome] = [Completed(entries[0].item), Failed(entries[1].item, "boom", permanent=True), stop]
    outcomes = dict(enumerate([*given, Snoozed(entries[3].item, NOW)]))  # and none of the last one
    decisions = decide(entries, outcomes, _rule(), NOW, random.Random(1))
    assert [entry.seq for entry, _ in decisions.completed] == [0]
    assert (decisions.dead, decisions.retries, decisions.only_complete) == ([], [], False)
    assert [(update.seq, update.status, update.error) for update in decisions.stops()] == [
        (seq, "failed", "no key") for seq in (1, 2, 3, 4)
    ]
    assert decisions.seqs() == [0, 1, 2, 3, 4]


def test_an_item_without_an_outcome_has_failed() -> None:
    decisions = decide([_entry(attempt=3)], {}, _rule(), NOW, random.Random(1))
    assert [outcome.error for _, outcome in decisions.dead] == [NO_OUTCOME]


def test_items_that_ask_for_it_run_alone_and_the_others_in_batches() -> None:
    entries = [_entry(seq, isolated=seq in (1, 4)) for seq in range(7)]
    seqs = [[entry.seq for entry in batch] for batch in split_batches(entries, 3)]
    assert seqs == [[0, 2, 3], [5, 6], [1], [4]]


def test_patience_doubles_its_pauses_up_to_a_bound_and_ends_with_a_stop() -> None:
    stop = threading.Event()
    stop.set()
    backoff = Backoff(stop, random.Random(1))
    pauses = []
    for _ in range(12):
        pauses.append(backoff.next_seconds)
        assert not backoff.failed()
    assert 0.05 <= pauses[0] <= 0.1
    assert all(2.5 <= pause <= 5.0 for pause in pauses[6:])
    backoff.succeeded()
    assert backoff.next_seconds <= 0.1


def test_processes_read_all_queues_unless_some_are_given_away() -> None:
    assert plan_slots(2, {}, ["a", "b"]) == [["a", "b"], ["a", "b"]]
    assert plan_slots(4, {"a": 3, "b": 1}, ["a", "b"]) == [["a"], ["a"], ["a"], ["b"]]
    assert plan_slots(3, {"a": 1}, ["a", "b"]) == [["a"], ["a", "b"], ["a", "b"]]
    assert plan_slots(2, {"a": 1, "b": None}, ["a", "b", "c"]) == [["a"], ["b"]]


@pytest.mark.parametrize(
    ("processes", "queues", "message"),
    [
        (0, {}, "0 processes is not between 1 and 256"),
        (2, {"a": 3}, r"the queues named ask for more than 2 processes: \{'a': 3\}"),
        (1, {"a": 1, "b": None}, r"the queues named ask for more than 1 processes"),
    ],
)
def test_processes_that_do_not_add_up_are_rejected(processes: int, queues: dict[str, int | None], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        plan_slots(processes, queues, ["a", "b"])


@given(
    st.builds(
        Entry,
        run_id=st.integers(1, 2**53),
        seq=st.integers(0, 2**31 - 1),
        job=st.text(max_size=20),
        symbol=st.text(max_size=20),
        timeframe=st.text(max_size=5),
        enqueued_ms=st.integers(0, 2**53),
        attempt=st.integers(1, 100),
        isolated=st.booleans(),
        reason=st.text(max_size=50),
        left_ms=st.integers(0, 2**53),
        generation=st.integers(0, 2**15 - 1),
    )
)
def test_an_entry_survives_packing(entry: Entry) -> None:
    assert unpack_entry(entry.pack(), 16_384, entry.entry_id) == entry


@given(st.binary(max_size=200))
def test_bytes_that_are_no_entry_are_rejected_and_nothing_else_is_raised(data: bytes) -> None:
    with pytest.raises(BadInputError):
        unpack_entry(data, 16_384)


@pytest.mark.parametrize(
    ("packed", "message"),
    [
        (b"\x01" * 300, "entry of 300 bytes exceeds STREAMWORKERS_ENTRY_MAX_BYTES=256"),
        (b"\xc1", "entry is not msgpack"),
        (b"\x90", "has no version from 1 to 2"),
        (b"\x91\x00", "has no version from 1 to 2"),
        (b"\x91\xc3", "has no version from 1 to 2"),
        (b"\x91\xa1e", "has no version from 1 to 2"),
        (b"\x91\x02", "entry has 1 fields, version 2 has 12"),
        (b"\x92\x01\x02", "entry has 2 fields, version 1 has 10"),
        (
            Entry(1, 0, "j", "s", "", 1, attempt=-5).pack(),
            "entry's run 1, seq 0 or attempt -5 is out of range",
        ),
        (b"\x9a\x01\xa1x\x00\xa1j\xa1s\xa0\x01\x01\xc2\xa0", "entry's run_id is 'x', not int"),
    ],
)
def test_a_rejected_entry_names_the_rule_it_breaks(packed: bytes, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        unpack_entry(packed, 256)


def test_an_entry_of_the_previous_version_is_read() -> None:
    packed = msgpack.packb((1, 7, 3, "job", "A", "day", 1_800_000_000_000, 2, True, "killed by signal 9"))
    assert unpack_entry(packed, 256) == Entry(7, 3, "job", "A", "day", 1_800_000_000_000, 2, True, "killed by signal 9")


def test_an_entry_of_a_newer_version_is_told_from_one_that_is_wrong() -> None:
    with pytest.raises(NewerEntryError, match="entry is of version 3, this release reads up to 2"):
        unpack_entry(msgpack.packb((3, "whatever", "comes")), 256)


def test_a_long_reason_is_cut_so_that_entries_stay_small() -> None:
    entry = Entry(1, 1, "j", "s", "", 1, reason="x" * 10_000)
    assert len(entry.pack()) < 400


def test_an_item_shows_its_handler_no_timeframe_where_there_is_none() -> None:
    assert Entry(1, 2, "j", "s", "", 1).item == Item(1, 2, "s", None, 1)
