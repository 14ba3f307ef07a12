"""The job tables as the pool writes them. All SQL about runs and items is here, in `run_changes`, and in
`ledger_reports`.

An item is open (`pending`, `retrying`) or closed (`completed`, `failed`, `cancelled`). Whoever moves it from open to
closed first owns its effects: that UPDATE is the fence, and nothing else guards against a second effect.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from datetime import date, datetime
from typing import Any, NamedTuple

from psycopg.types.json import Jsonb

from streamworkers.database import Connection
from streamworkers.engine.job import RunRequest
from streamworkers.engine.outcome import Event

OPEN_STATES = ("pending", "retrying")
OPEN_RUN_STATES = ("PENDING", "RUNNING")
SCHEDULES_NOTIFY = "streamworkers_schedules"  # PostgreSQL's channel; the triggers of `schedules` use it too
_PAGE = 5000
_ENQUEUE_LOCKS = 0x5357  # any fixed numbers: the classes of our advisory locks
_SYMBOL_LOCKS = 0x5358
_SELECT_RUN = (
    "SELECT id, job, queue, status, timeframe, as_of, parameters, run_day, max_attempts, item_count,"
    " enqueued_at IS NOT NULL, schedule FROM runs"
)
_SELECT_UNFINISHED = _SELECT_RUN.replace(" FROM ", ", floor(extract(epoch FROM enqueued_at) * 1000)::bigint FROM ")


@dataclass(frozen=True, slots=True)
class Run:
    """What the pool needs to know of a run."""

    id: int
    job: str
    queue: str
    status: str
    timeframe: str | None
    as_of: datetime | None
    parameters: dict[str, Any]
    run_day: date
    max_attempts: int
    item_count: int
    is_enqueued: bool
    schedule: str | None = None

    @property
    def is_open(self) -> bool:
        """True until the run has ended."""
        return self.status in OPEN_RUN_STATES


class Unfinished(NamedTuple):
    """An open run, and when all its entries were in the stream, in Unix milliseconds, if they ever were."""

    run: Run
    enqueued_ms: int | None


class OpenItem(NamedTuple):
    """An item to work on: the attempts that it has used, and how often it was opened again."""

    seq: int
    symbol: str
    timeframe: str | None
    attempt: int = 0
    generation: int = 0


class ItemUpdate(NamedTuple):
    """A new state of an item: `completed` with a result, `failed` or `retrying` with an error.

    It holds for one generation of the item: what was begun before a replay or a retry changes nothing after it.
    """

    seq: int
    generation: int
    attempt: int
    status: str
    result: dict[str, Any] | None = None
    error: str | None = None


def create_run(connection: Connection, request: RunRequest, queue: str, max_attempts: int) -> tuple[Run, bool]:
    """Insert a run and its items in one transaction.

    Returns the run and True, or, when the idempotency key is taken, the run that has it and False.
    """
    with connection.transaction():
        row = connection.execute(
            "INSERT INTO runs (job, queue, target, timeframe, as_of, parameters, idempotency_key,"
            " item_count, max_attempts, trigger, schedule_id, schedule, scheduled_for, external_id, requested_by)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
            " ON CONFLICT (idempotency_key) DO NOTHING RETURNING id",
            (
                request.job,
                queue,
                request.target,
                request.timeframe,
                request.as_of,
                Jsonb(request.parameters or {}),
                request.idempotency_key,
                request.item_count,
                max_attempts,
                *astuple(request.origin),
            ),
        ).fetchone()
        if row is None:
            existing = connection.execute(
                _SELECT_RUN + " WHERE idempotency_key = %s", (request.idempotency_key,)
            ).fetchone()
            assert existing is not None
            return Run(*existing), False
        run = load_run(connection, row[0])
        assert run is not None
        connection.execute("SELECT ensure_run_items_partition(%s)", (run.run_day,))
        with connection.cursor().copy(
            "COPY run_items (run_day, run_id, seq, symbol, timeframe) FROM STDIN (FORMAT BINARY)"
        ) as copy:
            copy.set_types(["date", "int8", "int4", "text", "text"])
            for seq, (symbol, timeframe) in enumerate(request.items()):
                copy.write_row((run.run_day, run.id, seq, symbol, timeframe))
        # Last, so that no other enqueue of the job waits for this one's items.
        connection.execute(
            "INSERT INTO enqueued_totals AS t (queue, job, items_enqueued) VALUES (%s, %s, %s)"
            " ON CONFLICT (queue, job) DO UPDATE SET items_enqueued = t.items_enqueued + excluded.items_enqueued",
            (queue, run.job, run.item_count),
        )
    return run, True


def is_key_taken(connection: Connection, idempotency_keys: Sequence[str]) -> bool:
    """True when a run has one of these keys."""
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM runs WHERE idempotency_key = ANY(%s))", (list(idempotency_keys),)
    ).fetchone()
    assert row is not None
    return bool(row[0])


def mark_notified(connection: Connection, run_ids: Sequence[int]) -> set[int]:
    """Note that who asked for these runs has been told how they ended, unless one was opened again meanwhile.

    Returns those of which this call was the first to note it.
    """
    rows = connection.execute(
        "UPDATE runs SET status_notified = true WHERE id = ANY(%s) AND status NOT IN ('PENDING', 'RUNNING')"
        " AND NOT status_notified RETURNING id",
        (list(run_ids),),
    )
    return {run_id for (run_id,) in rows}


def mark_enqueued(connection: Connection, run_id: int) -> None:
    """Note that all entries of a run are in the stream. Not worth a disk's wait: lost, it is noted again."""
    with connection.transaction():
        connection.execute("SET LOCAL synchronous_commit TO off")
        connection.execute("UPDATE runs SET enqueued_at = clock_timestamp() WHERE id = %s", (run_id,))


