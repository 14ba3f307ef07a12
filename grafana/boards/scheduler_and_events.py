"""Scheduler and events: do ticks become runs in time, is each accounted for, and what do health checks say?"""

from grafana.boards.tick_account import OF_SCHEDULES, account_section
from grafana.columns import column, run_column, stat_field, state_column
from grafana.dashboard import Board
from grafana.layout import Section
from grafana.looks import (
    DAY_AND_CLOCK,
    PLAIN,
    Look,
    above,
    any_is_bad,
    any_needs_a_look,
    below,
    limit,
    values_as,
)
from grafana.panels import About, Panel, Size, merged, stat, state_timeline, table, timeseries
from grafana.queries import promql, promql_table, sql, sql_series
from grafana.variables import rows_of

_SCHEDULE = 'schedule=~"${schedule:regex}"'
_HEALTH = {0: ("ok", "green"), 1: ("degraded", "orange"), 2: ("critical", "red")}

_TICKS = f"""
    SELECT s.name AS schedule, t.scheduled_for AS "due", t.state, t.reason, t.tick_count AS ticks, t.run_id AS run,
           r.status, extract(epoch FROM r.started_at - t.scheduled_for)::double precision AS "started after",
           extract(epoch FROM t.decided_at - t.scheduled_for)::double precision AS "decided after"
    FROM ticks t
    JOIN schedules s ON s.id = t.schedule_id
    LEFT JOIN runs r ON r.id = t.run_id
    WHERE $__timeFilter(t.scheduled_for) AND {OF_SCHEDULES}
    ORDER BY t.state = 'started', t.scheduled_for DESC
    LIMIT 500
"""
_LOST = f"""
    SELECT coalesce(sum(t.tick_count) FILTER (WHERE t.state = 'missed'), 0) AS "missed",
           coalesce(sum(t.tick_count) FILTER (WHERE t.state = 'skipped'), 0) AS "skipped",
           coalesce(sum(t.tick_count) FILTER (WHERE t.state = 'rejected'), 0) AS "rejected",
           coalesce(sum(t.tick_count) FILTER (WHERE t.state = 'waiting'), 0) AS "waiting",
           coalesce(sum(t.tick_count) FILTER (WHERE t.state = 'started'), 0) AS "started"
    FROM ticks t
    JOIN schedules s ON s.id = t.schedule_id
    WHERE $__timeFilter(t.scheduled_for) AND {OF_SCHEDULES}
"""
_SCHEDULES = f"""
    SELECT s.name AS schedule, s.job AS job, coalesce(s.cron, 'on ' || s.on_event) AS "when",
           CASE WHEN s.enabled THEN 'on' ELSE 'paused' END AS "is", s.next_run_at AS "next tick", s.after,
           coalesce(replace(s.target ->> 'universe', ':', ', '), array_to_string(ARRAY(
               SELECT jsonb_array_elements_text(s.target -> 'symbols') LIMIT 5), ', ')) AS target,
           coalesce(s.calendar, s.timezone) AS calendar, s.problem
    FROM schedules s
    WHERE {OF_SCHEDULES}
    ORDER BY s.problem IS NULL, s.name
"""
_HEALTH_OVER_TIME = """
    SELECT checked_at AS time, component AS metric,
           CASE status WHEN 'ok' THEN 0 WHEN 'degraded' THEN 1 ELSE 2 END AS status
    FROM health_checks
    WHERE $__timeFilter(checked_at)
    ORDER BY 1
"""
_HEALTH_NOW = """
    SELECT DISTINCT ON (component) component, status, message, checked_at AS "checked", run_id AS run
    FROM health_checks
    WHERE checked_at <= $__timeTo()::timestamptz AND checked_at > $__timeTo()::timestamptz - interval '1 day'
    ORDER BY component, checked_at DESC
"""
_UNWELL = """
    SELECT checked_at AS "checked", component, status, message, detail::text AS detail
    FROM health_checks
    WHERE $__timeFilter(checked_at) AND status <> 'ok'
    ORDER BY checked_at DESC
    LIMIT 200
"""


def _by_schedule(metric: str) -> str:
    return f"max by (schedule) ({metric}{{{_SCHEDULE}}})"


def _ticks() -> Section:
    return Section(
        1,
        "Do ticks become runs in time?",
        [
            stat(
                About(
                    11,
                    "Ticks by state",
                    "Did every tick start its run? Missed ticks were later than their policy allows; for rejected ticks"
                    " no run could be created. The table gives the reason of each.",
                ),
                [sql(_LOST)],
                Look(
                    unit="short",
                    decimals=0,
                    thresholds=PLAIN,
                    columns=(
                        stat_field("missed", any_is_bad()),
                        stat_field("rejected", any_is_bad()),
                        stat_field("skipped", any_needs_a_look()),
                    ),
                ),
                Size(11, 4),
            ),
            stat(
                About(
                    26,
                    "Paused",
                    "How many schedules are paused? They start no run until `streamworkers schedules resume NAME`.",
                ),
                [promql(f"count({_by_schedule('streamworkers_schedule_enabled')} == 0) or vector(0)", "paused")],
                Look(unit="short", decimals=0, minimum=0, thresholds=any_needs_a_look()),
                Size(4, 4),
            ),
            stat(
                About(
                    25,
                    "Calendar ahead",
                    "For how many days are sessions known, of the schedule with the fewest? Below 60, update the"
                    " package `exchange_calendars`.",
                ),
                [promql(f"min({_by_schedule('streamworkers_schedule_calendar_days')})", "days")],
                Look(unit="suffix: days", decimals=0, thresholds=below(60, 90), no_value="no calendar in use"),
                Size(9, 4),
            ),
            _next_ticks(),
            _lateness(),
            _table_of_ticks(),
        ],
    )


