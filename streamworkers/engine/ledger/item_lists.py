"""Items of all runs, in any state, by what people know of them: the newest runs first, in pages. Reads only.

No index holds an item's state, symbol or error. So a list goes through the runs, the newest first, and reads the items
of each in its partition, until it has enough: `since` bounds which runs and which partitions it reads.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import errors

from streamworkers.database import Connection, fetch_row, fetch_rows
from streamworkers.engine.ledger.run_pages import Row, RunFilter, choose_runs
from streamworkers.engine.ledger.runs import Run
from streamworkers.errors import BadInputError

ITEM_STATES = ("pending", "retrying", "completed", "failed", "cancelled")
_COLUMNS = "seq, symbol, timeframe, status, attempt, generation, worker, error, started_at, finished_at"
# The limit within keeps the planner from reading whole partitions before it knows which runs are wanted.
_LIST = f"""
    SELECT r.id AS run_id, i.*, r.job, r.queue, r.schedule, r.created_at, r.enqueued_at
    FROM ({{runs}}) r CROSS JOIN LATERAL (
        SELECT {_COLUMNS}, {{history}} AS history FROM run_items
        WHERE run_day = r.run_day AND run_id = r.id{{items}}
        ORDER BY seq LIMIT %(limit)s
    ) i
    WHERE true{{of_runs}}
    ORDER BY r.id DESC, i.seq LIMIT %(limit)s
"""  # noqa: S608  # constants
_FIND = f"""
    SELECT run_id, {_COLUMNS}, result, history FROM run_items
    WHERE run_day = %(day)s AND run_id = %(run)s AND seq = %(seq)s
"""  # noqa: S608  # constants
_SYMBOLS = "SELECT symbol FROM run_items WHERE run_day = %s AND run_id = %s ORDER BY seq LIMIT %s"
# Only what is asked for stands in the statement, so that the planner sees what it can leave out. A submitted run gets
# its items on the day on which it is prepared, or later than it was created, and never earlier.
_OF_ITEMS = {
    "symbol": "symbol = %(symbol)s",
    "timeframe": "timeframe = %(timeframe)s",
    "status": "status = %(status)s",
    "error": "strpos(lower(error), lower(%(error)s)) > 0",
    "since": "run_day >= (%(since)s::timestamptz AT TIME ZONE 'UTC')::date",
    "ended_since": "finished_at >= %(ended_since)s",
    "after_seq": "(run_id < %(after_run)s OR seq > %(after_seq)s)",
}
_OF_RUNS = {
    "run_id": "r.id = %(run_id)s",
    "until": "r.created_at < %(until)s",
    "after_run": "r.id <= %(after_run)s",
}
# The counts of a run that has ended say that it has no such item.
_COUNTS = {"completed": "completed_count", "failed": "failed_count", "cancelled": "cancelled_count"}


@dataclass(frozen=True, slots=True)
class ItemFilter:
    """Which items are wanted; every field that is set must match.

    `since` and `until` bound when their runs were created, `ended_since` when they ended themselves. `error` is a part
    of the error, in any case, of letters beyond ASCII as the database's locale has it. `after` is the last item of the
    page before, as its run and its seq.
    """

    run_id: int | None = None
    job: str | None = None
    schedule: str | None = None
    symbol: str | None = None
    timeframe: str | None = None
    status: str | None = None
    error: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    ended_since: datetime | None = None
    after: tuple[int, int] | None = None


def list_items(
    connection: Connection,
    wanted: ItemFilter,
    limit: int,
    *,
    viewer: str | None = None,
    with_history: bool = False,
) -> list[Row]:
    """Return items that match, of the newest runs first, by seq; None as the viewer sees the runs of all users.

    Each has its run's job, queue, schedule and times, `seconds` of its last attempt, and, if asked for, its history.
    """
    chosen = RunFilter(job=wanted.job, schedule=wanted.schedule, since=wanted.since)
    runs, values = choose_runs(viewer, chosen, more=", r.run_day, r.enqueued_at")
    given = _values_of(wanted)
    of_items, of_runs = (
        "".join(f" AND {text}" for name, text in known.items() if name in given) for known in (_OF_ITEMS, _OF_RUNS)
    )
    if count := _COUNTS.get(wanted.status or ""):
        of_runs += f" AND coalesce(r.{count}, 1) > 0"
    history = "history" if with_history else "NULL::jsonb"
    statement = _LIST.format(runs=runs, history=history, items=of_items, of_runs=of_runs)
    rows = fetch_rows(connection, statement, {**values, **given, "limit": limit})
    return [_with_seconds(row) for row in rows]


def read_item_row(connection: Connection, run: Run, seq: int) -> Row | None:
    """Return one item of a run with its result and its history, or None."""
    row = fetch_row(connection, _FIND, {"day": run.run_day, "run": run.id, "seq": seq})
    return None if row is None else _with_seconds(row)


def list_symbols_of_items(connection: Connection, run: Run, limit: int) -> list[str]:
    """Return the symbols, parts or ids of the first items of a run."""
    return [symbol for (symbol,) in connection.execute(_SYMBOLS, (run.run_day, run.id, limit))]


@contextmanager
def limit_search(connection: Connection, seconds: float) -> Iterator[None]:
    """Let no statement take longer, in a transaction. Raises BadInputError, which says what narrows a search."""
    milliseconds = str(max(1, round(1000 * seconds)))
    try:
        with connection.transaction():
            connection.execute("SELECT set_config('statement_timeout', %s, true)", (milliseconds,))
            yield
    except errors.QueryCanceled:
        raise BadInputError(
            f"the search took longer than {seconds:g} s: name the run, the job or the schedule, or a later --since;"
            " --timeout gives it longer"
        ) from None


def _values_of(wanted: ItemFilter) -> dict[str, Any]:
    run, seq = wanted.after or (None, None)
    names = ("run_id", "symbol", "timeframe", "status", "error", "since", "until", "ended_since")
    values = {name: getattr(wanted, name) for name in names} | {"after_run": run, "after_seq": seq}
    return {name: value for name, value in values.items() if value is not None}


def _with_seconds(row: Row) -> Row:
    begun, ended = row["started_at"], row["finished_at"]
    return row | {"seconds": (ended - begun).total_seconds() if begun and ended else None}
