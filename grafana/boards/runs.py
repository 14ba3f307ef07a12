"""Runs: their history over weeks, what is slow, what fails, and one run in detail."""

from grafana.columns import column, run_column, series_colour, stat_field, state_column, symbol_column
from grafana.dashboard import Board
from grafana.layout import Section
from grafana.looks import DAY_AND_CLOCK, Look, any_is_bad, below
from grafana.panels import About, Size, barchart, stat, table, timeseries
from grafana.queries import promql, sql, sql_series
from grafana.variables import rows_of

_OF_JOBS = "job = ANY (ARRAY[${job:sqlstring}]::text[])"
# The chosen run; null while none exists.
_RUN = "nullif(${run:sqlstring}, '')::bigint"
_STATES = (("COMPLETED", "green"), ("COMPLETED_WITH_ERRORS", "orange"), ("FAILED", "red"), ("CANCELLED", "purple"))

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
    SELECT $__timeGroupAlias(created_at, '1d'),
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
    SELECT $__timeGroupAlias(created_at, '1d'), job AS metric,
           sum(completed_count)::double precision / nullif(sum(item_count), 0) AS "completed"
    FROM runs
    WHERE $__timeFilter(created_at) AND {_OF_JOBS} AND completed_at IS NOT NULL AND status <> 'CANCELLED'
    GROUP BY 1, 2
    ORDER BY 1
"""
_DURATIONS = f"""
    SELECT completed_at AS time, job AS metric,
           extract(epoch FROM completed_at - coalesce(started_at, created_at))::double precision AS seconds
    FROM runs
    WHERE $__timeFilter(completed_at) AND {_OF_JOBS} AND status <> 'CANCELLED'
    ORDER BY 1
"""
_HISTORY = f"""
    SELECT id AS run, job, coalesce(schedule, trigger) AS "started by", left(target, 60) AS target, timeframe, status,
           completed_count::double precision / nullif(item_count, 0) AS coverage, item_count AS items,
           failed_count AS failed, created_at AS "created",
           extract(epoch FROM started_at - created_at)::double precision AS waited,
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
    LIMIT 20
"""
)
_ERRORS = (
    """
    SELECT r.job, i.status, i.error, count(*) AS items, count(DISTINCT r.id) AS runs, max(r.id) AS run,
           max(i.finished_at) AS "last"
"""
    + _ITEMS
    + """
      AND i.error IS NOT NULL
    GROUP BY 1, 2, 3
    ORDER BY items DESC
    LIMIT 200
"""
)
_THE_RUN = f"""
    SELECT r.id AS run, r.job, r.queue, r.status, r.target, r.timeframe, r.as_of, coalesce(r.schedule, r.trigger)
               AS "started by", r.scheduled_for AS "due", r.created_at AS "created", r.started_at AS "started",
           r.completed_at AS "completed", r.parameters::text AS parameters, r.max_attempts AS "max attempts"
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
           count(*) FILTER (WHERE i.status = 'cancelled') AS "cancelled",
           count(*) FILTER (WHERE i.status = 'retrying') AS "retrying",
           count(*) FILTER (WHERE i.status = 'pending') AS "pending"
"""
    + _ITS_ITEMS
)
_ITS_TIMES = (
    """
    SELECT extract(epoch FROM min(r.started_at) - min(r.created_at))::double precision AS "waited",
           extract(epoch FROM coalesce(min(r.completed_at), now()) - coalesce(min(r.started_at), min(r.created_at)))
               ::double precision AS "duration",
           percentile_cont(0.95) WITHIN GROUP (
               ORDER BY extract(epoch FROM i.finished_at - i.started_at)::double precision) AS "item p95"
