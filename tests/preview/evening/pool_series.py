"""The series of supervisors: their workers, the items that they executed, and the queues that they read."""

from collections.abc import Iterator, Sequence

import numpy as np

from preview.evening.series import (
    JOBS,
    QUEUES,
    SLOTS_EACH,
    SUPERVISORS,
    Call,
    Clock,
    Labels,
    Series,
    State,
    Values,
    calls_of,
    histogram,
)

# The bounds of streamworkers/engine/host/metrics.py.
_DURATIONS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
_WAITS = (0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 600, 1800, 3600)
_ENDS = (
    "stopped",
    "exited",
    "signal",
    "timeout",
    "hook",
    "silent",
    "memory",
    "start_failed",
    "fork_server_lost",
    "stop_timeout",
)
_STORES = [(store, kind) for store in ("redis", "postgresql") for kind in ("away", "rejected", "full")]
_MEBIBYTE = 1 << 20


def pool_series(state: State, clock: Clock) -> Iterator[Series]:
    """Every series of every supervisor."""
    calls = calls_of(state.runs)
    for number, instance in enumerate(SUPERVISORS):
        where = {"component": "worker", "instance": instance}
        own = [call for call in calls if call.slot // SLOTS_EACH == number]
        for queue in QUEUES:
            for job in JOBS[queue]:
                yield from _of_job(where | {"queue": queue, "job": job}, number, state, own, clock)
            yield from _of_queue(where | {"queue": queue}, clock)
            yield from backlog(where | {"queue": queue}, state, clock)
        yield from _of_process(where, number, own, state, clock)
        yield from _of_provider(where | {"provider": "massive"}, number, state, clock)


def backlog(labels: Labels, state: State, clock: Clock) -> Iterator[Series]:
    """The entries of a queue, and the age of the oldest; each process reports the same."""
    waiting, age = np.zeros_like(clock.times), np.zeros_like(clock.times)
    for run in state.runs:
        if run.queue != labels["queue"]:
            continue
        created = run.created.timestamp()
        ends = np.sort([item.finished.timestamp() if item.finished else np.inf for item in run.items])
        still = len(run.items) - np.searchsorted(ends, clock.times, side="right")
        still = np.where(clock.times >= created, still, 0)
        waiting += still
        age = np.where((still > 0) & (age == 0), clock.times - created, age)
    delayed = np.where(clock.times > (state.away_since or np.inf), waiting, 0) * (labels["queue"] == "load")
    pending = np.minimum(waiting - delayed, SLOTS_EACH * len(SUPERVISORS))
    for name, values in (("waiting", waiting - delayed - pending), ("pending", pending), ("delayed", delayed)):
        yield Series("streamworkers_queue_entries", {**labels, "state": name}, values)
    yield Series("streamworkers_queue_oldest_age_seconds", labels, age)


def _of_job(labels: Labels, number: int, state: State, own: Sequence[Call], clock: Clock) -> Iterator[Series]:
    items = [
        item
        for run in state.runs
        if run.job == labels["job"]
        for item in run.items
        if item.slot is not None and item.slot // SLOTS_EACH == number
    ]
    ends = {
        outcome: [item.finished.timestamp() for item in items if item.finished and item.status == outcome]
        for outcome in ("completed", "failed")
    }
    starts = [item.started.timestamp() for item in items if item.started for _ in range(max(1, item.attempt))]
    again = [item.started.timestamp() for item in items if item.started for _ in range(item.attempt - 1)]
    yield Series("streamworkers_items_started_total", labels, clock.count(starts))
    for outcome, moments in ends.items():
        yield Series("streamworkers_items_finished_total", {**labels, "outcome": outcome}, clock.count(moments))
    yield Series("streamworkers_items_retried_total", labels, clock.count(again))
    away = state.away_since if labels["job"] == "load_ohlcv" else None
    snoozed = [] if away is None else list(np.arange(away, clock.times[-1], 3))
    yield Series("streamworkers_items_snoozed_total", labels, clock.count(snoozed))
    for name in ("items_fenced", "entries_dropped"):
        yield Series(f"streamworkers_{name}_total", labels, 0 * clock.one)
    calls = [call for call in own if call.job == labels["job"]]
    for name, bounds, seen in (
        ("batch_duration_seconds", _DURATIONS, [(call.ended, call.seconds) for call in calls]),
        ("batch_wait_seconds", _WAITS, [(call.ended, call.waited) for call in calls]),
        ("batch_items", _SIZES, [(call.ended, float(call.items)) for call in calls]),
    ):
        yield from histogram(f"streamworkers_{name}", labels, bounds, clock, seen)


def _of_queue(labels: Labels, clock: Clock) -> Iterator[Series]:
    for name in ("entries_reclaimed", "entries_promoted", "entries_rejected", "items_reconciled"):
        yield Series(f"streamworkers_{name}_total", labels, 0 * clock.one)
    for cause in ("died", "stopped"):
        yield Series("streamworkers_entries_requeued_total", {**labels, "cause": cause}, 0 * clock.one)
    yield Series("streamworkers_items_undecided", labels, 0 * clock.one)
    # A worker ended long ago, so that the histogram is there, with nothing in the day.
    yield from histogram("streamworkers_requeue_duration_seconds", labels, _WAITS, clock, [(0.0, 2.1)])


def _of_process(where: Labels, number: int, own: Sequence[Call], state: State, clock: Clock) -> Iterator[Series]:
    busy = np.zeros_like(clock.times)
    for slot in range(SLOTS_EACH):
        spans = [call for call in own if call.slot % SLOTS_EACH == slot]
        works = clock.passed([call.ended - call.seconds for call in spans]) - clock.passed(
            [call.ended for call in spans]
        )
        # What is executed at the moment itself has not ended: the slots of an open run are busy.
        if state.away_since is None and any(run.completed is None and run.started for run in state.runs):
            works[-2:] = 1
        busy += works
        labels = {**where, "slot": str(slot)}
        memory = clock.noise((168 + 9 * number + 5 * slot) * _MEBIBYTE, 0.06)
        yield Series("streamworkers_worker_private_memory_bytes", labels, memory)
        yield Series("streamworkers_worker_resident_memory_bytes", labels, memory + 61 * _MEBIBYTE)
        seconds = np.cumsum(works * 51 + 0.3)
        yield Series("streamworkers_worker_cpu_seconds_total", labels, seconds)
    for name, values in (("busy", busy), ("idle", SLOTS_EACH - busy)):
        yield Series("streamworkers_workers", {**where, "state": name}, values)
    yield Series("streamworkers_worker_slots", where, SLOTS_EACH * clock.one)
    ended = [state.night.now.timestamp() - 9 * 60] if number == 0 and state.night.name == "evening" else []
    for cause in _ENDS:
        moments = ended if cause == "memory" else []
        yield Series("streamworkers_worker_ends_total", {**where, "cause": cause}, clock.count(moments))
    yield from of_every_process(where, clock)
    for store, kind in _STORES:
        yield Series("streamworkers_workers_holding", {**where, "store": store, "kind": kind}, 0 * clock.one)


def of_every_process(where: Labels, clock: Clock) -> Iterator[Series]:
    """What supervisors and schedulers have in common."""
    yield Series("up", where, clock.one)
    yield Series("streamworkers_build_info", {**where, "version": "0.2.0"}, clock.one)
    for name, count in (("idle", 2), ("busy", 1)):
        yield Series("streamworkers_db_pool_connections", {**where, "state": name}, count * clock.one)
    yield Series("streamworkers_db_pool_requests_waiting", where, 0 * clock.one)
    yield Series("streamworkers_db_pool_requests_total", {**where, "outcome": "served"}, clock.grow(1.4))
    yield Series("streamworkers_db_pool_requests_total", {**where, "outcome": "failed"}, 0 * clock.one)
    yield Series("streamworkers_db_pool_wait_seconds_total", where, clock.grow(0.0011))
    for service in ("reconciler", "outbox_relay", "preparer", "pruner"):
        yield Series("streamworkers_service_failures_total", {**where, "service": service}, 0 * clock.one)
        yield Series("streamworkers_loops_failing", {**where, "loop": service}, 0 * clock.one)
    for store, kind in _STORES:
        for name in ("store_faults", "scrape_faults"):
            yield Series(f"streamworkers_{name}", {**where, "store": store, "kind": kind}, 0 * clock.one)
    for outcome in ("prepared", "empty", "rejected", "retried"):
        prepared = np.floor(clock.grow(0.0004 if outcome == "prepared" else 0))
        yield Series("streamworkers_runs_prepared_total", {**where, "job": "indicators", "outcome": outcome}, prepared)


def _of_provider(labels: Labels, number: int, state: State, clock: Clock) -> Iterator[Series]:
    items = [item for run in state.runs if run.job == "load_ohlcv" for item in run.items if item.finished]
    own = [item for item in items if item.slot is not None and item.slot // SLOTS_EACH == number]
    good = [item.finished.timestamp() for item in own if item.finished and item.status == "completed"]
    bad = [item.finished.timestamp() for item in own if item.finished and item.status == "failed" for _ in range(3)]
    if state.away_since is not None and number == 0:  # one process asks, every minute
        bad += list(np.arange(state.away_since, clock.times[-1], 60))
    calls: dict[str, Values] = {"200": clock.count(good), "timeout": clock.count(bad), "429": 0 * clock.one}
    for answer, values in calls.items():
        yield Series("streamworkers_provider_calls_total", {**labels, "answer": answer, "purpose": "load"}, values)
    listings = {**labels, "answer": "200", "purpose": "listing"}
    yield Series("streamworkers_provider_calls_total", listings, np.floor(clock.count(good) / 20))
    yield Series("streamworkers_provider_waits_total", labels, np.floor(clock.count(good) / 40))
    yield Series("streamworkers_provider_bars_total", {**labels, "timeframe": "day"}, clock.count(good))
    yield Series("streamworkers_provider_bars_rejected_total", {**labels, "rule": "price"}, 0 * clock.one)
