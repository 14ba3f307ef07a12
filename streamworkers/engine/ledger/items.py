"""The table `run_items`.

An item is open (`pending`, `retrying`) or closed (`completed`, `failed`, `cancelled`). The worker that moves it from
open to closed first owns its effects: that UPDATE is the fence, and nothing else guards against a second effect.
"""

import json
import time
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

from streamworkers.database import Connection
from streamworkers.engine.ledger.json_text import dump_bounded
from streamworkers.engine.ledger.runs import Run
from streamworkers.engine.redis.entry import Entry

OPEN_STATES = ("pending", "retrying")
_PAGE = 5000
_SYMBOL_LOCKS = 0x5358  # any fixed number: the class of our advisory locks

# No join with the values: in a partition that was never analysed it would be planned from the run's side, which reads
# the whole run for every batch.
_COMPLETE = """
    UPDATE run_items SET status = 'completed', attempt = %s, worker = %s, started_at = %s,
        finished_at = clock_timestamp(), result = %s::jsonb -> seq::text, error = NULL
    WHERE run_day = %s AND run_id = %s AND seq = ANY(%s) AND generation = %s AND status IN ('pending', 'retrying')
    RETURNING seq
"""
# The same for several runs, still without a join: `wanted` selects the pairs of those runs and items.
_COMPLETE_OF_RUNS = """
    UPDATE run_items SET status = 'completed', attempt = %(attempt)s, worker = %(worker)s,
        started_at = (%(started)s::jsonb ->> run_id::text)::timestamptz, finished_at = clock_timestamp(),
        result = %(results)s::jsonb -> run_id::text -> seq::text, error = NULL
    WHERE run_day = %(day)s AND run_id = ANY(%(runs)s) AND seq = ANY(%(seqs)s)
        AND %(wanted)s::jsonb -> run_id::text @> to_jsonb(seq)
        AND generation = %(generation)s AND status IN ('pending', 'retrying')
    RETURNING run_id, seq
"""
# One look into the primary key for each item. No join, for the reason above.
_READ_OPEN_OF_RUNS = """
    SELECT d.run_id, d.seq, i.symbol, i.generation FROM unnest(%s::bigint[], %s::int[]) AS d(run_id, seq)
    CROSS JOIN LATERAL (
        SELECT symbol, generation, status FROM run_items
        WHERE run_day = %s AND run_id = d.run_id AND seq = d.seq OFFSET 0
    ) AS i
    WHERE i.status IN ('pending', 'retrying')
"""
_FAIL = """
    UPDATE run_items i SET status = d.status, attempt = d.attempt, worker = %s, started_at = %s,
        finished_at = CASE d.status WHEN 'failed' THEN clock_timestamp() END, error = d.error,
        history = coalesce(i.history, '[]') || (jsonb_build_object(
            'attempt', d.attempt, 'worker', %s::text, 'at', clock_timestamp(), 'error', d.error)
            || CASE WHEN d.stack IS NULL THEN '{}'::jsonb ELSE jsonb_build_object('stack', d.stack) END)
    FROM unnest(%s::int[], %s::int[], %s::smallint[], %s::text[], %s::text[], %s::text[])
        AS d(seq, generation, attempt, status, error, stack)
    WHERE i.run_day = %s AND i.run_id = %s AND i.seq = ANY(%s) AND (i.seq, i.generation) = (d.seq, d.generation)
        AND i.status IN ('pending', 'retrying') AND (NOT %s OR i.attempt < d.attempt)
    RETURNING i.seq
"""
_FIND_SUPERSEDED = """
    SELECT i.symbol FROM runs mine
    JOIN runs newer ON newer.id > mine.id
        AND (newer.job, newer.parameters) = (mine.job, mine.parameters)
        AND (newer.timeframe, newer.as_of) IS NOT DISTINCT FROM (mine.timeframe, mine.as_of)
    JOIN run_items i ON i.run_day = newer.run_day AND i.run_id = newer.id
    WHERE mine.id = %s AND i.status = 'completed' AND i.symbol = ANY(%s)
"""


class ItemUpdate(NamedTuple):
    """A new state of an item: `completed` with a result, `failed` or `retrying` with an error.

    It applies to one generation of the item: an attempt begun before a replay or a retry changes nothing after it.
    """

    seq: int
    generation: int
    attempt: int
    status: str
    result: dict[str, Any] | None = None
    error: str | None = None
    stack: str | None = None


