"""Runs: one run in depth, their history over weeks, what is slow, and what fails."""

from grafana.columns import column, run_column, series_colour, stat_field, state_column, symbol_column
from grafana.dashboard import Board
from grafana.layout import Section
from grafana.looks import (
    CLOCK,
    DAY_AND_CLOCK,
    GREY,
    PLAIN,
    Look,
    any_is_bad,
    any_needs_a_look,
    below,
    colour_of_line,
    starts_with,
)
from grafana.panels import About, Panel, Size, barchart, stat, table, timeseries, verdict
from grafana.queries import promql, sql, sql_series
from grafana.variables import rows_of

_OF_JOBS = "job = ANY (ARRAY[${job:sqlstring}]::text[])"
# The chosen run; null while none exists.
_RUN = "nullif(${run:sqlstring}, '')::bigint"
_STATES = ("COMPLETED", "COMPLETED_WITH_ERRORS", "FAILED", "CANCELLED")

_HOW_IT_WENT = f"""
    SELECT replace(r.status, '_', ' ') || ': ' || coalesce(r.completed_count, i.completed) || ' of ' || r.item_count
           || CASE WHEN coalesce(r.failed_count, i.failed) > 0
                   THEN ', ' || coalesce(r.failed_count, i.failed) || ' failed' ELSE '' END AS verdict
    FROM runs r
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE status = 'completed') AS completed,
               count(*) FILTER (WHERE status = 'failed') AS failed
        FROM run_items
        WHERE run_day = r.run_day AND run_id = r.id
    ) i
    WHERE r.id = {_RUN}
"""
_COLOURS_OF_STATUSES = {
    "COMPLETED WITH": "orange",
    "COMPLETED": "green",
    "FAILED": "red",
    "CANCELLED": "purple",
    "RUNNING": "blue",
    "PENDING": GREY,
}
_THE_RUN = f"""
    SELECT r.id AS run, r.job, coalesce(r.schedule, r.trigger) AS "started by",
           replace(r.target, ':', ': ') AS target, r.timeframe,
           r.as_of AS "as of", r.scheduled_for AS "due", r.created_at AS "created",
           r.started_at AS "started", r.completed_at AS "ended",
           nullif(r.parameters::text, '{{}}') AS parameters
    FROM runs r
    WHERE r.id = {_RUN}
"""
_ITS_ITEMS = f"""
    FROM run_items i
    JOIN runs r ON i.run_day = r.run_day AND i.run_id = r.id
    WHERE r.id = {_RUN}
"""
_ITS_STATES = (
    """
    SELECT count(*) FILTER (WHERE i.status = 'completed') AS "completed",
           count(*) FILTER (WHERE i.status = 'failed') AS "failed",
           count(*) FILTER (WHERE i.status = 'retrying') AS "retrying",
           count(*) FILTER (WHERE i.status = 'pending') AS "pending",
           count(*) FILTER (WHERE i.status = 'cancelled') AS "cancelled"
"""
    + _ITS_ITEMS
)
_ITS_TIMES = (
    """
    SELECT extract(epoch FROM min(r.started_at)
               - min(coalesce(r.ready_at, r.created_at)))::double precision AS "waited",
           extract(epoch FROM coalesce(min(r.completed_at), $__timeTo()::timestamptz)
               - coalesce(min(r.started_at), min(r.created_at)))::double precision AS "duration",
           percentile_cont(0.95) WITHIN GROUP (
               ORDER BY extract(epoch FROM i.finished_at - i.started_at)::double precision) AS "item p95"
"""
    + _ITS_ITEMS
)
# Twelve steps from the start of the run to its last closed item.
_ITS_PACE = (
    """
    WITH closed AS (
        SELECT extract(epoch FROM i.finished_at - coalesce(r.started_at, r.created_at))::double precision AS after,
               i.status
"""
    + _ITS_ITEMS
    + """
          AND i.finished_at IS NOT NULL
    ), span AS (
        SELECT greatest(max(after), 0.001) / 12 AS step FROM closed HAVING count(*) > 0
    ), steps AS (
        SELECT least(floor(after / step), 11)::int AS at, status FROM closed, span
    )
    SELECT '+' || CASE WHEN step >= 4 THEN round((n * step / 60)::numeric, 1) || ' min'
                       WHEN step >= 0.1 THEN round((n * step)::numeric, 1) || ' s'
                       ELSE round(n * step * 1000) || ' ms' END AS "after",
           count(at) FILTER (WHERE status = 'completed') AS "completed",
           count(at) FILTER (WHERE status = 'failed') AS "failed"
    FROM span CROSS JOIN generate_series(0, 11) AS n
    LEFT JOIN steps ON steps.at = n
    GROUP BY n, step
    ORDER BY n
"""
)
_ITS_WORKERS = (
    """
    SELECT coalesce(i.worker, 'not taken') AS worker, count(*) FILTER (WHERE i.status = 'completed') AS "completed",
           count(*) FILTER (WHERE i.status = 'failed') AS "failed",
           count(*) FILTER (WHERE i.status NOT IN ('completed', 'failed')) AS "pending"
"""
    + _ITS_ITEMS
    + """
    GROUP BY 1
    ORDER BY count(*) DESC
    LIMIT 20
"""
)
# The stack of the newest item of each error; an item that the ledger closed without a call has none.
_ITS_FAILURES = (
    """
    SELECT count(*) AS items, i.status, i.error, left(string_agg(i.symbol, ', ' ORDER BY i.symbol), 100) AS symbols,
           (array_agg(i.history -> -1 ->> 'stack' ORDER BY i.finished_at DESC NULLS LAST)
               FILTER (WHERE i.history -> -1 ? 'stack'))[1] AS stack
"""
    + _ITS_ITEMS
    + """
      AND i.error IS NOT NULL
    GROUP BY i.status, i.error
    ORDER BY items DESC
    LIMIT 50
"""
)
_ITS_TROUBLE = (
    """
    SELECT i.symbol, i.status, i.attempt, i.error, i.worker, i.started_at AS "started", i.finished_at AS "closed",
           jsonb_array_length(i.history) AS "failed attempts"
"""
    + _ITS_ITEMS
    + """
      AND (i.status NOT IN ('completed', 'pending') OR i.attempt > 1 OR i.history IS NOT NULL)
    ORDER BY i.status = 'completed', i.seq
    LIMIT 500
"""
)
_TOTALS = f"""
    SELECT count(*) AS "runs", coalesce(sum(item_count), 0) AS "items",
           coalesce(sum(failed_count), 0) AS "dead items", count(*) FILTER (WHERE completed_at IS NULL) AS "open"
    FROM runs
    WHERE $__timeFilter(created_at) AND {_OF_JOBS}
"""
_SUCCESS = f"""
    SELECT avg((status = 'COMPLETED')::int)::double precision AS "runs without errors",
           sum(completed_count)::double precision / nullif(sum(item_count), 0) AS "items completed"
    FROM runs
    WHERE $__timeFilter(created_at) AND {_OF_JOBS} AND completed_at IS NOT NULL AND status <> 'CANCELLED'
"""
_BY_DAY = f"""
    SELECT date_trunc('day', created_at, 'America/New_York') AS time,
           count(*) FILTER (WHERE status = 'COMPLETED') AS "COMPLETED",
           count(*) FILTER (WHERE status = 'COMPLETED_WITH_ERRORS') AS "COMPLETED_WITH_ERRORS",
           count(*) FILTER (WHERE status = 'FAILED') AS "FAILED",
           count(*) FILTER (WHERE status = 'CANCELLED') AS "CANCELLED",
           count(*) FILTER (WHERE completed_at IS NULL) AS "open"
    FROM runs
    WHERE $__timeFilter(created_at) AND {_OF_JOBS}
    GROUP BY 1
    ORDER BY 1
"""
_SUCCESS_BY_DAY = f"""
    SELECT date_trunc('day', created_at, 'America/New_York') AS time, job AS metric,
           sum(completed_count)::double precision / nullif(sum(item_count), 0) AS "completed"
    FROM runs
    WHERE $__timeFilter(created_at) AND {_OF_JOBS} AND completed_at IS NOT NULL AND status <> 'CANCELLED'
    GROUP BY 1, 2
    ORDER BY 1
"""
# The newest 3,000: a chart has no room for more.
_DURATIONS = f"""
    SELECT * FROM (
        SELECT completed_at AS time, job AS metric,
               extract(epoch FROM completed_at - coalesce(started_at, created_at))::double precision AS seconds
        FROM runs
        WHERE $__timeFilter(completed_at) AND {_OF_JOBS} AND status <> 'CANCELLED'
        ORDER BY completed_at DESC
        LIMIT 3000
    ) newest
    ORDER BY time
"""
_HISTORY = f"""
    SELECT id AS run, status, job, coalesce(schedule, trigger) AS "started by",
           completed_count::double precision / nullif(item_count, 0) AS coverage, item_count AS items,
           failed_count AS failed, created_at AS "created",
           extract(epoch FROM started_at - coalesce(ready_at, created_at))::double precision AS waited,
           extract(epoch FROM completed_at - coalesce(started_at, created_at))::double precision AS duration
    FROM runs
    WHERE $__timeFilter(created_at) AND {_OF_JOBS}
    ORDER BY id DESC
    LIMIT 500
"""
# Bounds on the partition key, so that the planner leaves out all other partitions.
_ITEMS = f"""
    FROM runs r
    JOIN run_items i ON i.run_day = r.run_day AND i.run_id = r.id
    WHERE $__timeFilter(r.created_at) AND r.{_OF_JOBS}
      AND i.run_day BETWEEN $__timeFrom()::timestamptz::date - 1 AND $__timeTo()::timestamptz::date + 1
"""
_SLOWEST = (
    """
    SELECT r.id AS run, r.job, i.symbol, extract(epoch FROM i.finished_at - i.started_at)::double precision AS duration,
           i.attempt, i.status, i.worker
"""
    + _ITEMS
    + """
      AND i.finished_at IS NOT NULL AND i.started_at IS NOT NULL
    ORDER BY i.finished_at - i.started_at DESC
    LIMIT 50
"""
)
_TYPES = (
    r"""
    SELECT regexp_replace(split_part(i.error, ':', 1), '\d+', 'N', 'g') AS error, count(*) AS items
"""
    + _ITEMS
    + """
      AND i.error IS NOT NULL
    GROUP BY 1
    ORDER BY items DESC
    LIMIT 15
"""
)
_ERRORS = (
    """
    SELECT count(*) AS items, r.job, i.status, i.error, count(DISTINCT r.id) AS runs, max(r.id) AS run,
           max(i.finished_at) AS "last"
"""
    + _ITEMS
    + """
      AND i.error IS NOT NULL
    GROUP BY r.job, i.status, i.error
    ORDER BY items DESC
    LIMIT 200
"""
)


