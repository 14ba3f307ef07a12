"""The nights of preview/evening, each in a database of its own and a Prometheus with a day of series."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from psycopg import sql

from harness import ServiceUrls
from invented_account import invent_account
from invented_alerts import blind_one, invent_alerts
from invented_audit import invent_audit
from invented_messages import invent_messages
from invented_notifications import invent_bot, invent_notifications
from preview.evening.api_series import api_series
from preview.evening.blocks import write_blocks
from preview.evening.ledger import write_ledger
from preview.evening.market import write_market
from preview.evening.nights import NIGHTS
from preview.evening.plan import Night, plan_runs
from preview.evening.pool_series import pool_series
from preview.evening.scheduler_series import alert_series, scheduler_series
from preview.evening.series import STEP_SECONDS, Clock, State
from preview.scene import Scene
from services import own_database
from streamworkers.database import Connection, connect
from streamworkers.migrations import create_roles
from watching.prometheus_server import serving_blocks

READER = "streamworkers_readonly"


@contextmanager
def night_scene(night: Night, urls: ServiceUrls, folder: Path) -> Iterator[Scene]:
    """A night at its moment, which `now()` answers in the database, too."""
    with own_database(urls) as url, connect(url) as owner:
        create_roles(owner)
        runs, ticks = plan_runs(night)
        write_ledger(owner, night, runs, ticks)
        write_market(owner, night, runs)
        if not night.is_first:
            invent_alerts(owner, night.now, "dow30")
            blind_one(owner, night.now)
            invent_notifications(owner, night.now)
            invent_bot(owner, night.now)
            invent_audit(owner, night.now)
            invent_messages(owner, night.now)
            invent_account(owner, night.now, "daily_pattern_detection", "daily_indicator_calculation")
        stop_clock(owner, night.now)
        state = State(
            night=night,
            runs=runs,
            ticks=ticks,
            next_ticks=dict(owner.execute("SELECT name, next_run_at FROM schedules").fetchall()),
            patterns=[
                ((pattern, direction), count)
                for pattern, direction, count in owner.execute(
                    "SELECT pattern_name, direction, count(*) FROM daily_patterns WHERE detected_at > %s GROUP BY 1, 2",
                    (night.now - timedelta(days=1),),
                )
            ],
        )
        clock = Clock(night)
        series = (
            *(*pool_series(state, clock), *scheduler_series(state, clock), *api_series(state, clock)),
            *alert_series(state, clock),
        )
        write_blocks(series, clock.times, folder / "prometheus-data")
        with serving_blocks(folder) as prometheus, connect(url) as reader:
            reader.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(READER)))
            reader.execute("SET search_path = public, stopped_clock, pg_catalog")
            failed = max((run.id for run in runs if run.status == "COMPLETED_WITH_ERRORS"), default=None)
            yield Scene(
                name=night.name,
                connection=reader,
                prometheus=prometheus,
                now=night.now,
                scrape=timedelta(seconds=STEP_SECONDS),
                chosen={"run": str(failed)} if failed else {},
            )


def stop_clock(owner: Connection, now: datetime) -> None:
    """Make a schema whose `now()` is a moment: found before pg_catalog, it is the boards' time."""
    owner.execute("CREATE SCHEMA stopped_clock")
    owner.execute(
        sql.SQL("CREATE FUNCTION stopped_clock.now() RETURNS timestamptz LANGUAGE sql STABLE AS {}").format(
            sql.Literal(f"SELECT '{now.isoformat()}'::timestamptz")
        )
    )
    owner.execute(sql.SQL("GRANT USAGE ON SCHEMA stopped_clock TO {}").format(sql.Identifier(READER)))


NIGHT_SCENES = {night.name: partial(night_scene, night) for night in NIGHTS}
