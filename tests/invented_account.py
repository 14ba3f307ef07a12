"""What the account of schedules shows on boards: deadlines, a maintenance window to come, and a backfill half done."""

from datetime import datetime

from streamworkers.database import Connection

_ACCOUNTED = "UPDATE schedules SET unaccounted_ticks = 0"
_DEADLINES = """
UPDATE ticks t SET done_by_at = d.at,
    is_done_in_time = CASE WHEN d.at <= %(now)s THEN coalesce(r.completed_at <= d.at, false) END
FROM schedules s, ticks k LEFT JOIN runs r ON r.id = k.run_id
CROSS JOIN LATERAL (SELECT (k.session + time '19:00') AT TIME ZONE 'America/New_York' AS at) d
WHERE s.name = %(by)s AND t.schedule_id = s.id
    AND (k.schedule_id, k.scheduled_for) = (t.schedule_id, t.scheduled_for)
"""
_WINDOWS = """
INSERT INTO maintenance_windows (starts_at, ends_at, schedule_ids, mode, timezone, note, created_by)
SELECT %(now)s + interval '53 hours', %(now)s + interval '57 hours', NULL, 'wait', 'America/New_York',
       'upgrade of PostgreSQL', 'ann'
UNION ALL
SELECT %(now)s - interval '15 hours', %(now)s - interval '14 hours',
       ARRAY(SELECT id FROM schedules WHERE name = 'hourly_health_monitoring'), 'skip', 'America/New_York',
       'new switch in the rack', 'bob'
"""
_BACKFILL = """
WITH made AS (
    INSERT INTO backfills (subject, schedule_id, schedule, request, first_day, last_day, parallel, requested_by,
                           created_at)
    SELECT 'invented', id, name, '{}', (%(now)s - interval '250 days')::date, (%(now)s - interval '1 day')::date, 4,
           'ann', %(now)s - interval '5 hours'
    FROM schedules WHERE name = %(filled)s RETURNING id
)
INSERT INTO backfill_ticks (backfill_id, subject, scheduled_for, session, state, changed_at)
SELECT made.id, 'invented', at, at::date,
       CASE WHEN n IN (17, 41) THEN 'failed' WHEN n <= 121 THEN 'completed' WHEN n <= 125 THEN 'started'
            ELSE 'waiting' END,
       %(now)s
FROM made, generate_series(1, 171) AS n
CROSS JOIN LATERAL (SELECT %(now)s - (251 - n * 250 / 171) * interval '1 day' AS at) t
"""


def invent_account(connection: Connection, now: datetime, by: str, filled: str) -> None:
    """Write what of it there is at a moment: a deadline of the schedule `by`, and a backfill of `filled`."""
    for statement in (_ACCOUNTED, _DEADLINES, _WINDOWS, _BACKFILL):
        connection.execute(statement, {"now": now, "by": by, "filled": filled})
