"""Tonight: is today's run complete, and if not, what is missing and why?"""

from grafana.columns import column, link, run_column, stat_field, state_column, symbol_column
from grafana.dashboard import Board
from grafana.layout import Section
from grafana.looks import DAY_AND_CLOCK, Look, above, any_is_bad, any_needs_a_look, below
from grafana.panels import About, Size, gauge, stat, table, timeseries
from grafana.queries import promql, promql_now, sql, sql_series

_RUNS_TODAY = """
    SELECT count(*) FILTER (WHERE status IN ('PENDING', 'RUNNING')) AS "open",
           count(*) FILTER (WHERE status = 'COMPLETED') AS "completed",
           count(*) FILTER (WHERE status = 'COMPLETED_WITH_ERRORS') AS "with errors",
           count(*) FILTER (WHERE status = 'FAILED') AS "failed",
           count(*) FILTER (WHERE status = 'CANCELLED') AS "cancelled"
    FROM runs
    WHERE $__timeFilter(created_at)
"""
# The counts of a run are written when it ends; until then its items are counted.
_PROGRESS = """
    WITH counted AS (
        SELECT r.id, r.item_count,
               coalesce(r.completed_count, i.completed, 0) AS completed,
               coalesce(r.failed_count, i.failed, 0) AS failed
        FROM runs r
        LEFT JOIN LATERAL (
            SELECT count(*) FILTER (WHERE status = 'completed') AS completed,
                   count(*) FILTER (WHERE status = 'failed') AS failed
            FROM run_items
            WHERE run_day = r.run_day AND run_id = r.id
        ) i ON r.completed_at IS NULL
        WHERE $__timeFilter(r.created_at)
    )
"""
_ITEMS_TODAY = (
    _PROGRESS
    + """
    SELECT coalesce(sum(completed)::double precision / nullif(sum(item_count), 0), 0) AS "completed"
    FROM counted
"""
)
_TABLE_OF_RUNS = (
    _PROGRESS
    + """
    SELECT r.id AS run, coalesce(r.schedule, r.job) AS "schedule", r.job, left(r.target, 60) AS target, r.status,
           c.completed::double precision / nullif(r.item_count, 0) AS progress,
           r.item_count AS items, c.completed, c.failed, r.scheduled_for AS "due", r.started_at AS "started",
           extract(epoch FROM coalesce(r.completed_at, now()) - coalesce(r.started_at, r.created_at))
               ::double precision AS duration
    FROM counted c
    JOIN runs r ON r.id = c.id
    ORDER BY r.completed_at IS NOT NULL, r.status = 'COMPLETED', r.id DESC
    LIMIT 200
"""
)
_WHY = """
    SELECT r.job, coalesce(i.error, 'no reason recorded') AS error, count(*) AS items,
           count(DISTINCT r.id) AS runs, max(i.finished_at) AS "last",
           left(string_agg(DISTINCT i.symbol, ', '), 200) AS symbols
    FROM runs r
    JOIN run_items i ON i.run_day = r.run_day AND i.run_id = r.id
    WHERE $__timeFilter(r.created_at) AND i.status = 'failed'
    GROUP BY r.job, 2
    ORDER BY items DESC
    LIMIT 100
"""
_FAILED_ITEMS = """
    SELECT r.id AS run, r.job, i.symbol, i.attempt, i.error, i.worker, i.finished_at AS "failed at"
    FROM runs r
    JOIN run_items i ON i.run_day = r.run_day AND i.run_id = r.id
    WHERE $__timeFilter(r.created_at) AND i.status = 'failed'
    ORDER BY i.finished_at DESC
    LIMIT 500
"""
_AGAINST_BEFORE = """
    WITH ended AS (
        SELECT id, coalesce(schedule, job) AS schedule, created_at,
               extract(epoch FROM completed_at - coalesce(started_at, created_at))::double precision AS seconds
        FROM runs
        WHERE completed_at IS NOT NULL AND status <> 'CANCELLED'
          AND created_at BETWEEN $__timeTo()::timestamptz - interval '14 days' AND $__timeTo()::timestamptz
    ), newest AS (
        SELECT DISTINCT ON (schedule) * FROM ended ORDER BY schedule, id DESC
    ), before AS (
        SELECT e.schedule, count(*) AS runs,
               percentile_cont(0.5) WITHIN GROUP (ORDER BY e.seconds) AS median,
               percentile_cont(0.95) WITHIN GROUP (ORDER BY e.seconds) AS p95
        FROM ended e
        JOIN newest n ON n.schedule = e.schedule AND e.id < n.id
        GROUP BY e.schedule
    )
    SELECT n.schedule, n.id AS run, n.seconds AS "newest", b.median, b.p95,
           n.seconds / nullif(b.median, 0) AS "of median", coalesce(b.runs, 0) AS "runs before"
    FROM newest n
    LEFT JOIN before b USING (schedule)
    ORDER BY "of median" DESC NULLS LAST
"""
_DURATIONS = """
    SELECT completed_at AS time, coalesce(schedule, job) AS metric,
           extract(epoch FROM completed_at - coalesce(started_at, created_at))::double precision AS seconds
    FROM runs
    WHERE $__timeFilter(completed_at) AND status <> 'CANCELLED'
    ORDER BY 1
"""
_NEXT_TICKS = """
    SELECT s.name AS schedule, s.job AS job, coalesce(s.cron, 'event ' || s.on_event) AS "when",
           s.enabled, s.next_run_at AS "next tick",
           extract(epoch FROM s.next_run_at - now())::double precision AS "in",
           s.after, last.scheduled_for AS "last tick", last.state, coalesce(s.problem, last.reason) AS "reason"
    FROM schedules s
    LEFT JOIN LATERAL (
        SELECT scheduled_for, state, reason
        FROM ticks
        WHERE schedule_id = s.id
        ORDER BY scheduled_for DESC
        LIMIT 1
    ) last ON true
    ORDER BY s.next_run_at NULLS LAST, s.name
"""