def _one_run() -> Section:
    how = Look(unit="none", mappings=starts_with(_COLOURS_OF_STATUSES), no_value="no run yet: streamworkers enqueue")
    return Section(
        3,
        "Run $run",
        [
            verdict(
                About(
                    30,
                    "How it went",
                    "How did the run end, or how far is it? Retry what failed with `streamworkers runs retry RUN`,"
                    " once the cause below is mended.",
                ),
                [sql(_HOW_IT_WENT)],
                how,
                Size(9, 4),
                field="verdict",
            ),
            stat(
                About(32, "Items by state", "How many items are in which state? Pending ones wait for a worker."),
                [sql(_ITS_STATES)],
                Look(
                    unit="short",
                    decimals=0,
                    thresholds=PLAIN,
                    columns=(stat_field("failed", any_is_bad()), stat_field("retrying", any_needs_a_look())),
                ),
                Size(8, 4),
            ),
            stat(
                About(
                    33,
                    "How long it took",
                    "How long did it wait for a worker, and how long did it take? After a long wait, look for other"
                    " runs that kept the pool busy.",
                ),
                [sql(_ITS_TIMES)],
                Look(unit="s", decimals=1, thresholds=PLAIN),
                Size(7, 4),
            ),
            _request(),
            _failures_of_the_run(),
            *_course_of_the_run(),
            _trouble_of_the_run(),
        ],
    )