def read_open_symbols(connection: Connection, run: Run, seqs: Sequence[int]) -> dict[int, tuple[str, int]]:
    """Return symbol and generation of the open ones of these items, by seq."""
    rows = connection.execute(
        """
        SELECT seq, symbol, generation FROM run_items
        WHERE run_day = %s AND run_id = %s AND seq = ANY(%s) AND status IN ('pending', 'retrying')
        """,
        (run.run_day, run.id, list(seqs)),
        binary=True,
    )
    return {seq: (symbol, generation) for seq, symbol, generation in rows}


def read_open_of_runs(
    connection: Connection, wanted: Sequence[tuple[Run, Sequence[int]]]
) -> dict[int, dict[int, tuple[str, int]]]:
    """Return what `read_open_symbols` does for items of several runs, by run id."""
    if len(wanted) == 1:
        ((run, seqs),) = wanted
        return {run.id: read_open_symbols(connection, run, seqs)}
    found: dict[int, dict[int, tuple[str, int]]] = {run.id: {} for run, _ in wanted}
    for day in {run.run_day for run, _ in wanted}:
        of_day = [(run.id, seq) for run, seqs in wanted if run.run_day == day for seq in seqs]
        run_ids, all_seqs = zip(*of_day, strict=True)
        rows = connection.execute(_READ_OPEN_OF_RUNS, (list(run_ids), list(all_seqs), day), binary=True)
        for run_id, seq, symbol, generation in rows:
            found[run_id][seq] = symbol, generation
    return found


def complete_items(
    connection: Connection, run: Run, worker: str, started_at: datetime, updates: Sequence[ItemUpdate]
) -> set[int]:
    """Close items as completed; returns the seqs that this call was the first to close.

    Raises TypeError or ValueError for results that are no JSON, or together too long.
    """
    closed: set[int] = set()
    for (attempt, generation), group in _group_by_attempt(updates).items():
        results = {update.seq: update.result for update in group if update.result is not None}
        rows = connection.execute(
            _COMPLETE,
            (
                attempt,
                worker,
                started_at,
                dump_bounded("results", len(results), results) if results else None,
                run.run_day,
                run.id,
                [update.seq for update in group],
                generation,
            ),
        )
        closed.update(seq for (seq,) in rows)
    return closed


class Completions(NamedTuple):
    """Items of one run to close as completed, and when their execution began."""

    run: Run
    started_at: datetime
    updates: Sequence[ItemUpdate]


def complete_items_of_runs(connection: Connection, worker: str, batches: Sequence[Completions]) -> dict[int, set[int]]:
    """Do what `complete_items` does for several runs, in as few statements as can be; returns the seqs by run id."""
    if len(batches) == 1:
        ((run, started_at, updates),) = batches
        return {run.id: complete_items(connection, run, worker, started_at, updates)}
    groups: dict[tuple[date, int, int], dict[int, list[ItemUpdate]]] = {}
    for run, _, updates in batches:
        for update in updates:
            group = groups.setdefault((run.run_day, update.attempt, update.generation), {})
            group.setdefault(run.id, []).append(update)
    started = json.dumps({batch.run.id: batch.started_at.isoformat() for batch in reversed(batches)})
    closed: dict[int, set[int]] = {batch.run.id: set() for batch in batches}
    for (day, attempt, generation), of_runs in groups.items():
        results = {
            run_id: {update.seq: update.result for update in updates if update.result is not None}
            for run_id, updates in of_runs.items()
        }
        rows = connection.execute(
            _COMPLETE_OF_RUNS,
            {
                "attempt": attempt,
                "worker": worker,
                "started": started,
                "results": dump_bounded("results", sum(map(len, results.values())), results)
                if any(results.values())
                else None,
                "day": day,
                "runs": list(of_runs),
                "seqs": list({update.seq for updates in of_runs.values() for update in updates}),
                "wanted": json.dumps({run_id: [update.seq for update in each] for run_id, each in of_runs.items()}),
                "generation": generation,
            },
        )
        for run_id, seq in rows:
            closed[run_id].add(seq)
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
    """Move open items to `failed` or `retrying`, appending each error to the history; returns the seqs moved.

    `unless_recorded` skips items for which this attempt or a later one is recorded already.
    """
    seqs = [update.seq for update in updates]
    rows = connection.execute(
        _FAIL,
        (
            worker,
            started_at,
            worker,
            seqs,
            [update.generation for update in updates],
            [update.attempt for update in updates],
            [update.status for update in updates],
            [update.error for update in updates],
            [update.stack for update in updates],
            run.run_day,
            run.id,
            seqs,
            unless_recorded,
        ),
    )
    return {seq for (seq,) in rows}