def _at_a_glance() -> Section:
    runs = About(
        11,
        "Today's runs",
        "Did every run created today succeed? If some failed or had errors, the tables below say why; then"
        " `streamworkers dead replay --run N`.",
    )
    fields = (stat_field("failed", any_is_bad()), stat_field("with errors", any_needs_a_look()))
    coverage = About(
        12,
        "Coverage of the newest tick",
        "What share of its items has the run of each schedule's newest tick completed? If it is below 99 % at the end"
        " of the evening, look at the failed items and at the number of workers.",
    )
    items = About(
        13,
        "Today's items completed",
        "How far are all of today's runs together? If it does not move, see the backlog and the workers beside it.",
    )
    waiting = About(
        14,
        "Items waiting",
        "How much work is left? If the number does not fall, add workers: see the board Queues and workers.",
    )
    workers = About(
        15,
        "Workers",
        "How many worker processes are alive, and how many are busy? If there are none, start `streamworkers worker`.",
    )
    alerts = About(
        16,
        "Alerts firing",
        "Is any alert firing? Open the runbook section that it links to.",
    )
    ratio = "max by (schedule) (streamworkers_schedule_last_tick_coverage_ratio)"
    backlog = 'sum(max by (queue, state) (streamworkers_queue_entries{state=~"waiting|delayed"}))'
    firing = 'sum(ALERTS{alertstate="firing"}) or vector(0)'
    return Section(
        1,
        "At a glance",
        [
            stat(runs, [sql(_RUNS_TODAY)], Look(unit="short", decimals=0, columns=fields), Size(8, 5)),
            gauge(
                coverage,
                [promql_now(ratio, "{{schedule}}")],
                Look(unit="percentunit", minimum=0, maximum=1, thresholds=below(0.95, 0.99)),
                Size(8, 5),
            ),
            stat(
                items,
                [sql(_ITEMS_TODAY)],
                Look(unit="percentunit", decimals=1, thresholds=below(0.95, 0.99)),
                Size(2, 5),
            ),
            stat(
                waiting,
                [promql_now(backlog, "waiting")],
                Look(unit="short", decimals=0, thresholds=above(10_000, 100_000)),
                Size(2, 5),
            ),
            stat(
                workers,
                [promql_now("sum by (state) (streamworkers_workers)", "{{state}}")],
                Look(unit="short", decimals=0, no_value="none"),
                Size(2, 5),
            ),
            stat(
                alerts,
                [promql_now(firing, "firing")],
                Look(unit="short", decimals=0, thresholds=any_is_bad()),
                Size(2, 5),
            ),
        ],
    )


