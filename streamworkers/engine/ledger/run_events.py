"""The events of runs: read by those who follow a run, each from its own position on, in the order of their numbers.

Triggers of `runs` write all but `progress`. Every event is written under the lock of its run's row, which counts them:
so they have no gap, and who sees one sees all before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any, NamedTuple

from psycopg.types.json import Jsonb

from streamworkers.database import Connection
from streamworkers.engine.ledger.runs import OPEN_RUN_STATES

RUN_EVENTS_NOTIFY = "streamworkers_run_events"  # PostgreSQL's channel; the trigger of `runs` uses it too
RESYNC = "resync"  # stands for events that are not kept; it is in no table
PROGRESS_SECONDS = 1.0
_READ = """
    SELECT f.place, r.last_event, r.status, e.seq, e.kind, e.data, e.at
    FROM unnest(%s::bigint[], %s::integer[]) WITH ORDINALITY AS f(run_id, after, place)
    JOIN runs r ON r.id = f.run_id
    LEFT JOIN LATERAL (
        SELECT seq, kind, data, at FROM run_events WHERE run_id = f.run_id AND seq > f.after ORDER BY seq LIMIT %s
    ) AS e ON true
    ORDER BY f.place, e.seq
"""
_READ_CHANGES = """
    SELECT seq, kind, data, at FROM run_events WHERE run_id = %s AND kind <> 'progress' ORDER BY seq DESC LIMIT %s
"""
# The counts of an open run are those of its items.
_READ_SNAPSHOT = """
    SELECT r.last_event, r.status, jsonb_build_object('job', r.job, 'status', r.status, 'items', r.item_count,
        'completed', coalesce(r.completed_count, c.completed), 'failed', coalesce(r.failed_count, c.failed),
        'cancelled', coalesce(r.cancelled_count, c.cancelled), 'reason', r.reason), clock_timestamp()
    FROM runs r CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE status = 'completed') AS completed,
            count(*) FILTER (WHERE status = 'failed') AS failed,
            count(*) FILTER (WHERE status = 'cancelled') AS cancelled
        FROM run_items i WHERE r.completed_count IS NULL AND i.run_day = r.run_day AND i.run_id = r.id) c
    WHERE r.id = %s
"""
# A row that another transaction holds is left out until the next time, so that no stream waits for it.
_MARK_FOLLOWED = """
    UPDATE runs r SET is_followed = true
    FROM (
        SELECT id FROM runs WHERE id = ANY(%s) AND NOT is_followed ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
    ) AS free
    WHERE r.id = free.id
"""
_COUNT_RUNNING = """
    SELECT r.id, jsonb_build_object('items', r.item_count, 'completed', c.completed, 'failed', c.failed,
        'cancelled', c.cancelled)
    FROM (
        SELECT id, run_day, item_count FROM runs
        WHERE queue = ANY(%s) AND status IN ('PENDING', 'RUNNING') AND status = 'RUNNING' AND id > %s
        ORDER BY id LIMIT %s
    ) AS r CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE status = 'completed') AS completed,
            count(*) FILTER (WHERE status = 'failed') AS failed,
            count(*) FILTER (WHERE status = 'cancelled') AS cancelled
        FROM run_items i WHERE i.run_day = r.run_day AND i.run_id = r.id
    ) AS c
    ORDER BY r.id
"""
# The lock is that of the row: its count gives the event its number, and holds up the next one until the commit.
_WRITE_PROGRESS = """
    WITH due AS (
        SELECT r.id, p.data FROM unnest(%s::bigint[], %s::jsonb[]) AS p(id, data) JOIN runs r ON r.id = p.id
        WHERE r.status = 'RUNNING' AND NOT EXISTS (
            SELECT FROM run_events e WHERE e.run_id = r.id AND e.seq = r.last_event AND e.kind = 'progress'
                AND (e.data = p.data OR e.at > clock_timestamp() - make_interval(secs => %s))
        )
        ORDER BY r.id FOR NO KEY UPDATE OF r SKIP LOCKED
    ), numbered AS (
        UPDATE runs r SET last_event = r.last_event + 1 FROM due WHERE r.id = due.id
        RETURNING r.id, r.last_event, r.is_followed, due.data
    ), written AS (
        INSERT INTO run_events (run_id, seq, kind, data) SELECT id, last_event, 'progress', data FROM numbered
    )
    SELECT id, is_followed FROM numbered ORDER BY id