def _request() -> Panel:
    times = [column(name, DAY_AND_CLOCK, width=100) for name in ("as of", "due", "created")]
    columns = (
        run_column(),
        column("job", width=100),
        column("started by", width=185),
        column("timeframe", width=85),
        *times,
        *(column(name, CLOCK, width=75) for name in ("started", "ended")),
    )
    about = About(
        31, "Request", "What was requested, by whom, and when? `streamworkers runs show N` has the whole of it."
    )
    return table(about, [sql(_THE_RUN)], Look(unit="none", columns=columns, no_value="no run yet"), Size(24, 4))


def _failures_of_the_run() -> Panel:
    about = About(
        37,
        "Failures of this run, with their stacks",
        "Which causes are there, and where in the code? The stack is that of the newest item of each error; an item"
        " that was closed without a call has none.",
    )
    columns = (
        column("items", "short", width=60),
        state_column("status", 85),
        column("symbols", width=150),
        column("stack", width=480),
    )
    look = Look(unit="none", columns=columns, no_value="nothing failed in this run")
    return table(about, [sql(_ITS_FAILURES)], look, Size(24, 9))


def _course_of_the_run() -> list[Panel]:
    colours = tuple(series_colour(state, colour_of_line(state)) for state in ("completed", "failed", "pending"))
    return [
        barchart(
            About(
                34,
                "Items closed over time",
                "When were its items closed, in twelve steps from its start? A gap is a stop: a restart, a kill or"
                " an unreachable database.",
            ),
            [sql(_ITS_PACE)],
            Look(unit="short", decimals=0, columns=colours, no_value="nothing was closed yet"),
            Size(14, 8),
            x="after",
            stacked=True,
        ),
        barchart(
            About(
                35,
                "Items by worker",
                "Was the work spread evenly? A worker with far fewer items was slow, or started late.",
            ),
            [sql(_ITS_WORKERS)],
            Look(unit="short", decimals=0, columns=colours, no_value="no worker has taken an item yet"),
            Size(10, 8),
            x="worker",
            stacked=True,
        ),
    ]