def _next_ticks() -> Panel:
    about = About(
        12,
        "Next ticks",
        "When does each schedule start its next run? A negative time means late: is a scheduler running?",
    )
    late = (("red", None), ("orange", -60), ("text", 0))
    names = {"schedule": "schedule", "Value": "in"}
    queries = [promql_table(f"sort({_by_schedule('streamworkers_schedule_next_tick_seconds')})")]
    look = Look(unit="s", columns=(column("in", "s", width=110, steps=late),), no_value="no scheduler reports one")
    return table(about, queries, look, Size(9, 8), transformations=merged(names))


def _lateness() -> Panel:
    about = About(
        13,
        "Lateness p50, p95, p99",
        "How late do runs start? Seconds are normal; minutes mean that no scheduler was running, or that the database"
        " is slow.",
    )
    lateness = [
        promql(
            f"histogram_quantile({share}, sum by (le)"
            f" (rate(streamworkers_schedule_lateness_seconds_bucket{{{_SCHEDULE}}}[$__rate_interval]))) >= 0",
            name,
        )
        for share, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
    ]
    return timeseries(
        about, lateness, Look(unit="s", minimum=0, thresholds=limit(60), no_value="no tick yet"), Size(15, 8)
    )


def _table_of_ticks() -> Panel:
    columns = (
        column("schedule", width=215),
        column("due", DAY_AND_CLOCK, width=115),
        state_column("state", 85),
        column("ticks", width=60),
        run_column(),
        state_column("status", 115),
        column("started after", "s", width=90, steps=above(60, 300)),
        column("decided after", "s", width=90),
    )
    about = About(
        15,
        "Ticks, ones without a run first",
        "Why did a tick start no run? Fix the reason, then start it with `streamworkers schedules trigger`.",
    )
    look = Look(unit="none", columns=columns, no_value="no tick in this range")
    return table(about, [sql(_TICKS)], look, Size(24, 9))


def _schedules() -> Section:
    columns = (
        column("schedule", width=200),
        column("job", width=142),
        column("when", width=165),
        column("is", width=65),
        column("next tick", DAY_AND_CLOCK, width=115),
        column("after", width=190),
        column("target", width=125),
        column("calendar", width=135),
    )
    about = About(
        21,
        "Schedules",
        "What is planned, and what cannot be planned? The problem says why: fix it with `streamworkers"
        " schedules edit`, then check with `streamworkers schedules next NAME`.",
    )
    look = Look(unit="none", columns=columns, no_value="no schedule: streamworkers schedules install-defaults")
    return Section(2, "What is planned?", [table(about, [sql(_SCHEDULES)], look, Size(24, 8))])


def _submitted() -> Panel:
    about = About(
        39,
        "Submitted runs prepared in an hour, by outcome",
        "Do runs that programs submit by SQL get their items? Rejected: `streamworkers runs show N` has the reason."
        " Retried: the job's `prepare` failed for now. `streamworkers doctor` names runs that wait for a preparer.",
    )
    prepared = "sum by (job, outcome) (increase(streamworkers_runs_prepared_total[1h]))"
    look = Look(unit="short", decimals=0, minimum=0, no_value="no run was submitted")
    return timeseries(about, [promql(prepared, "{{job}} {{outcome}}")], look, Size(12, 7))


def _events() -> Section:
    published = "sum by (channel) (rate(streamworkers_events_published_total[$__rate_interval])) * 60"
    return Section(
        3,
        "Are submissions prepared, and events sent?",
        [
            _submitted(),
            timeseries(
                About(
                    33,
                    "Events published a minute",
                    "Are events still sent? If none are after runs, see the outbox beside it.",
                ),
                [promql(published, "{{channel}}")],
                Look(unit="short", minimum=0, no_value="no event yet"),
                Size(12, 7),
            ),
            timeseries(
                About(
                    34,
                    "Events in the outbox",
                    "Do events wait to be published? If the number grows, Redis rejects them, or no process publishes.",
                ),
                [promql("max(streamworkers_outbox_events)", "events")],
                Look(unit="short", decimals=0, minimum=0, no_value="no scheduler reports it"),
                Size(12, 7),
            ),
            timeseries(
                About(
                    35,
                    "Age of the oldest event",
                    "How long has the oldest event waited? Over two minutes is a page: look at failures of the service"
                    " `outbox`.",
                ),
                [promql("max(streamworkers_outbox_oldest_age_seconds)", "oldest")],
                Look(unit="s", minimum=0, thresholds=limit(120), no_value="no scheduler reports it"),
                Size(12, 7),
            ),
        ],
    )


