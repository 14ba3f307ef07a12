"""Tonight: will the results be there in time, and if not, what is in the way?"""

from grafana.alerts import firing
from grafana.columns import column, link, run_column, state_column, symbol_column
from grafana.dashboard import Board
from grafana.layout import Section
from grafana.looks import CLOCK, DAY_AND_CLOCK, GREY, PLAIN, Look, above, any_is_bad, below, starts_with
from grafana.panels import About, Panel, Size, stat, table, timeseries, verdict
from grafana.queries import promql, sql, sql_series
from grafana.variables import one_of

# From the close in New York on, of today or, before the close, of the day before.
SINCE_THE_CLOSE = "now-16h/d+16h"
_NEW_YORK = "'America/New_York'"
_EVENING = "evening($__timeTo()::timestamptz, ${deadline:sqlstring}::time)"
# A sentence for all of it: what needs somebody first, else how it goes, else when it was over.
_VERDICT = f"""
    WITH e AS (
        SELECT * FROM {_EVENING}
    ), about AS (
        SELECT max(act) AS act, count(*) FILTER (WHERE act = 0) AS over,
               to_char(max(coalesce(ended, done_at)) AT TIME ZONE {_NEW_YORK},
                       CASE WHEN (max(coalesce(ended, done_at)) AT TIME ZONE {_NEW_YORK})::date
                                = ($__timeTo()::timestamptz AT TIME ZONE {_NEW_YORK})::date
                            THEN 'HH24:MI' ELSE 'Dy HH24:MI' END) AS until,
               count(*) FILTER (WHERE state = 'due') AS due,
               bool_or(act = 1) AS goes_on, sum(failed) FILTER (WHERE act = 2) AS failed,
               (SELECT state || ': ' || name FROM e ORDER BY act DESC, coalesce(due, started), name LIMIT 1) AS worst,
               to_char(max(usual_at) FILTER (WHERE state = 'due') AT TIME ZONE {_NEW_YORK}, 'HH24:MI') AS usual
        FROM e
    ), pool AS (
        SELECT EXISTS (SELECT FROM processes WHERE kind = 'supervisor'
                       AND seen_at > $__timeTo()::timestamptz - interval '1 minute') AS works,
               EXISTS (SELECT FROM runs) AS has_run,
               (SELECT provider || ' since ' || to_char(since AT TIME ZONE {_NEW_YORK}, 'HH24:MI') FROM provider_outages
                WHERE since <= $__timeTo()::timestamptz AND coalesce(ended_at, 'infinity') > $__timeTo()::timestamptz
                ORDER BY since LIMIT 1) AS away
    )
    SELECT CASE
        WHEN NOT has_run AND NOT EXISTS (SELECT FROM schedules)
            THEN 'Nothing yet: streamworkers schedules install-defaults'
        WHEN NOT has_run AND NOT EXISTS (SELECT FROM ohlcv_daily) THEN 'Nothing yet: streamworkers load'
        WHEN NOT has_run AND NOT works THEN 'Nothing yet: streamworkers worker'
        WHEN NOT works THEN 'No worker: start one'
        WHEN act = 3 AND away IS NOT NULL THEN 'Provider away: ' || away
        WHEN act = 3 THEN upper(left(worst, 1)) || substr(worst, 2)
            || CASE WHEN worst LIKE 'late%' THEN ', all done about ' || until ELSE '' END
        WHEN act = 2 AND worst LIKE 'with errors%'
            THEN concat(CASE WHEN goes_on THEN 'On time, done about ' ELSE 'Done ' END, until, ', ', failed, ' failed')
        WHEN act = 2 THEN upper(left(worst, 1)) || substr(worst, 2)
        WHEN act = 1 THEN 'On time, done' || coalesce(' about ' || until, ' at an unknown time')
        WHEN over > 0 AND due > 0 THEN concat('So far well', ', usually done ' || usual)
        WHEN over > 0 THEN 'All well, done ' || until
        ELSE concat('Nothing yet tonight', ', usually done ' || usual) END AS verdict
    FROM about, pool
"""
_COLOURS_OF_VERDICTS = {
    "Nothing": GREY,
    "(On time|Done).* failed": "orange",
    "(Slow|Skipped|Paused|Cancelled|Done late)": "orange",
    "(On time|So far)": "blue",
    "All well": "green",
    "[A-Z]": "red",
}
_SCHEDULES = f"""
    SELECT name AS schedule, state, verdict AS "how it goes", run_id AS run,
           completed::double precision / nullif(items, 0) AS progress
    FROM {_EVENING}
    ORDER BY act DESC, coalesce(due, started), name
"""
# The counts of a run are written when it ends; until then its items are counted. A run of one item, such as the hourly
# health check, is not the night's business unless it failed.
_TABLE_OF_RUNS = """
    SELECT r.id AS run, r.status, coalesce(r.schedule, r.job) AS "schedule",
           coalesce(r.completed_count, i.completed, 0)::double precision / nullif(r.item_count, 0) AS progress,
           r.item_count AS items, coalesce(r.failed_count, i.failed, 0) AS failed,
           r.started_at AS "started",
           extract(epoch FROM least(coalesce(r.completed_at, $__timeTo()::timestamptz), $__timeTo()::timestamptz)
               - coalesce(r.started_at, r.created_at))::double precision AS duration
    FROM runs r
    LEFT JOIN LATERAL (
        SELECT count(*) FILTER (WHERE status = 'completed') AS completed,
               count(*) FILTER (WHERE status = 'failed') AS failed
        FROM run_items
        WHERE run_day = r.run_day AND run_id = r.id
    ) i ON r.completed_at IS NULL
    WHERE $__timeFilter(r.created_at) AND (r.item_count > 1 OR r.status IN ('FAILED', 'COMPLETED_WITH_ERRORS'))
    ORDER BY r.completed_at IS NOT NULL, r.status = 'COMPLETED', r.id DESC
    LIMIT 100
"""
_FAILED = """
    FROM runs r
    JOIN run_items i ON i.run_day = r.run_day AND i.run_id = r.id
    WHERE $__timeFilter(r.created_at) AND i.status = 'failed'
"""
_WHY = f"""
    SELECT count(*) AS items, r.job, coalesce(i.error, 'no reason recorded') AS error,
           left(string_agg(DISTINCT i.symbol, ', '), 50) AS symbols, max(i.finished_at) AS "last"
    {_FAILED.strip()}
    GROUP BY r.job, i.error
    ORDER BY items DESC
    LIMIT 50
"""
_FAILED_ITEMS = f"""
    SELECT r.id AS run, i.symbol, r.job, i.attempt, i.error, i.worker, i.finished_at AS "failed at"
    {_FAILED.strip()}
    ORDER BY i.finished_at DESC
    LIMIT 500
"""
# From the counts of runs, without their items. A night stands at the close before it.
_FAILED_BY_NIGHT = """
    SELECT date_trunc('day', created_at - interval '16 hours', 'America/New_York') + interval '16 hours' AS time,
           job AS metric, sum(failed_count) AS failed
    FROM runs
    WHERE $__timeFilter(created_at) AND completed_at IS NOT NULL AND item_count > 1
    GROUP BY 1, job
    ORDER BY 1
"""
_DURATIONS = """
    SELECT completed_at AS time, coalesce(schedule, job) AS metric,
           extract(epoch FROM completed_at - coalesce(started_at, created_at))::double precision AS seconds
    FROM runs
    WHERE $__timeFilter(completed_at) AND status <> 'CANCELLED' AND item_count > 1
    ORDER BY 1
"""
_NEXT_TICKS = """
    SELECT s.name AS schedule, coalesce(s.cron, 'on ' || s.on_event) AS "when",
           CASE WHEN s.enabled THEN 'on' ELSE 'paused' END AS "is", s.next_run_at AS "next tick",
           extract(epoch FROM s.next_run_at - $__timeTo()::timestamptz)::double precision AS "in", s.after,
           last.scheduled_for AS "last tick", last.state, coalesce(s.problem, last.reason) AS "reason"
    FROM schedules s
    LEFT JOIN LATERAL (
        SELECT scheduled_for, state, reason
        FROM ticks
        WHERE schedule_id = s.id AND scheduled_for <= $__timeTo()::timestamptz
        ORDER BY scheduled_for DESC
        LIMIT 1
    ) last ON true
    ORDER BY s.next_run_at NULLS LAST, s.name
"""


