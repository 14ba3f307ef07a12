"""The job `database_cleanup`: deletes rows older than their retention, in bounded batches."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, TypeAlias

from pydantic import Field, model_validator

from streamworkers.admin.kept_answers import KEPT_ANSWERS, count_old_answers, delete_old_answers
from streamworkers.alerts.store.retention import ALERT_TABLES, count_old_alert_rows, delete_old_alert_rows
from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.job import Context, Job, JobParameters
from streamworkers.engine.ledger import retention
from streamworkers.engine.outcome import Completed, Item, Outcome
from streamworkers.loading.checkpoints import count_old_checkpoints, delete_old_checkpoints
from streamworkers.market.bars.changes import count_old_changes, delete_old_changes
from streamworkers.market.bars.write import ensure_minute_partition
from streamworkers.messages.retention import RECEIVED_MESSAGES, count_old_messages, delete_old_messages
from streamworkers.notifications.store.retention import (
    MESSAGE_TEXTS,
    NOTIFICATION_TABLES,
    count_old_notification_rows,
    delete_old_notification_rows,
)
from streamworkers.results.read import count_old_results, delete_old_results
from streamworkers.schedules.backfills.retention import BACKFILLS, count_old_backfills, delete_old_backfills
from streamworkers.schedules.retention import TICK_TABLES, count_old_ticks, delete_old_ticks

# The parameter that says for how many days the rows of a table are kept. Items before their runs.
_KEPT_DAYS = {
    "daily_patterns": "pattern_days",
    "indicator_results": "indicator_days",
    "run_items": "run_item_days",
    "run_events": "run_event_days",
    **dict.fromkeys(TICK_TABLES, "run_days"),
    "submissions": "run_days",
    "runs": "run_days",
    BACKFILLS: "run_days",
    "health_checks": "health_days",
    "process_states": "health_days",
    "process_orders": "health_days",
    "series_changes": "series_change_days",
    "series_versions": "series_version_days",
    **dict.fromkeys(ALERT_TABLES, "alert_days"),
    RECEIVED_MESSAGES: "message_history_days",
    MESSAGE_TEXTS: "message_days",
    **dict.fromkeys(NOTIFICATION_TABLES, "notification_days"),
}
PARTS = (*_KEPT_DAYS, "load_checkpoints", KEPT_ANSWERS, "partitions_ahead")
DAYS_AHEAD = 7
# A load that has waited for longer fetches its pages again.
_FIXED_DAYS = {"load_checkpoints": 7, KEPT_ANSWERS: 2}
# How the old rows of a part are counted, and how so many of them are deleted; all others are tables of the ledger.
_Count: TypeAlias = Callable[[Connection, str, datetime], int]
_Delete: TypeAlias = Callable[[Connection, str, datetime, int], int]
_RULES: dict[str, tuple[_Count, _Delete]] = {
    **dict.fromkeys(("daily_patterns", "indicator_results"), (count_old_results, delete_old_results)),
    **dict.fromkeys(("series_changes", "series_versions"), (count_old_changes, delete_old_changes)),
    **dict.fromkeys(ALERT_TABLES, (count_old_alert_rows, delete_old_alert_rows)),
    **dict.fromkeys((MESSAGE_TEXTS, *NOTIFICATION_TABLES), (count_old_notification_rows, delete_old_notification_rows)),
    BACKFILLS: (count_old_backfills, delete_old_backfills),
    **dict.fromkeys(TICK_TABLES, (count_old_ticks, delete_old_ticks)),
    "load_checkpoints": (
        lambda connection, _, before: count_old_checkpoints(connection, before),
        lambda connection, _, before, limit: delete_old_checkpoints(connection, before, limit),
    ),
    RECEIVED_MESSAGES: (
        lambda connection, _, before: count_old_messages(connection, before),
        lambda connection, _, before, limit: delete_old_messages(connection, before, limit),
    ),
    KEPT_ANSWERS: (
        lambda connection, _, before: count_old_answers(connection, before),
        lambda connection, _, before, limit: delete_old_answers(connection, before, limit),
    ),
}


class CleanupParameters(JobParameters):
    """Days for which each kind of row is kept, rows in a batch; with `dry_run` rows are counted and none deleted."""

    pattern_days: int = Field(90, ge=1, le=36_500)
    indicator_days: int = Field(180, ge=1, le=36_500)
    run_item_days: int = Field(30, ge=1, le=36_500)
    run_event_days: int = Field(7, ge=1, le=36_500)
    run_days: int = Field(365, ge=1, le=36_500)
    health_days: int = Field(30, ge=1, le=36_500)
    series_change_days: int = Field(90, ge=7, le=36_500)  # who has missed changes for so long looks at all bars
    series_version_days: int = Field(365, ge=7, le=36_500)
    alert_days: int = Field(365, ge=1, le=36_500)
    notification_days: int = Field(30, ge=1, le=36_500)
    message_history_days: int = Field(30, ge=1, le=36_500)
    message_days: int = Field(7, ge=1, le=36_500)
    batch_rows: int = Field(5000, ge=100, le=100_000)
    dry_run: bool = False

    @model_validator(mode="after")
    def _keep_runs_as_long_as_items(self) -> "CleanupParameters":
        if self.run_days < self.run_item_days:
            days = f"run_days {self.run_days} is below run_item_days {self.run_item_days}"
            raise ValueError(f"{days}: a run is kept at least as long as its items")
        return self


@dataclass(frozen=True, slots=True)
class Cleaning:
    """How many rows of one part were deleted, or would be in a dry run, and which partitions were dropped."""

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
    """Clean one of `PARTS`. Each batch is a transaction of its own, so it can be stopped and repeated at any point."""
    days: int = getattr(parameters, _KEPT_DAYS[part]) if part in _KEPT_DAYS else _FIXED_DAYS.get(part, 0)
    before = now - timedelta(days=days)
    if part == "partitions_ahead":
        return _create_partitions(connection, now, parameters.dry_run)
    if part == "run_items":
        return _drop_partitions(connection, before, parameters.dry_run, is_cancelled)
    count, delete = _RULES.get(part, (retention.count_old, retention.remove_old))
    if parameters.dry_run:
        return Cleaning(part, count(connection, part, before))
    total = 0
    while not is_cancelled():
        deleted = delete(connection, part, before, parameters.batch_rows)
        total += deleted
        if deleted < parameters.batch_rows:
            break
    return Cleaning(part, total)


class DatabaseCleanup(Job[CleanupParameters]):
    """Deletes rows that are older than their retention.

    Rows are deleted in `execute`, not in `save`: deleting again has no effect, and a long deletion is no single commit.
    """

    name: ClassVar[str] = "database_cleanup"
    queue: ClassVar[str] = "maintenance"
    batch_size: ClassVar[int] = 1
    timeout_seconds: ClassVar[float] = 3600.0
    parameters: ClassVar[type[JobParameters]] = CleanupParameters
    parts: ClassVar[tuple[str, ...]] = PARTS

    def execute(self, items: Sequence[Item], context: Context[CleanupParameters]) -> Iterator[Outcome]:
        """Clean the parts that the items name."""
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


def _create_partitions(connection: Connection, now: datetime, dry_run: bool) -> Cleaning:
    if not dry_run:
        ledger.ensure_partitions(connection, DAYS_AHEAD)
        for moment in (now, now + timedelta(days=31)):
            ensure_minute_partition(connection, moment)
    return Cleaning("partitions_ahead", 0)