"""
    + _ITS_ITEMS
)
# Thirty steps from the start of the run to its last closed item.
_ITS_PACE = (
    """
    WITH closed AS (
        SELECT extract(epoch FROM i.finished_at - coalesce(r.started_at, r.created_at))::double precision AS after
"""
    + _ITS_ITEMS
    + """
          AND i.finished_at IS NOT NULL
    ), span AS (
        SELECT greatest(max(after), 0.001) / 30 AS step FROM closed
    )
    SELECT '+' || round((floor(after / step) * step)::numeric, 2) || ' s' AS "after", count(*) AS "items closed"
    FROM closed, span
    GROUP BY floor(after / step), step
    ORDER BY floor(after / step)
"""
)
_ITS_WORKERS = (
    """
    SELECT coalesce(i.worker, 'none') AS worker, count(*) FILTER (WHERE i.status = 'completed') AS "completed",
           count(*) FILTER (WHERE i.status <> 'completed') AS "not completed"
"""
    + _ITS_ITEMS
    + """
    GROUP BY 1
    ORDER BY count(*) DESC
    LIMIT 50
"""
)
_ITS_TROUBLE = (
    """
    SELECT i.symbol, i.status, i.attempt, i.error, i.worker, i.started_at AS "started", i.finished_at AS "finished",
           i.history::text AS "earlier attempts"
"""
    + _ITS_ITEMS
    + """
      AND (i.status <> 'completed' OR i.attempt > 1 OR i.history IS NOT NULL)
    ORDER BY i.status = 'completed', i.seq
    LIMIT 500