def _runs() -> Section:
    runs = About(
        21,
        "Today's runs, unfinished and failed ones first",
        "What is running, how far is it, and how did the other runs end? Click on a run for its details.",
    )
    closed = About(
        22,
        "Items closed",
        "Is work being done now, and how fast? If it is zero while items wait, no worker reads that queue.",
    )
    columns = (
        run_column(),
        state_column("status"),
        column("progress", "percentunit", steps=below(0.95, 0.99), bar=True),
        column("failed", "short", steps=any_is_bad()),
        column("due", DAY_AND_CLOCK, width=100),
        column("started", DAY_AND_CLOCK, width=100),
        column("duration", "s"),
    )
    finished = "sum by (job, outcome) (rate(streamworkers_items_finished_total[$__rate_interval]))"
    return Section(
        2,
        "Runs",
        [
            table(
                runs,
                [sql(_TABLE_OF_RUNS)],
                Look(unit="short", columns=columns, no_value="no run today"),
                Size(16, 9),
            ),
            timeseries(
                closed,
                [promql(finished, "{{job}} {{outcome}}")],
                Look(unit="ops", minimum=0),
                Size(8, 9),
                stacked=True,
            ),
        ],
    )


def _failures() -> Section:
    why = About(
        31,
        "Failures by reason",
        "Is there one cause or many? Fix the cause first, then `streamworkers dead replay --run N`.",
    )
    items = About(
        32,
        "Failed items",
        "Which symbols have no result today, and after how many attempts? `streamworkers dead list` shows the same.",
    )
    return Section(
        3,
        "Failures",
        [
            table(
                why,
                [sql(_WHY)],
                Look(unit="short", columns=(column("last", DAY_AND_CLOCK, width=100),), no_value="nothing failed"),
                Size(12, 9),
            ),
            table(
                items,
                [sql(_FAILED_ITEMS)],
                Look(
                    unit="short",
                    columns=(
                        run_column(),
                        symbol_column(),
                        column("attempt", width=75),
                        column("worker", width=110),
                        column("failed at", DAY_AND_CLOCK, width=100),
                    ),
                    no_value="nothing failed",
                ),
                Size(12, 9),
            ),
        ],
    )


def _durations() -> Section:
    against = About(
        41,
        "Newest run compared with the last 14 days",
        "Was it slower than usual? If it is far above the median, look for missing workers, a slow database, or"
        " retries.",
    )
    history = About(
        42,
        "Duration of runs, last 14 days",
        "Is a schedule getting slower from day to day? Its universe or its history is growing: add workers.",
    )
    seconds = [column(name, "s") for name in ("newest", "median", "p95")]
    columns = (
        run_column(),
        column("of median", "percentunit", steps=above(1.5, 3)),
        *seconds,
    )
    return Section(
        4,
        "Duration",
        [
            table(against, [sql(_AGAINST_BEFORE)], Look(unit="short", columns=columns), Size(12, 8)),
            timeseries(history, [sql_series(_DURATIONS)], Look(unit="s", minimum=0), Size(12, 8), style="points").over(
                "14d"
            ),
        ],
    )


def _next() -> Section:
    about = About(
        51,
        "Next ticks",
        "What starts next, and how did the last tick end? A negative time means late: is a scheduler running?"
        " The reason says why a tick started no run.",
    )
    columns = (
        column("schedule", to=link("scheduler and events", "/d/streamworkers-scheduler")),
        state_column("state"),
        column("next tick", DAY_AND_CLOCK, width=100),
        column("last tick", DAY_AND_CLOCK, width=100),
        column("in", "s", steps=(("red", None), ("orange", -60), ("green", 0))),
    )
    look = Look(unit="short", columns=columns, no_value="no schedule: `streamworkers schedules install-defaults`")
    return Section(5, "Next", [table(about, [sql(_NEXT_TICKS)], look, Size(24, 8))])


def board() -> Board:
    """The board of everything since midnight in New York."""
    return Board(
        uid="streamworkers-tonight",
        title="Tonight",
        description="Is tonight's run complete, what failed and why, and what starts next?",
        sections=[_at_a_glance(), _runs(), _failures(), _durations(), _next()],
        since="now/d",
        annotated=("Runs", "Worker kills", "Deploys"),
    )