def _trouble_of_the_run() -> Panel:
    about = About(
        36,
        "Items not completed at the first attempt",
        "Which items failed, or needed several attempts, and why? In a clean run it is empty.",
    )
    columns = (
        symbol_column(80),
        state_column("status", 85),
        column("attempt", width=70),
        column("worker", width=150),
        column("started", CLOCK, width=80),
        column("closed", CLOCK, width=80),
        column("failed attempts", width=80),
    )
    look = Look(unit="none", columns=columns, no_value="no item has failed or needed a second attempt")
    return table(about, [sql(_ITS_TROUBLE)], look, Size(24, 7))


def _history() -> Section:
    colours = tuple(series_colour(state, colour_of_line(state)) for state in _STATES)
    kept = 'max by (job, status) (streamworkers_runs{job=~"${job:regex}"})'
    return Section(
        1,
        "The runs of weeks",
        [
            stat(
                About(
                    11,
                    "Totals",
                    "How many runs and items were there, and how many are dead? See `streamworkers dead replay`.",
                ),
                [sql(_TOTALS)],
                Look(unit="short", thresholds=PLAIN, columns=(stat_field("dead items", any_needs_a_look()),)),
                Size(12, 4),
            ),
            stat(
                About(
                    12,
                    "Success",
                    "What share of ended runs had no error, and what share of their items was completed? If it is below"
                    " 99 %, see Errors by type below.",
                ),
                [sql(_SUCCESS)],
                Look(
                    unit="percentunit",
                    decimals=2,
                    thresholds=PLAIN,
                    columns=(stat_field("items completed", below(0.95, 0.99)),),
                ),
                Size(12, 4),
            ),
            _table_of_runs(),
            timeseries(
                About(13, "Runs by day", "How did the runs of each day end? On a day without bars no run was created."),
                [sql_series(_BY_DAY)],
                Look(unit="short", decimals=0, minimum=0, columns=(*colours, series_colour("open", "blue"))),
                Size(12, 8),
                style="bars",
                stacked=True,
            ),
            timeseries(
                About(
                    15,
                    "Duration of runs",
                    "Is a job getting slower? Its universe or its history may be growing. The newest 3,000 runs, on a"
                    " logarithmic scale.",
                ),
                [sql_series(_DURATIONS)],
                Look(unit="s", scale="log", no_value="no run has ended"),
                Size(12, 8),
                style="points",
            ),
            timeseries(
                About(
                    14,
                    "Items completed by day",
                    "On which days did items of a job fail? Choose a run of that day above.",
                ),
                [sql_series(_SUCCESS_BY_DAY)],
                Look(unit="percentunit", maximum=1, thresholds=(("red", None), ("text", 0.99)), no_value="no run"),
                Size(12, 8),
                style="points",
            ),
            timeseries(
                About(
                    17,
                    "Runs in the ledger by status",
                    "How many runs are kept, and how many are open? If open runs do not end, check for workers.",
                ),
                [promql(kept, "{{job}} {{status}}")],
                Look(unit="short", decimals=0, minimum=0, no_value="no run"),
                Size(12, 8),
            ),
        ],
    )


