"""The account of schedules, a section of the board Scheduler and events: what is lost, late, skipped, made up for."""

from grafana.columns import column, run_column, stat_field, state_column
from grafana.layout import Section
from grafana.looks import DAY, DAY_AND_CLOCK, ID, Look, any_is_bad, any_needs_a_look
from grafana.panels import About, Panel, Size, stat, table
from grafana.queries import sql

OF_SCHEDULES = "s.name = ANY (ARRAY[${schedule:sqlstring}]::text[])"
# How the reason begins with which a run was cancelled for its length (streamworkers/schedules/limits.py).
_TOO_LONG = "max_run_seconds"
_TOTALS = f"""
    SELECT (SELECT sum(s.unaccounted_ticks) FROM schedules s WHERE {OF_SCHEDULES}) AS "unaccounted",
           (SELECT count(*) FROM ticks t JOIN schedules s ON s.id = t.schedule_id
            WHERE $__timeFilter(t.done_by_at) AND NOT t.is_done_in_time AND {OF_SCHEDULES}) AS "deadlines missed",
           (SELECT count(*) FROM runs r JOIN schedules s ON s.id = r.schedule_id
            WHERE $__timeFilter(r.completed_at) AND r.status = 'CANCELLED' AND starts_with(r.reason, '{_TOO_LONG}')
                AND {OF_SCHEDULES}) AS "took too long",
           (SELECT count(*) FROM maintenance_windows w WHERE now() >= w.starts_at AND now() < w.ends_at)
               AS "windows open",
           (SELECT count(*) FROM backfills b WHERE b.ended_at IS NULL) AS "backfills open"
"""
_ACCOUNT = f"""
    SELECT s.name AS schedule, s.unaccounted_ticks AS "lost", sum(t.tick_count) AS "ticks",
           sum(t.tick_count) FILTER (WHERE t.state = 'started') AS "started",
           sum(t.tick_count) FILTER (WHERE t.state = 'waiting') AS "waiting",
           sum(t.tick_count) FILTER (WHERE t.state = 'skipped') AS "skipped",
           sum(t.tick_count) FILTER (WHERE t.state = 'missed') AS "missed",
           sum(t.tick_count) FILTER (WHERE t.state = 'rejected') AS "rejected",
           percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM r.created_at - t.scheduled_for)) AS "p50",
           percentile_cont(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM r.created_at - t.scheduled_for)) AS "p99",
           max(t.scheduled_for) AS "newest tick"
    FROM schedules s
    LEFT JOIN ticks t ON t.schedule_id = s.id AND $__timeFilter(t.scheduled_for)
    LEFT JOIN runs r ON r.id = t.run_id
    WHERE {OF_SCHEDULES}
    GROUP BY s.id
    ORDER BY coalesce(s.unaccounted_ticks, 0) DESC, s.name
    LIMIT 200
"""
_DEADLINES = f"""
    SELECT t.done_by_at AS "done by", s.name AS schedule,
           CASE WHEN t.is_done_in_time THEN 'in time' WHEN NOT t.is_done_in_time THEN 'missed' ELSE 'open' END
               AS "was it", t.run_id AS run, r.status
    FROM ticks t
    JOIN schedules s ON s.id = t.schedule_id
    LEFT JOIN runs r ON r.id = t.run_id
    WHERE $__timeFilter(t.scheduled_for) AND t.done_by_at IS NOT NULL AND {OF_SCHEDULES}
    ORDER BY t.is_done_in_time IS FALSE DESC, t.done_by_at DESC, s.name
    LIMIT 100
"""
_WINDOWS = """
    SELECT w.starts_at AS "from", w.ends_at AS "until",
           CASE WHEN now() < w.starts_at THEN 'to come' WHEN now() < w.ends_at THEN 'open' ELSE 'over' END AS "is",
           CASE w.mode WHEN 'skip' THEN 'skipped' ELSE 'wait' END AS "ticks",
           (SELECT sum(t.tick_count) FROM ticks t
            WHERE t.scheduled_for >= w.starts_at AND t.scheduled_for < w.ends_at
                AND t.reason ~ ('(^| )maintenance window ' || w.id || ' ')) AS "skipped",
           concat(coalesce((SELECT string_agg(s.name, ', ' ORDER BY s.name) FROM schedules s
                            WHERE s.id = ANY (w.schedule_ids)), 'all'), ': ', w.note, ' (', w.created_by, ')')
               AS "of, and why"
    FROM maintenance_windows w
    WHERE w.ends_at >= $__timeFrom()
    ORDER BY now() >= w.ends_at, w.starts_at
    LIMIT 50
"""
_BACKFILLS = """
    SELECT b.created_at AS "asked", b.id AS backfill, coalesce(b.schedule, b.request ->> 'job') AS "of",
           b.first_day AS "from", b.last_day AS "to",
           CASE WHEN b.cancelled_at IS NOT NULL THEN 'cancelled' WHEN b.ended_at IS NOT NULL THEN 'done' ELSE 'open' END
               AS "is",
           c.closed::double precision / nullif(c.ticks, 0) AS "closed", c.ticks AS "ticks", c.completed, c.failed,
           c.running, c.waiting, b.requested_by AS "by"
    FROM backfills b
    CROSS JOIN LATERAL (
        SELECT count(*) AS ticks, count(*) FILTER (WHERE state NOT IN ('waiting', 'started')) AS closed,
               count(*) FILTER (WHERE state = 'completed') AS completed,
               count(*) FILTER (WHERE state = 'failed') AS failed,
               count(*) FILTER (WHERE state = 'started') AS running,
               count(*) FILTER (WHERE state = 'waiting') AS waiting
        FROM backfill_ticks k
        WHERE k.backfill_id = b.id
    ) c
    WHERE b.ended_at IS NULL OR $__timeFilter(b.created_at) OR $__timeFilter(b.ended_at)
    ORDER BY b.ended_at IS NOT NULL, b.id DESC
    LIMIT 50
"""