"""


class LedgerEvent(NamedTuple):
    """What happened to a run; with its run, `seq` names it."""

    run_id: int
    seq: int
    kind: str
    data: dict[str, Any]
    at: datetime


@dataclass(frozen=True, slots=True)
class LedgerEventPage:
    """The next events of a run; `is_over` if it has ended and there are no more."""

    events: Sequence[LedgerEvent]
    is_over: bool


class Position(NamedTuple):
    """A run, and the number of the last event that is known of it."""

    run_id: int
    after: int


def read_events(connection: Connection, positions: Sequence[Position], limit: int) -> list[LedgerEventPage]:
    """Return for each position the next events, up to `limit`.

    Where the next one is not kept any more, or the run has never had the last one, there is one of kind `resync` with
    the state of the run: what follows it are changes of that state. A run that is not there is over.
    """
    words = [position.run_id for position in positions], [position.after for position in positions], limit
    pages = [LedgerEventPage((), is_over=True)] * len(positions)
    for place, rows in groupby(connection.execute(_READ, words), key=lambda row: row[0]):
        pages[place - 1] = _make_page(connection, positions[place - 1], list(rows))
    return pages


def _make_page(connection: Connection, position: Position, rows: Sequence[tuple[Any, ...]]) -> LedgerEventPage:
    _, last, status, *_ = rows[0]
    events: list[LedgerEvent] = []
    for *_, seq, kind, data, at in rows:
        if seq == position.after + len(events) + 1:
            events.append(LedgerEvent(position.run_id, seq, kind, data, at))
    if not events and last != position.after:
        return _read_snapshot(connection, position.run_id)
    reached = position.after + len(events)
    return LedgerEventPage(events, is_over=status not in OPEN_RUN_STATES and reached == last)


def _read_snapshot(connection: Connection, run_id: int) -> LedgerEventPage:
    row = connection.execute(_READ_SNAPSHOT, (run_id,)).fetchone()
    if row is None:
        return LedgerEventPage((), is_over=True)
    last, status, data, at = row
    return LedgerEventPage([LedgerEvent(run_id, last, RESYNC, data, at)], is_over=status not in OPEN_RUN_STATES)


def list_changes_of_run(connection: Connection, run_id: int, limit: int) -> list[LedgerEvent]:
    """Return the newest events of a run that are kept, those of its progress left out, in their order."""
    rows = connection.execute(_READ_CHANGES, (run_id, limit)).fetchall()
    return [LedgerEvent(run_id, *row) for row in reversed(rows)]


def mark_followed(connection: Connection, run_ids: Sequence[int]) -> None:
    """Let the events of runs notify `RUN_EVENTS_NOTIFY`, with their commits; those of other runs cost no NOTIFY."""
    connection.execute(_MARK_FOLLOWED, (list(run_ids),))


def count_running(
    connection: Connection, queues: Sequence[str], after_id: int, limit: int
) -> list[tuple[int, dict[str, int]]]:
    """Return the next running runs of queues, by id, each with the numbers of its items by state."""
    return connection.execute(_COUNT_RUNNING, (list(queues), after_id, limit)).fetchall()


def write_progress(connection: Connection, counts: Sequence[tuple[int, dict[str, int]]]) -> list[int]:
    """Write an event of kind `progress` for each of these runs that goes on; returns their ids.

    None is written if the last event has the same counts or is one of the last second, or if the run's row is locked.
    """
    words = [run_id for run_id, _ in counts], [Jsonb(data) for _, data in counts], PROGRESS_SECONDS
    with connection.transaction():
        written = connection.execute(_WRITE_PROGRESS, words).fetchall()
        if any(is_followed for _, is_followed in written):
            connection.execute("SELECT pg_notify(%s, '')", (RUN_EVENTS_NOTIFY,))
    return [run_id for run_id, _ in written]