def find_superseded(connection: Connection, run_id: int, symbols: Sequence[str]) -> set[str]:
    """Return the symbols that a newer run of the same job, timeframe, as-of and parameters has completed already.

    For a `save` whose rows belong to a symbol, not to a run: a row that the newer run found unchanged still bears an
    older run's id, so the rows alone do not tell. The symbols are locked to the end of the transaction, so that of two
    concurrent runs the later one sees the other.
    """
    connection.execute(
        """
        SELECT pg_advisory_xact_lock(%s, key)
        FROM (SELECT DISTINCT hashtext(symbol) AS key FROM unnest(%s::text[]) AS symbol ORDER BY key) AS keys
        """,
        (_SYMBOL_LOCKS, list(symbols)),
    )
    return {symbol for (symbol,) in connection.execute(_FIND_SUPERSEDED, (run_id, list(symbols)))}


def count_closed_by(
    connection: Connection, run_day: date, run_id: int, seqs: Sequence[int], worker: str
) -> dict[str, int]:
    """Count by state the items that a worker closed: what a process had committed that died before it reported it."""
    rows = connection.execute(
        """
        SELECT status, count(*) FROM run_items
        WHERE run_day = %s AND run_id = %s AND seq = ANY(%s) AND worker = %s AND status IN ('completed', 'failed')
        GROUP BY status
        """,
        (run_day, run_id, list(seqs), worker),
    )
    return dict(rows.fetchall())


def count_items(connection: Connection, run: Run) -> dict[str, int]:
    """Count the items of a run by state."""
    return count_items_of_runs(connection, [run])[run.id]


def count_items_of_runs(connection: Connection, runs: Sequence[Run]) -> dict[int, dict[str, int]]:
    """Count the items of runs by run id and state."""
    counts: dict[int, dict[str, int]] = {run.id: {} for run in runs}
    for day in {run.run_day for run in runs}:
        rows = connection.execute(
            """
            SELECT run_id, status, count(*) FROM run_items
            WHERE run_day = %s AND run_id = ANY(%s) GROUP BY run_id, status
            """,
            (day, [run.id for run in runs if run.run_day == day]),
        )
        for run_id, status, count in rows:
            counts[run_id][status] = count
    return counts


def count_stale_items(connection: Connection, runs: Sequence[Run]) -> dict[int, int]:
    """Count the stale items of each of these runs: those that completed without a result, and whose result says so."""
    counts = dict.fromkeys((run.id for run in runs), 0)
    for day in {run.run_day for run in runs}:
        rows = connection.execute(
            """
            SELECT run_id, count(*) FROM run_items
            WHERE run_day = %s AND run_id = ANY(%s) AND status = 'completed' AND result ? 'stale' GROUP BY run_id
            """,
            (day, [run.id for run in runs if run.run_day == day]),
        )
        counts |= dict(rows.fetchall())
    return counts


def read_open_items(connection: Connection, run: Run, after_seq: int, limit: int) -> list[Entry]:
    """Return the next open items of a run, by seq, as entries for a queue.

    An item that has used an attempt is isolated, because nothing is known of how that attempt ended.
    """
    rows = connection.execute(
        """
        SELECT seq, symbol, timeframe, attempt, generation FROM run_items
        WHERE run_day = %s AND run_id = %s AND seq > %s AND status IN ('pending', 'retrying') ORDER BY seq LIMIT %s
        """,
        (run.run_day, run.id, after_seq, limit),
    )
    now_ms = time.time_ns() // 1_000_000
    return [
        Entry(run.id, seq, run.job, symbol, timeframe or "", now_ms, used + 1, used > 0, generation=generation)
        for seq, symbol, timeframe, used, generation in rows
    ]


def iterate_open_items(connection: Connection, run: Run) -> Iterator[Entry]:
    """Yield every open item of a run as `read_open_items` returns it, reading a page at a time."""
    last = -1
    while page := read_open_items(connection, run, last, _PAGE):
        yield from page
        last = page[-1].seq


def _group_by_attempt(updates: Sequence[ItemUpdate]) -> dict[tuple[int, int], list[ItemUpdate]]:
    groups: dict[tuple[int, int], list[ItemUpdate]] = {}
    for update in updates:
        groups.setdefault((update.attempt, update.generation), []).append(update)
    return groups
