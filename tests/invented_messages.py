"""A day of messages of other programs, for boards: most have started a run, some were not accepted, one is a flood."""

from datetime import datetime

from streamworkers.database import Connection

# Each hour one data load on the stream, heard twice, and what three other programs send.
_ACCEPTED = """
INSERT INTO received_messages (channel, source, kind, external_id, sender, state, reason, detail, sent_at, received_at,
                               received_by, content, content_bytes, runs)
SELECT 'tickstock.jobs.data_load.stream', 'stream', 'data_load_complete', 'load-' || r.id, 'loader', 'accepted', 'new',
       'started run ' || r.id, at, at + interval '40 ms', '{"scheduler-1c0de": 1}', '{}', 2, ARRAY[r.id]
FROM runs r CROSS JOIN LATERAL (SELECT r.started_at - (1 + r.id %% 5) * interval '0.3 s' AS at) t
WHERE r.started_at > %(now)s - interval '1 day'
"""
_OTHERS = """
INSERT INTO received_messages (channel, source, kind, external_id, sender, state, reason, detail, sent_at, received_at,
                               received_by, content, content_bytes, notification_id, replayed_at, replayed_by)
SELECT channel, source, kind, 'id-' || n, sender, state, reason, detail, at, at + interval '30 ms',
       '{"scheduler-1c0de": 1}', '{}', 2, CASE WHEN state = 'accepted' THEN gen_random_uuid() END,
       CASE WHEN state = 'rejected' AND n = 3 THEN at + interval '20 minutes' END,
       CASE WHEN state = 'rejected' AND n = 3 THEN 'local' END
FROM (VALUES
    ('tickstock.jobs.data_load', 'pubsub', 'data_load_complete', 'loader', 'repeated', 'id',
     'its job_id was seen on another channel', 24, interval '1 hour'),
    ('tickstock.jobs.data_load.stream', 'stream', 'data_load_complete', 'intraday', 'ignored', 'paused',
     'schedule intraday_analysis is paused', 3, interval '3 hours'),
    ('tickstock.jobs.data_load.stream', 'stream', 'data_load_complete', 'old-loader', 'rejected', 'no_schedule',
     'no schedule is named ''eod_analysis''; did you mean ''daily_indicator_calculation''?', 3, interval '2 hours'),
    ('tickstock.notifications.stream', 'stream', 'notify', 'screener', 'accepted', 'new', 'notified local', 30,
     interval '47 minutes')
) AS v (channel, source, kind, sender, state, reason, detail, most, apart)
CROSS JOIN LATERAL generate_series(1, v.most) AS n CROSS JOIN LATERAL (SELECT %(now)s - n * v.apart AS at) t
"""
_FLOOD = """
INSERT INTO received_messages (channel, source, state, reason, detail, sent_at, received_at, received_by, counted_from,
                               times, last_at)
SELECT 'tickstock.jobs.data_load', 'pubsub', 'rejected', 'not_json', 'Expecting value: line 1 column 1', at, at,
       '{"scheduler-1c0de": 1}', at, 4180, at + interval '52 minutes'
FROM (SELECT date_trunc('hour', %(now)s - interval '5 hours') AS at) t
"""


def invent_messages(connection: Connection, now: datetime) -> None:
    """Write a day of them up to a moment, about the runs that there are."""
    for statement in (_ACCEPTED, _OTHERS, _FLOOD):
        connection.execute(statement, {"now": now})
