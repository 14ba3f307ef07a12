"""Reads the timings and ticks of schedules, and accounts for them: for `schedules audit` and the metric."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain, groupby
from typing import Any

from psycopg.rows import dict_row

from streamworkers.database import Connection, fetch_value
from streamworkers.errors import UnknownNameError, UsageError
from streamworkers.schedules.account import TickAccount, TickPeriod, TickRecord, compare_ticks
from streamworkers.schedules.cursor import Cursor, TimingSpan, find_span
from streamworkers.schedules.timing import Tick, Timing

# So far may the close of a session move.
_MARGIN = timedelta(days=1)
_READ_TIMINGS = """
    SELECT t.id, t.schedule_id, t.schedule, t.cron, t.timezone, t.calendar, t.ends_at, t.valid_from, t.valid_to,
        t.decided_at, t.kept_from, coalesce(t.decided_until, s.decided_until) AS decided_until,
        coalesce(t.decided_label, s.decided_label) AS decided_label
    FROM schedule_timings t LEFT JOIN schedules s ON s.id = t.schedule_id AND t.valid_to IS NULL
    WHERE t.enabled AND t.cron IS NOT NULL AND t.schedule = coalesce(%(name)s, t.schedule)
        AND t.valid_from < %(until)s AND coalesce(t.valid_to, 'infinity') > %(since)s
    ORDER BY t.schedule, t.schedule_id, t.valid_from
"""
_OF_TIMINGS = " FROM ticks WHERE schedule_id = %s AND timing_id = ANY(%s) AND scheduled_for > %s"
_READ_TICKS = f"SELECT scheduled_for, session, state, tick_count{_OF_TIMINGS} AND scheduled_for <= %s ORDER BY 1"
_READ_NEXT = f"SELECT scheduled_for, tick_count{_OF_TIMINGS} ORDER BY 1 LIMIT 1"
_OF_TIMING = ("cron", "timezone", "calendar", "ends_at")
Row = dict[str, Any]


@dataclass
class ScheduleAccount:
    """The account of the schedules that had a name; `notes` say what could not be accounted for."""

    schedule: str
    account: TickAccount = field(default_factory=TickAccount)
    notes: list[str] = field(default_factory=list)


def account_for(connection: Connection, period: TickPeriod, name: str | None = None) -> list[ScheduleAccount]:
    """The accounts of all schedules that ticked in a period, removed ones too, or of one; by name.

    Raises UnknownNameError for a name that no schedule has or had, BadInputError for too many ticks.
    """
    values = {"name": name, "since": period.since, "until": period.until}
    rows = connection.cursor(row_factory=dict_row).execute(_READ_TIMINGS, values).fetchall()
    accounts: dict[str, ScheduleAccount] = {}
    for (schedule, schedule_id), timings in groupby(rows, key=lambda row: (row["schedule"], row["schedule_id"])):
        found = accounts.setdefault(schedule, ScheduleAccount(schedule))
        for _, alike in groupby(timings, key=lambda row: [row[name] for name in _OF_TIMING]):
            _account_for_timings(connection, found, schedule_id, list(alike), period)
    if name is not None and not accounts:
        _require_known(connection, name)
        accounts[name] = ScheduleAccount(name)
    return list(accounts.values())


def find_recent(connection: Connection, schedule_id: int, count: int) -> datetime | None:
    """The moment of the tick before the newest `count` ticks of a schedule; None if it has fewer."""
    statement = "SELECT scheduled_for FROM ticks WHERE schedule_id = %s ORDER BY scheduled_for DESC OFFSET %s LIMIT 1"
    found: datetime | None = fetch_value(connection, statement, (schedule_id, count))
    return found


def set_unaccounted(connection: Connection, schedule_id: int, count: int) -> bool:
    """Store how many ticks of a schedule are unaccounted for; whether there are any, and the number is new."""
    statement = (
        "UPDATE schedules SET unaccounted_ticks = %(count)s"
        " WHERE id = %(id)s AND unaccounted_ticks IS DISTINCT FROM %(count)s"
    )
    return connection.execute(statement, {"count": count, "id": schedule_id}).rowcount > 0 and count > 0


def _account_for_timings(
    connection: Connection, found: ScheduleAccount, schedule_id: int, rows: list[Row], period: TickPeriod
) -> None:
    """Account for timings of one schedule that are alike, so that a session ticks once also around a pause."""
    first = rows[0]
    kept_from = max((row["kept_from"] for row in rows if row["kept_from"] is not None), default=period.since)
    if kept_from > period.since:
        found.notes.append(f"ticks up to {kept_from.isoformat()} may have been deleted, and are not accounted for")
    if kept_from >= period.until:
        return
    kept = TickPeriod(max(kept_from, period.since), period.until)
    try:
        timing = Timing.parse(*(first[name] for name in _OF_TIMING))
        spans, records = _read(connection, timing, schedule_id, rows, kept)
        decided_by = {row["id"]: _cursor_of(row) for row in rows}

        def is_decided(tick: Tick) -> bool:
            cursor = decided_by[find_span(spans, tick.moment).timing_id]
            return cursor is None or cursor.is_past(timing, tick)

        ticks = chain.from_iterable(span.find_undecided(period.until) for span in spans)
        found.account.add(compare_ticks(timing, ticks, records, kept, is_decided))
    except UsageError as error:
        found.notes.append(str(error))


def _read(
    connection: Connection, timing: Timing, schedule_id: int, rows: list[Row], period: TickPeriod
) -> tuple[list[TimingSpan], Iterator[TickRecord]]:
    """The timings as spans within a period, and the rows of their ticks; with a margin where moments may change."""
    margin = _MARGIN if timing.keeps_labels else timedelta(0)
    since, until = period.since - margin, period.until + margin
    timing_ids = [row["id"] for row in rows]
    following = connection.execute(_READ_NEXT, (schedule_id, timing_ids, until)).fetchone()
    if following is not None and following[1] > 1:
        until = following[0]  # it also stands for ticks before `until`
    spans = [
        TimingSpan(timing, Cursor(max(since, row["valid_from"])), row["id"], min(until, row["valid_to"] or until))
        for row in rows
    ]
    records = connection.cursor().stream(_READ_TICKS, (schedule_id, timing_ids, since, until))
    return spans, (TickRecord(*record) for record in records)


def _cursor_of(row: Row) -> Cursor | None:
    """How far the ticks of a timing are decided; None if all are."""
    if row["valid_to"] is not None and row["decided_at"] is not None:
        return None
    return Cursor(row["valid_from"], row["decided_until"], row["decided_label"])


def _require_known(connection: Connection, name: str) -> None:
    if not fetch_value(connection, "SELECT count(*) FROM schedule_timings WHERE schedule = %s", (name,)):
        names = connection.execute("SELECT DISTINCT schedule FROM schedule_timings")
        raise UnknownNameError("schedule", name, (each for (each,) in names))