"""
)


def _history() -> Section:
    kept = 'max by (job, status) (streamworkers_runs{job=~"${job:regex}"})'
    colours = tuple(series_colour(state, colour) for state, colour in _STATES)
    columns = (
        run_column(),
        state_column("status"),
        column("coverage", "percentunit", steps=below(0.95, 0.99)),
        column("failed", "short", steps=any_is_bad()),
        column("created", DAY_AND_CLOCK, width=100),
        column("waited", "s"),
        column("duration", "s"),
    )
    return Section(
        1,
        "History",
        [
            stat(
                About(
                    11,
                    "Totals",
                    "How many runs and items were there, and how many are dead? See `streamworkers dead replay`.",
                ),
                [sql(_TOTALS)],
                Look(unit="short", columns=(stat_field("dead items", any_is_bad()),)),
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
                Look(unit="percentunit", decimals=2, thresholds=below(0.95, 0.99)),
                Size(12, 4),
            ),
            timeseries(
                About(13, "Runs by day", "How did the runs of each day end? On a day without bars no run was created."),
                [sql_series(_BY_DAY)],
                Look(unit="short", decimals=0, minimum=0, columns=colours),
                Size(6, 8),
                style="bars",
                stacked=True,
            ),
            timeseries(
                About(
                    14,
                    "Items completed by day",
                    "On which days did items of a job fail? Choose a run of that day below.",
                ),
                [sql_series(_SUCCESS_BY_DAY)],
                Look(unit="percentunit", maximum=1, thresholds=below(0.95, 0.99)),
                Size(6, 8),
                style="points",
            ),
            timeseries(
                About(15, "Duration of runs", "Is a job getting slower? Its universe or its history may be growing."),
                [sql_series(_DURATIONS)],
                Look(unit="s", minimum=0),
                Size(6, 8),
                style="points",
            ),
            timeseries(
                About(
                    17,
                    "Runs in the ledger by status",
                    "How many runs are kept, and how many are open? If open runs do not end, check for workers.",
                ),
                [promql(kept, "{{job}} {{status}}")],
                Look(unit="short", decimals=0, minimum=0),
                Size(6, 8),
            ),
            table(
                About(16, "Runs", "What ran, and how did it end? Click on a run for its details below."),
                [sql(_HISTORY)],
                Look(unit="short", columns=columns, no_value="no run in this range"),
                Size(24, 9),
            ),
        ],
    )


def _slow_and_failed() -> Section:
    return Section(
        2,
        "Slow and failed items",
        [
            table(
                About(
                    21,
                    "Slowest items",
                    "Which items took longest, from the start of their call to their commit? A symbol that appears"
                    " often has more bars than others, or a defect.",
                ),
                [sql(_SLOWEST)],
                Look(
                    unit="short",
                    columns=(
                        run_column(),
                        symbol_column(),
                        column("duration", "s"),
                        state_column("status"),
                    ),
                ),
                Size(12, 9),
            ),
            barchart(
                About(
                    22,
                    "Errors by type",
                    "Which errors are most frequent? Shown up to the first colon, with N for numbers; full text below.",
                ),
                [sql(_TYPES)],
                Look(unit="short", no_value="no error"),
                Size(12, 9),
                x="error",
            ),
            table(
                About(
                    23,
                    "Errors",
                    "Which errors occurred, retried items included? Items in state `retrying` may still succeed.",
                ),
                [sql(_ERRORS)],
                Look(
                    unit="short",
                    columns=(
                        run_column(),
                        state_column("status"),
                        column("last", DAY_AND_CLOCK, width=100),
                    ),
                    no_value="no error",
                ),
                Size(24, 8),
            ),
        ],
    )


def _one_run() -> Section:
    times = [column(name, DAY_AND_CLOCK, width=100) for name in ("as_of", "due", "created", "started", "completed")]
    return Section(
        3,
        "Run $run",
        [
            table(
                About(
                    31,
                    "Request",
                    "What was requested, by which schedule or trigger, and when? See also `streamworkers runs show N`.",
                ),
                [sql(_THE_RUN)],
                Look(unit="none", columns=(state_column("status"), *times)),
                Size(24, 4),
            ),
            stat(
                About(
                    32,
                    "Items by state",
                    "How many items are in which state? Retry failed ones with `streamworkers dead replay`.",
                ),
                [sql(_ITS_STATES)],
                Look(unit="short", decimals=0, columns=(stat_field("failed", any_is_bad()),)),
                Size(12, 4),
            ),
            stat(
                About(
                    33,
                    "Durations",
                    "How long did it wait for a worker, and how long did it take? After a long wait, look for other"
                    " runs that kept the pool busy.",
                ),
                [sql(_ITS_TIMES)],
                Look(unit="s", decimals=2),
                Size(12, 4),
            ),
            barchart(
                About(
                    34,
                    "Items closed over time",
                    "When were its items closed, in thirty steps from its start? A gap is a stop: a restart, a kill or"
                    " an unreachable database.",
                ),
                [sql(_ITS_PACE)],
                Look(unit="short"),
                Size(12, 10),
                x="after",
            ),
            barchart(
                About(
                    35,
                    "Items by worker",
                    "Was the work spread evenly? A worker with far fewer items was slow, or started late.",
                ),
                [sql(_ITS_WORKERS)],
                Look(unit="short"),
                Size(12, 10),
                x="worker",
                stacked=True,
            ),
            table(
                About(
                    36,
                    "Items not completed at the first attempt",
                    "Which items failed, are open, or needed several attempts, and why? In a clean run it is empty.",
                ),
                [sql(_ITS_TROUBLE)],
                Look(
                    unit="none",
                    columns=(
                        state_column("status"),
                        symbol_column(),
                        column("started", DAY_AND_CLOCK, width=100),
                        column("finished", DAY_AND_CLOCK, width=100),
                    ),
                    no_value="every item was completed at the first attempt",
                ),
                Size(24, 9),
            ),
        ],
    )


def board() -> Board:
    """The board, by job, and for one run."""
    jobs = "SELECT job FROM runs UNION SELECT job FROM schedules ORDER BY 1"
    chosen = f"""
        SELECT id || ' · ' || job || ' · ' || to_char(created_at, 'YYYY-MM-DD HH24:MI') AS __text, id::text AS __value
        FROM runs
        WHERE {_OF_JOBS}
        ORDER BY id DESC
        LIMIT 1000
    """
    return Board(
        uid="streamworkers-runs",
        title="Runs",
        description="How did runs end over weeks, what is slow, what fails, and what happened in one run?",
        sections=[_history(), _slow_and_failed(), _one_run()],
        variables=[rows_of("job", jobs, several=True), rows_of("run", chosen)],
        since="now-30d",
        refresh="1m",
    )