def load_run(connection: Connection, run_id: int) -> Run | None:
    """The run of that id, or None."""
    row = connection.execute(_SELECT_RUN + " WHERE id = %s", (run_id,)).fetchone()
    return Run(*row) if row else None


def mark_running(connection: Connection, run_id: int) -> None:
    """Note that a worker took the first item of a run."""
    connection.execute(
        "UPDATE runs SET status = 'RUNNING', started_at = clock_timestamp() WHERE id = %s AND status = 'PENDING'",
        (run_id,),
    )


def open_symbols(connection: Connection, run: Run, seqs: Sequence[int]) -> dict[int, tuple[str, int]]:
    """The symbol and the generation of those of these items that are open, by seq."""
    rows = connection.execute(
        "SELECT seq, symbol, generation FROM run_items WHERE run_day = %s AND run_id = %s AND seq = ANY(%s)"
        " AND status IN ('pending', 'retrying')",
        (run.run_day, run.id, list(seqs)),
        binary=True,
    )
    return {seq: (symbol, generation) for seq, symbol, generation in rows}


def complete_items(
    connection: Connection, run: Run, worker: str, started_at: datetime, updates: Sequence[ItemUpdate]
) -> set[int]:
    """Close items as completed; returns the seqs that this call was the first to close.

    The items are named by `seq = ANY`, not by a join with their values: in a partition that was never analysed a join
    is planned from the run's side, which reads the whole run for every batch.
    """
    closed: set[int] = set()
    for (attempt, generation), group in _by_attempt(updates).items():
        results = {update.seq: update.result for update in group if update.result is not None}
        rows = connection.execute(
            "UPDATE run_items SET status = 'completed', attempt = %s, worker = %s, started_at = %s,"
            " finished_at = clock_timestamp(), result = %s::jsonb -> seq::text, error = NULL"
            " WHERE run_day = %s AND run_id = %s AND seq = ANY(%s) AND generation = %s"
            " AND status IN ('pending', 'retrying') RETURNING seq",
            (
                attempt,
                worker,
                started_at,
                json.dumps(results) if results else None,
                run.run_day,
                run.id,
                [update.seq for update in group],
                generation,
            ),
        )
        closed.update(seq for (seq,) in rows)
    return closed