def _will_it_be_done() -> Section:
    look = Look(unit="none", mappings=starts_with(_COLOURS_OF_VERDICTS), no_value="PostgreSQL gave no answer")
    return Section(
        1,
        "Will it be done in time?",
        [
            verdict(
                About(
                    17,
                    "Tonight",
                    "Must anybody act? Red: act now, the table below says on what. Orange: look at it. Blue: it goes on"
                    " and will be in time. Green: all is done. Grey: nothing has happened yet.",
                ),
                [sql(_VERDICT)],
                look,
                Size(9, 5),
                field="verdict",
            ),
            *_numbers(),
            _schedules(),
            firing(16, Size(10, 7)),
        ],
    )


def _numbers() -> list[Panel]:
    workers = "sum(streamworkers_workers) or vector(0)"
    closed = "sum(rate(streamworkers_items_finished_total[5m])) * 60 or vector(0)"
    waiting = 'sum(max by (queue, state) (streamworkers_queue_entries{state=~"waiting|delayed"})) or vector(0)'
    calls = 'sum(increase(streamworkers_provider_calls_total{answer!="200"}[30m])) or vector(0)'
    return [
        stat(
            About(15, "Workers", "How many worker processes are alive? With none nothing is done: start one."),
            [promql(workers, "alive")],
            Look(unit="short", decimals=0, minimum=0, thresholds=below(1, 1)),
            Size(3, 5),
        ),
        stat(
            About(
                13,
                "Closed a minute",
                "Is work being done now? Zero with items waiting: nobody reads their queue.",
            ),
            [promql(closed, "closed")],
            Look(unit="short", decimals=0, minimum=0, thresholds=PLAIN),
            Size(4, 5),
        ),
        stat(
            About(
                14,
                "Items waiting",
                "How much is left? If it does not fall, the board Queues and workers says how many workers to add.",
            ),
            [promql(waiting, "waiting")],
            Look(unit="short", decimals=0, minimum=0, thresholds=PLAIN),
            Size(4, 5),
        ),
        stat(
            About(
                18,
                "Failed provider calls",
                "Did a source of bars answer with errors in the last half hour? See its calls on the board Market.",
            ),
            [promql(calls, "failed")],
            Look(unit="short", decimals=0, minimum=0, thresholds=above(1, 50)),
            Size(4, 5),
        ),
    ]