def _table_of_runs() -> Panel:
    columns = (
        run_column(),
        state_column("status", 115),
        column("job", width=145),
        column("started by"),
        column("coverage", "percentunit", width=85, steps=below(0.95, 0.99)),
        column("items", "short", width=60),
        column("failed", "short", width=60, steps=any_is_bad()),
        column("created", DAY_AND_CLOCK, width=115),
        column("waited", "s", width=85),
        column("duration", "s", width=95),
    )
    about = About(16, "Runs", "What ran, and how did it end? Click on a run for its details above.")
    look = Look(unit="none", columns=columns, no_value="no run in this range")
    return table(about, [sql(_HISTORY)], look, Size(24, 9))


def _slow_and_failed() -> Section:
    slow = (
        run_column(),
        column("job", width=145),
        symbol_column(80),
        column("duration", "s", width=90),
        column("attempt", width=70),
        state_column("status", 85),
    )
    errors = (
        column("items", "short", width=60),
        column("job", width=110),
        state_column("status", 85),
        column("runs", "short", width=60),
        run_column(),
        column("last", DAY_AND_CLOCK, width=115),
    )
    return Section(
        2,
        "Slow and failed items of all these runs",
        [
            table(
                About(
                    23,
                    "Errors",
                    "Which errors occurred, retried items included? Items in state `retrying` may still succeed.",
                ),
                [sql(_ERRORS)],
                Look(unit="none", columns=errors, no_value="no error"),
                Size(24, 8),
            ),
            barchart(
                About(
                    22,
                    "Errors by type",
                    "Which errors are most frequent? Shown up to the first colon, with N for numbers; full text above.",
                ),
                [sql(_TYPES)],
                Look(unit="short", decimals=0, columns=(series_colour("items", "red"),), no_value="no error"),
                Size(10, 9),
                x="error",
            ),
            table(
                About(
                    21,
                    "Slowest items",
                    "Which items took longest, from the start of their call to their commit? A symbol that appears"
                    " often has more bars than others, or a defect.",
                ),
                [sql(_SLOWEST)],
                Look(unit="none", columns=slow, no_value="no item has been closed"),
                Size(14, 9),
            ),
        ],
        collapsed=True,
    )


def board() -> Board:
    """The board, for one run and by job."""
    jobs = "SELECT job FROM runs UNION SELECT job FROM schedules ORDER BY 1"
    # Runs of one item, such as the hourly health check, come last: the newest of the others is shown first.
    chosen = f"""
        SELECT id || ' · ' || coalesce(schedule, job) || ' · '
               || to_char(created_at AT TIME ZONE 'America/New_York', 'Dy MM-DD HH24:MI') AS __text, id::text AS __value
        FROM (SELECT * FROM runs WHERE {_OF_JOBS} ORDER BY id DESC LIMIT 1000) newest
        ORDER BY item_count = 1, id DESC
    """
    return Board(
        uid="streamworkers-runs",
        title="Runs",
        description="What happened in one run, how did runs end over weeks, what is slow, and what fails?",
        sections=[_one_run(), _history(), _slow_and_failed()],
        variables=[rows_of("job", jobs, several=True), rows_of("run", chosen)],
        since="now-30d",
        refresh="1m",
    )
