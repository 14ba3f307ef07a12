"""What tests of the scheduler share: a clock that they set, and the decisions about ticks."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from streamworkers.database import Connection
from streamworkers.schedules import reports as history
from streamworkers.schedules import store
from streamworkers.schedules.store import Schedule

NEW_YORK = ZoneInfo("America/New_York")
MONDAY = datetime(2040, 10, 1, 12, 0, tzinfo=NEW_YORK)  # in the future: PostgreSQL has a clock too
Add = Callable[..., Schedule]


@dataclass
class Clock:
    """A clock for all replicas of a test."""

    now: datetime = MONDAY

    def __call__(self, connection: Connection) -> datetime:
        return self.now

    def forward(self, **words: float) -> None:
        """Advance it by hours, minutes, seconds."""
        self.now += timedelta(**words)


def plan_from(connection: Connection, now: datetime, name: str) -> None:
    """Plan a schedule as if it had been saved at `now`."""
    with connection.transaction():
        connection.execute(
            "UPDATE schedules SET planned_from = %s, next_run_at = NULL, due_at = NULL WHERE name = %s", (now, name)
        )
        connection.execute(
            "UPDATE schedule_timings SET valid_from = %s WHERE schedule = %s AND valid_to IS NULL", (now, name)
        )
        store.plan_schedule(connection, name, now)


@contextmanager
def changing_at(connection: Connection, now: datetime) -> Iterator[None]:
    """Let changes of schedules happen at `now`: PostgreSQL has a clock of its own."""
    valid = "SELECT id FROM schedule_timings WHERE valid_to IS NULL"
    with connection.transaction():
        before = [timing for (timing,) in connection.execute(valid)]
        yield
        connection.execute(
            "UPDATE schedule_timings SET valid_to = greatest(valid_from, %(now)s),"
            " decided_at = CASE WHEN enabled AND cron IS NOT NULL THEN NULL ELSE decided_at END"
            " WHERE id = ANY(%(before)s) AND valid_to IS NOT NULL",
            {"before": before, "now": now},
        )
        names = connection.execute(
            "UPDATE schedule_timings SET valid_from = %s"
            " WHERE valid_to IS NULL AND NOT id = ANY(%s) RETURNING schedule",
            (now, before),
        ).fetchall()
        for (name,) in names:
            plan_from(connection, now, name)


def ticks_of(connection: Connection, schedule: Schedule) -> list[tuple[str, str, str | None]]:
    """(time in New York, state, reason) of the ticks of a schedule, oldest first."""
    rows = history.ticks_of(connection, schedule.id, 100_000)
    return [
        (row["scheduled_for"].astimezone(NEW_YORK).strftime("%d %H:%M"), row["state"], row["reason"])
        for row in reversed(rows)
    ]


def runs_of(connection: Connection, schedule: Schedule) -> list[int]:
    """The runs of a schedule."""
    rows = connection.execute("SELECT id FROM runs WHERE schedule_id = %s ORDER BY id", (schedule.id,))
    return [run_id for (run_id,) in rows]


def end_runs(connection: Connection, status: str = "COMPLETED") -> None:
    """Close all open runs and their items, as workers would."""
    state = "completed" if status == "COMPLETED" else "failed"
    connection.execute("UPDATE run_items SET status = %s WHERE status IN ('pending', 'retrying')", (state,))
    connection.execute(
        "UPDATE runs SET status = %s, completed_at = clock_timestamp(), started_at = created_at"
        " WHERE status IN ('PENDING', 'RUNNING')",
        (status,),
    )
