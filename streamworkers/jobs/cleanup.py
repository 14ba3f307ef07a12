"""The job `database_cleanup`: removes what is older than its retention, a bounded batch at a time."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from psycopg import sql
from pydantic import Field, model_validator

from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.job import Context, Job, JobParameters
from streamworkers.engine.ledger import retention
from streamworkers.engine.outcome import Completed, Item, Outcome
from streamworkers.market.bars.write import ensure_minute_partition

PARTS = (
    "daily_patterns",
    "indicator_results",
    "run_items",
    "ticks",
    "runs",
    "health_checks",
    "load_checkpoints",
    "partitions_ahead",
)
DAYS_AHEAD = 7
_PAGE_DAYS = 7  # a load that still waits for its next call asks for older ones again anyway
_TIMES = {"daily_patterns": "detected_at", "indicator_results": "calculated_at", "load_checkpoints": "fetched_at"}


class CleanupParameters(JobParameters):
    """How many days each kind of row is kept; `dry_run` counts and removes nothing."""

    pattern_days: int = Field(90, ge=1, le=36_500)
    indicator_days: int = Field(180, ge=1, le=36_500)
    run_item_days: int = Field(30, ge=1, le=36_500)
    run_days: int = Field(365, ge=1, le=36_500)
    health_days: int = Field(30, ge=1, le=36_500)
    batch_rows: int = Field(5000, ge=100, le=100_000)
    dry_run: bool = False

    @model_validator(mode="after")
    def _items_go_first(self) -> "CleanupParameters":
        if self.run_days < self.run_item_days:
            raise ValueError(f"run_days {self.run_days} is below run_item_days {self.run_item_days}: items go first")
        return self


@dataclass(frozen=True, slots=True)
class Cleaning:
    """What became of one part: rows that were removed, or would be, and partitions by name."""

    part: str
    rows: int
    partitions: tuple[str, ...] = ()


def clean(
    connection: Connection,
    part: str,
    parameters: CleanupParameters,
    now: datetime,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> Cleaning:
    """Clean one of `PARTS`, each batch in a transaction of its own, so it may be ended, and repeated, at any point."""
    days = {
        "daily_patterns": parameters.pattern_days,
        "indicator_results": parameters.indicator_days,
        "run_items": parameters.run_item_days,
        "ticks": parameters.run_days,
        "runs": parameters.run_days,
        "health_checks": parameters.health_days,
        "load_checkpoints": _PAGE_DAYS,
        "partitions_ahead": 0,
    }[part]
    before = now - timedelta(days=days)
    if part == "partitions_ahead":
        return _make_partitions(connection, now, parameters.dry_run)
    if part == "run_items":
        return _drop_partitions(connection, before, parameters.dry_run, is_cancelled)
    if parameters.dry_run:
        count = _count_old if part in _TIMES else retention.count_old
        return Cleaning(part, count(connection, part, before))
    remove = _remove_old if part in _TIMES else retention.remove_old
    total = 0
    while not is_cancelled():
        removed = remove(connection, part, before, parameters.batch_rows)
        total += removed
        if removed < parameters.batch_rows:
            break
    return Cleaning(part, total)


class DatabaseCleanup(Job[CleanupParameters]):
    """Each table is an item. It removes while it executes: to remove twice is to remove once."""

    name: ClassVar[str] = "database_cleanup"
    queue: ClassVar[str] = "maintenance"
    batch_size: ClassVar[int] = 1
    timeout_seconds: ClassVar[float] = 3600.0
    parameters: ClassVar[type[JobParameters]] = CleanupParameters
    parts: ClassVar[tuple[str, ...]] = PARTS

    def execute(self, items: Sequence[Item], context: Context[CleanupParameters]) -> Iterator[Outcome]:
        """Clean the tables that the items name."""
        for item in items:
            started = time.monotonic()
            done = clean(
                context.connection, item.symbol, context.parameters, datetime.now(UTC), lambda: context.cancelled
            )
            result: dict[str, Any] = {"would_remove" if context.parameters.dry_run else "removed": done.rows}
            if done.partitions:
                result["partitions"] = list(done.partitions)
            yield Completed(item, None, result | {"seconds": round(time.monotonic() - started, 3)})


def _drop_partitions(
    connection: Connection, before: datetime, dry_run: bool, is_cancelled: Callable[[], bool]
) -> Cleaning:
    dropped = []
    for name, rows in retention.old_item_partitions(connection, before.date()):
        if is_cancelled():
            break
        if not dry_run:
            retention.drop_item_partition(connection, name)
        dropped.append((name, rows))
    return Cleaning("run_items", sum(rows for _, rows in dropped), tuple(name for name, _ in dropped))


def _make_partitions(connection: Connection, now: datetime, dry_run: bool) -> Cleaning:
    if not dry_run:
        ledger.ensure_partitions(connection, DAYS_AHEAD)
        for moment in (now, now + timedelta(days=31)):
            ensure_minute_partition(connection, moment)
    return Cleaning("partitions_ahead", 0)


def _count_old(connection: Connection, table: str, before: datetime) -> int:
    row = connection.execute(_statement("SELECT count(*) FROM {table} WHERE {time} < %s", table), (before,)).fetchone()
    assert row is not None
    return int(row[0])


def _remove_old(connection: Connection, table: str, before: datetime, limit: int) -> int:
    statement = "DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table} WHERE {time} < %s LIMIT %s))"
    return connection.execute(_statement(statement, table), (before, limit)).rowcount


def _statement(text: str, table: str) -> sql.Composed:
    return sql.SQL(text).format(table=sql.Identifier(table), time=sql.Identifier(_TIMES[table]))