def _health() -> Section:
    columns = (
        column("component", width=110),
        state_column("status", 90),
        column("checked", DAY_AND_CLOCK, width=115),
        run_column(),
    )
    return Section(
        4,
        "What do health checks find?",
        [
            table(
                About(
                    42,
                    "Newest finding of each component",
                    "Is each component well? If `checked` is old, the schedule of `health_check` does not run.",
                ),
                [sql(_HEALTH_NOW)],
                Look(unit="none", columns=columns, no_value="no check within a day"),
                Size(14, 8),
            ),
            state_timeline(
                About(
                    41,
                    "Health over time",
                    "When was a component degraded, and which others at the same time? The first one is often the"
                    " cause.",
                ),
                [sql_series(_HEALTH_OVER_TIME)],
                Look(unit="none", mappings=(values_as(_HEALTH),), thresholds=above(1, 2), no_value="no check"),
                Size(10, 8),
            ),
        ],
    )


def _details() -> Section:
    became = f"sum by (schedule, state) (increase(streamworkers_schedule_ticks_total{{{_SCHEDULE}}}[$__rate_interval]))"
    success = f"time() - {_by_schedule('streamworkers_schedule_last_success_timestamp_seconds')}"
    age = _by_schedule("streamworkers_schedule_last_tick_age_seconds")
    coverage = _by_schedule("streamworkers_schedule_last_tick_coverage_ratio")
    waiting = f"{_by_schedule('streamworkers_schedule_waiting_ticks')} > 0"
    connections = "sum by (source) (increase(streamworkers_listener_connections_total[1h])) > 0"
    failures = "sum by (service) (increase(streamworkers_service_failures_total[$__rate_interval])) > 0"
    return Section(
        5,
        "Over time, and in detail",
        [
            timeseries(
                About(
                    14,
                    "Ticks by state over time",
                    "When were ticks missed, skipped or rejected, and of which schedule?",
                ),
                [promql(became, "{{schedule}} {{state}}")],
                Look(unit="short", decimals=0, minimum=0, no_value="no tick yet"),
                Size(12, 8),
                style="bars",
                stacked=True,
            ),
            timeseries(
                About(
                    22,
                    "Time since success and tick",
                    "Has a schedule not succeeded for too long? If it still ticks, its runs fail: see the board Runs.",
                ),
                [promql(success, "{{schedule}}: success"), promql(age, "{{schedule}}: tick")],
                Look(unit="s", minimum=0, no_value="no tick yet"),
                Size(12, 8),
            ),
            timeseries(
                About(
                    23,
                    "Coverage of the newest tick",
                    "What share of its items has the run of each schedule's newest tick completed, and when was it"
                    " complete?",
                ),
                [promql(coverage, "{{schedule}}")],
                Look(
                    unit="percentunit",
                    minimum=0,
                    maximum=1,
                    thresholds=(("red", None), ("text", 0.99)),
                    no_value="no tick yet",
                ),
                Size(12, 8),
            ),
            timeseries(
                About(
                    24,
                    "Waiting ticks",
                    "Does a tick wait for another run, or for a free instance? If one waits for hours, look at the run"
                    " it depends on.",
                ),
                [promql(waiting, "{{schedule}}")],
                Look(unit="short", decimals=0, minimum=0, no_value="none"),
                Size(12, 8),
            ),
            timeseries(
                About(
                    36,
                    "Connections of listeners in an hour",
                    "Is the connection to Redis stable? More than one or two an hour means that it is lost repeatedly.",
                ),
                [promql(connections, "{{source}}")],
                Look(unit="short", decimals=0, minimum=0, no_value="none"),
                Size(12, 8),
            ),
            timeseries(
                About(
                    37,
                    "Failed steps of background services",
                    "Which service fails? A failed step is repeated; for a steady rate, see the event `service_failed`"
                    " in the log.",
                ),
                [promql(failures, "{{service}}")],
                Look(unit="short", decimals=0, minimum=0, no_value="none"),
                Size(12, 8),
                style="bars",
            ),
            table(
                About(43, "Findings", "What was wrong, and how much? docs/guides/operations.md says what to do."),
                [sql(_UNWELL)],
                Look(
                    unit="none",
                    columns=(
                        column("checked", DAY_AND_CLOCK, width=115),
                        column("component", width=110),
                        state_column("status", 90),
                    ),
                    no_value="no finding in this range",
                ),
                Size(24, 8),
            ),
        ],
        collapsed=True,
    )


def board() -> Board:
    """The board, by schedule."""
    schedules = "SELECT name FROM schedules ORDER BY name"
    return Board(
        uid="streamworkers-scheduler",
        title="Scheduler and events",
        description="Do ticks become runs in time, is each of them accounted for, and what do health checks find?",
        sections=[_ticks(), account_section(6), _schedules(), _events(), _health(), _details()],
        variables=[rows_of("schedule", schedules, several=True)],
        since="now-24h",
    )