def _schedules() -> Panel:
    about = About(
        12,
        "Runs that matter tonight",
        "How far is each schedule's newest run, when will it be done, and when was it done on other nights? Late: add"
        " workers. Stuck: `streamworkers doctor`. Incomplete: the failures below, then `streamworkers runs retry RUN`.",
    )
    columns = (
        column("schedule", width=200, to=link("scheduler and events", "/d/streamworkers-scheduler")),
        state_column("state", 95, filled=True),
        run_column(),
        column("progress", "percentunit", width=95, bar=True, steps=(("blue", None), ("green", 0.99))),
    )
    look = Look(unit="none", columns=columns, no_value="no schedule: streamworkers schedules install-defaults")
    return table(about, [sql(_SCHEDULES)], look, Size(14, 7))


def _failures() -> Section:
    why = About(
        31,
        "Failures by reason",
        "Is there one cause or many? Fix the cause first, then `streamworkers dead replay --run N`.",
    )
    nights = About(
        33,
        "Failed items by night",
        "Is tonight like the nights before? More failures than usual have a cause: see the reasons beside it.",
    )
    columns = (
        column("items", "short", width=60),
        column("job", width=110),
        column("symbols", width=150),
        column("last", CLOCK, width=80),
    )
    return Section(
        3,
        "What failed, and is it more than usual?",
        [
            table(
                why,
                [sql(_WHY)],
                Look(unit="none", columns=columns, no_value="nothing failed tonight"),
                Size(14, 8),
            ),
            timeseries(
                nights,
                [sql_series(_FAILED_BY_NIGHT)],
                Look(unit="short", decimals=0, minimum=0, no_value="nothing failed in two weeks"),
                Size(10, 8),
                style="bars",
                stacked=True,
            ).over("14d"),
        ],
    )