def fail_items(
    connection: Connection,
    run: Run,
    worker: str | None,
    started_at: datetime | None,
    updates: Sequence[ItemUpdate],
    *,
    unless_recorded: bool = False,
) -> set[int]:
    """Move open items to `failed` or `retrying`, keeping each error in the history; returns the seqs moved.

    `unless_recorded` leaves out those of which this attempt or a later one is recorded already.
    """
    seqs = [update.seq for update in updates]
    rows = connection.execute(
        "UPDATE run_items i SET status = d.status, attempt = d.attempt, worker = %s, started_at = %s,"
        " finished_at = CASE d.status WHEN 'failed' THEN clock_timestamp() END, error = d.error,"
        " history = coalesce(i.history, '[]') || jsonb_build_object("
        "   'attempt', d.attempt, 'worker', %s::text, 'at', clock_timestamp(), 'error', d.error)"
        " FROM unnest(%s::int[], %s::int[], %s::smallint[], %s::text[], %s::text[])"
        "  AS d(seq, generation, attempt, status, error)"
        " WHERE i.run_day = %s AND i.run_id = %s AND i.seq = ANY(%s) AND (i.seq, i.generation) = (d.seq, d.generation)"
        " AND i.status IN ('pending', 'retrying') AND (NOT %s OR i.attempt < d.attempt) RETURNING i.seq",
        (
            worker,
            started_at,
            worker,
            seqs,
            [update.generation for update in updates],
            [update.attempt for update in updates],
            [update.status for update in updates],
            [update.error for update in updates],
            run.run_day,
            run.id,
            seqs,
            unless_recorded,
        ),
    )
    return {seq for (seq,) in rows}


def superseded(connection: Connection, run_id: int, symbols: Sequence[str]) -> set[str]:
    """The symbols that a newer run of the same job, timeframe, as-of and parameters has completed already.

    For a `save` whose rows belong to a symbol, not to a run: what the newer run left as it found it bears an older
    run's id, so the rows alone do not tell. The symbols are locked to the end of the transaction, so that of two runs
    at once the later one sees the other.
    """
    connection.execute(
        "SELECT pg_advisory_xact_lock(%s, key)"
        " FROM (SELECT DISTINCT hashtext(symbol) AS key FROM unnest(%s::text[]) AS symbol ORDER BY key) AS keys",
        (_SYMBOL_LOCKS, list(symbols)),
    )
    rows = connection.execute(
        "SELECT i.symbol FROM runs mine JOIN runs newer ON newer.id > mine.id"
        " AND (newer.job, newer.parameters) = (mine.job, mine.parameters)"
        " AND (newer.timeframe, newer.as_of) IS NOT DISTINCT FROM (mine.timeframe, mine.as_of)"
        " JOIN run_items i ON i.run_day = newer.run_day AND i.run_id = newer.id"
        " WHERE mine.id = %s AND i.status = 'completed' AND i.symbol = ANY(%s)",
        (run_id, list(symbols)),
    )
    return {symbol for (symbol,) in rows}


def add_events(connection: Connection, events: Sequence[Event]) -> None:
    """Put events into the outbox, in the transaction of what they tell. Raises TypeError for one that is no object."""
    for event in events:
        if not isinstance(event.payload, dict):
            raise TypeError(f"payload {event.payload!r} of an event for {event.channel} is not a dict")
    connection.execute(
        "INSERT INTO outbox (channel, payload)"
        " SELECT channel, payload::jsonb FROM unnest(%b::text[], %b::text[]) AS e(channel, payload)",
        ([event.channel for event in events], [json.dumps(event.payload) for event in events]),
    )


def closed_by(connection: Connection, run_day: date, run_id: int, seqs: Sequence[int], worker: str) -> dict[str, int]:
    """How many of these items a worker closed, by state: what a process achieved that died before it could tell."""
    rows = connection.execute(
        "SELECT status, count(*) FROM run_items WHERE run_day = %s AND run_id = %s AND seq = ANY(%s)"
        " AND worker = %s AND status IN ('completed', 'failed') GROUP BY status",
        (run_day, run_id, list(seqs), worker),
    )
    return dict(rows.fetchall())


def count_items(connection: Connection, run: Run) -> dict[str, int]:
    """The number of items of a run by state."""
    rows = connection.execute(
        "SELECT status, count(*) FROM run_items WHERE run_day = %s AND run_id = %s GROUP BY status",
        (run.run_day, run.id),
    )
    return dict(rows.fetchall())