def account_section(number: int) -> Section:
    """The section, whose panels have numbers from 51 on."""
    return Section(
        number,
        "Is every tick accounted for, and what is made up for?",
        [_totals(), _account(), _deadlines(), _windows(), _backfills()],
    )


def _totals() -> Panel:
    about = About(
        51,
        "Lost, late and open",
        "Is anything lost or late? Unaccounted ticks of the last day were due and have no row, or have one too many:"
        " `streamworkers schedules audit NAME` says which. A deadline is missed when its work was not done by then."
        " Windows and backfills that are open are somebody's decision: below is whose.",
    )
    columns = (
        stat_field("unaccounted", any_is_bad()),
        stat_field("deadlines missed", any_is_bad()),
        stat_field("took too long", any_needs_a_look()),
        stat_field("windows open", any_needs_a_look()),
    )
    look = Look(unit="short", decimals=0, columns=columns, no_value="none yet")
    return stat(about, [sql(_TOTALS)], look, Size(24, 4))


def _account() -> Panel:
    bad = (("text", None), ("red", 1))
    numbers = ("ticks", "started", "waiting", "skipped")
    columns = (
        column("schedule", width=225),
        column("lost", "short", width=65, steps=bad),
        *(column(name, "short", width=80) for name in numbers),
        column("missed", "short", width=80, steps=bad),
        column("rejected", "short", width=85, steps=bad),
        column("p50", "s", width=85),
        column("p99", "s", width=85, steps=(("text", None), ("orange", 60))),
        column("newest tick", DAY_AND_CLOCK, width=115),
    )
    about = About(
        52,
        "Account of each schedule",
        "How did the ticks of each schedule fare in this time, and how late did their runs begin to exist? All"
        " started and none lost is well. Lost: `streamworkers schedules audit NAME`. A p99 of minutes: no scheduler"
        " was running, or ticks waited for another run.",
    )
    look = Look(unit="none", columns=columns, no_value="no schedule: streamworkers schedules install-defaults")
    return table(about, [sql(_ACCOUNT)], look, Size(24, 9))


def _deadlines() -> Panel:
    columns = (
        column("done by", DAY_AND_CLOCK, width=110),
        state_column("was it", 75),
        run_column(),
        state_column("status", 115),
    )
    about = About(
        53,
        "Deadlines, missed ones first",
        "Was the work of each tick done by its deadline? Open ones are judged when it has passed. A run that is"
        " triggered by hand for that session makes up for a missed one.",
    )
    look = Look(
        unit="none", columns=columns, no_value="no schedule has a deadline: streamworkers schedules edit --done-by"
    )
    return table(about, [sql(_DEADLINES)], look, Size(12, 7))


def _windows() -> Panel:
    columns = (
        column("from", DAY_AND_CLOCK, width=105),
        column("until", DAY_AND_CLOCK, width=105),
        state_column("is", 70),
        column("ticks", width=70),
        column("skipped", "short", width=70),
    )
    about = About(
        54,
        "Maintenance windows",
        "Is a schedule silent because somebody wanted it so? One that was forgotten skips the ticks of tonight:"
        " `streamworkers schedules windows remove NUMBER` ends it.",
    )
    look = Look(unit="none", columns=columns, no_value="no maintenance window is open or to come")
    return table(about, [sql(_WINDOWS)], look, Size(12, 7))


def _backfills() -> Panel:
    columns = (
        column("asked", DAY_AND_CLOCK, width=105),
        column("backfill", ID, width=75),
        column("from", DAY, width=105),
        column("to", DAY, width=105),
        state_column("is", 80),
        column("closed", "percentunit", width=140, bar=True),
        column("ticks", "short", width=60),
        column("completed", "short", width=90),
        column("failed", "short", width=60, steps=(("text", None), ("red", 1))),
        column("running", "short", width=70),
        column("waiting", "short", width=70),
        column("by", width=65),
    )
    about = About(
        55,
        "Backfills",
        "How far is the history that somebody wants filled in, and does it take workers from tonight? `streamworkers"
        " backfills show NUMBER` names its failed ticks; `backfills cancel NUMBER` stops it.",
    )
    look = Look(unit="none", columns=columns, no_value="no backfill is open or has ended in this time")
    return table(about, [sql(_BACKFILLS)], look, Size(24, 5))