def _runs() -> Section:
    runs = About(
        21,
        "Runs since the close, unfinished and failed ones first",
        "What is running, how far is it, and how did the other runs end? Click on a run for its details.",
    )
    closed = About(
        22,
        "Items closed a minute",
        "When was work done, and how fast? A gap is a stop; a line of failures begins where their cause began.",
    )
    columns = (
        run_column(),
        state_column("status", 115),
        column("schedule"),
        column("progress", "percentunit", width=100, bar=True, steps=(("blue", None), ("green", 0.99))),
        column("items", "none", width=60),
        column("failed", "none", width=60, steps=any_is_bad()),
        column("started", CLOCK, width=80),
        column("duration", "s", width=85),
    )
    finished = 'rate(streamworkers_items_finished_total{queue!="maintenance", outcome="%s"}[$__rate_interval])'
    completed = f"sum by (job) ({finished % 'completed'}) * 60"
    failed = f"sum({finished % 'failed'}) * 60"
    return Section(
        2,
        "What ran?",
        [
            table(
                runs,
                [sql(_TABLE_OF_RUNS)],
                Look(unit="none", columns=columns, no_value="no run since the close"),
                Size(16, 9),
            ),
            timeseries(
                closed,
                [promql(completed, "{{job}}"), promql(failed, "failed")],
                Look(unit="short", minimum=0, no_value="nothing was closed yet"),
                Size(8, 9),
                stacked=True,
            ),
        ],
    )


def _details() -> Section:
    items = About(
        32,
        "Failed items",
        "Which symbols have no result tonight, and after how many attempts? `streamworkers dead list` shows the same.",
    )
    history = About(
        42,
        "Duration of runs, last 14 days",
        "Is a schedule getting slower from day to day? Its universe or its history is growing: add workers. The scale"
        " is logarithmic, so that seconds and hours are seen together.",
    )
    columns = (
        run_column(),
        symbol_column(),
        column("job", width=110),
        column("attempt", width=70),
        column("worker", width=120),
        column("failed at", CLOCK, width=80),
    )
    return Section(
        4,
        "Item by item, and night by night",
        [
            table(
                items, [sql(_FAILED_ITEMS)], Look(unit="none", columns=columns, no_value="nothing failed"), Size(14, 9)
            ),
            timeseries(
                history, [sql_series(_DURATIONS)], Look(unit="s", scale="log"), Size(10, 9), style="points"
            ).over("14d"),
        ],
        collapsed=True,
    )


def _next() -> Section:
    about = About(
        51,
        "Next ticks",
        "What starts next, and how did the last tick end? A negative time means late: is a scheduler running?"
        " The reason says why a tick started no run.",
    )
    columns = (
        column("schedule", width=200, to=link("scheduler and events", "/d/streamworkers-scheduler")),
        column("is", width=70),
        column("next tick", DAY_AND_CLOCK, width=115),
        column("in", "s", width=85, steps=(("red", None), ("orange", -60), ("text", 0))),
        column("last tick", DAY_AND_CLOCK, width=115),
        state_column("state", 85),
    )
    look = Look(unit="none", columns=columns, no_value="no schedule: streamworkers schedules install-defaults")
    return Section(5, "What comes next", [table(about, [sql(_NEXT_TICKS)], look, Size(24, 8))], collapsed=True)


def board() -> Board:
    """The board of an evening: everything since the close in New York."""
    return Board(
        uid="streamworkers-tonight",
        title="Tonight",
        description="Will tonight's results be there in time, and if not, what is in the way?",
        sections=[_will_it_be_done(), _failures(), _runs(), _details(), _next()],
        variables=[one_of("deadline", "deadline", [(each, each) for each in ("19:00", "18:30", "20:00", "22:00")])],
        since=SINCE_THE_CLOSE,
        annotated=("Runs", "Worker kills", "Deploys"),
    )