def unfinished_runs(
    connection: Connection, queue: str, before: datetime, after_id: int, limit: int
) -> list[Unfinished]:
    """The next open runs of a queue, by id, that nobody enqueued since `before`.

    The pause keeps the reconciler's hands off an enqueue under way.
    """
    rows = connection.execute(
        _SELECT_UNFINISHED + " WHERE queue = %s AND status IN ('PENDING', 'RUNNING') AND id > %s"
        " AND coalesce(enqueued_at, created_at) < %s ORDER BY id LIMIT %s",
        (queue, after_id, before, limit),
    )
    return [Unfinished(Run(*row[:-1]), row[-1]) for row in rows]


def open_items(connection: Connection, run: Run, after_seq: int, limit: int) -> list[OpenItem]:
    """The next open items of a run, by seq."""
    rows = connection.execute(
        "SELECT seq, symbol, timeframe, attempt, generation FROM run_items"
        " WHERE run_day = %s AND run_id = %s AND seq > %s AND status IN ('pending', 'retrying') ORDER BY seq LIMIT %s",
        (run.run_day, run.id, after_seq, limit),
    )
    return [OpenItem(*row) for row in rows]


def all_open_items(connection: Connection, run: Run) -> Iterator[OpenItem]:
    """Every open item of a run as `open_items` gives it, a page at a time."""
    last = -1
    while page := open_items(connection, run, last, _PAGE):
        yield from page
        last = page[-1].seq


def ensure_partitions(connection: Connection, days_ahead: int) -> None:
    """Make the partitions of today and the days ahead, so that no enqueue has to."""
    connection.execute(
        "SELECT ensure_run_items_partition((now() AT TIME ZONE 'UTC')::date + day) FROM generate_series(0, %s) AS day",
        (days_ahead,),
    )


def lock_enqueue(connection: Connection, run_id: int, *, wait: bool) -> bool:
    """Take the right to add a run's entries, held until `unlock_enqueue` or the end of the session.

    It keeps the reconciler from adding what an enqueuer is still adding; a dead one loses it at once.
    """
    if wait:
        connection.execute("SELECT pg_advisory_lock(%s, hashint8(%s))", (_ENQUEUE_LOCKS, run_id))
        return True
    row = connection.execute("SELECT pg_try_advisory_lock(%s, hashint8(%s))", (_ENQUEUE_LOCKS, run_id)).fetchone()
    return bool(row and row[0])


def unlock_enqueue(connection: Connection, run_id: int) -> None:
    """Give the right up."""
    connection.execute("SELECT pg_advisory_unlock(%s, hashint8(%s))", (_ENQUEUE_LOCKS, run_id))


def moment_before(connection: Connection, seconds: float) -> datetime:
    """The moment that many seconds ago, by PostgreSQL's clock."""
    row = connection.execute("SELECT clock_timestamp() - make_interval(secs => %s)", (seconds,)).fetchone()
    assert row is not None
    moment: datetime = row[0]
    return moment


def unfinished_run(connection: Connection, run_id: int) -> Unfinished | None:
    """The run of that id as `unfinished_runs` gives it, or None when it has ended."""
    row = connection.execute(
        _SELECT_UNFINISHED + " WHERE id = %s AND status IN ('PENDING', 'RUNNING')", (run_id,)
    ).fetchone()
    return Unfinished(Run(*row[:-1]), row[-1]) if row else None


def open_run_ids(connection: Connection, queue: str, run_ids: Sequence[int]) -> set[int]:
    """Those of these runs that are open and of this queue."""
    rows = connection.execute(
        "SELECT id FROM runs WHERE id = ANY(%s) AND queue = %s AND status IN ('PENDING', 'RUNNING')",
        (list(run_ids), queue),
    )
    return {run_id for (run_id,) in rows}


def _by_attempt(updates: Sequence[ItemUpdate]) -> dict[tuple[int, int], list[ItemUpdate]]:
    groups: dict[tuple[int, int], list[ItemUpdate]] = {}
    for update in updates:
        groups.setdefault((update.attempt, update.generation), []).append(update)
    return groups
