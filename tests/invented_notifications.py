"""Two weeks of notifications and their deliveries, for boards: what would have come of them, some of it in trouble."""

from datetime import datetime

from psycopg.types.json import Jsonb

from streamworkers.database import Connection

_ENDPOINTS = """
INSERT INTO endpoints (user_id, name, channel, address, verified_at, created_by, off_at, off_reason, off_by_provider)
VALUES ('local', 'phone', 'telegram', '1001', %(now)s, 'cli', NULL, NULL, false),
       ('local', 'post', 'mail', 'desk@example.org', %(now)s, 'cli', NULL, NULL, false),
       ('local', 'old phone', 'telegram', '1002', %(now)s, 'cli', %(now)s - interval '3 days',
        'Telegram answered 403: Forbidden: bot was blocked by the user', true),
       ('local', 'home', 'mail', 'home@example.org', NULL, 'bot', NULL, NULL, false)
"""
_NOTIFICATIONS = """
INSERT INTO notifications (id, user_id, type, dedup_key, priority, data, created_at, routed_at)
SELECT gen_random_uuid(), 'local', (ARRAY['alert_fired', 'alert_fired', 'run_failed', 'message'])[1 + n %% 4],
       'invented:' || n, (ARRAY['high', 'normal', 'urgent', 'low'])[1 + n %% 4], %(data)s,
       %(now)s - n * interval '97 minutes', %(now)s - n * interval '97 minutes'
FROM generate_series(1, 190) AS n
"""
_DELIVERIES = """
INSERT INTO deliveries (user_id, endpoint_id, channel, type, priority, state, reason, created_at, due_at, not_before,
                        sent_at, ambiguities, attempts)
SELECT 'local', e.id, e.channel, 'message', w.priority, w.state, w.reason, w.at, w.at,
       CASE WHEN w.state IN ('deferred', 'failed') THEN %(now)s + interval '40 minutes' ELSE w.at END,
       CASE w.state WHEN 'sent' THEN w.at + (1 + w.n %% 7) * interval '0.4 s' END,
       CASE WHEN w.n %% 61 = 0 OR w.state = 'ambiguous' THEN 1 ELSE 0 END,
       CASE WHEN w.state IN ('dead', 'failed') THEN 6 ELSE 0 END
FROM (
    SELECT n, %(now)s - n * interval '97 minutes' AS at,
           (ARRAY['high', 'normal', 'urgent', 'low'])[1 + n %% 4] AS priority,
           CASE WHEN n <= 3 THEN 'deferred' WHEN n = 4 THEN 'failed' WHEN n = 5 THEN 'ambiguous'
                WHEN n %% 47 = 0 THEN 'dead' WHEN n %% 23 = 0 THEN 'suppressed' ELSE 'sent' END AS state,
           CASE WHEN n = 4 THEN 'the mail server answered 451 to DATA: try again later'
                WHEN n = 5 THEN 'its item is dead: killed; nobody knows whether the last call took effect'
                WHEN n %% 47 = 0 THEN 'the mail server answered 550 to RCPT: no such user'
                WHEN n %% 46 = 0 THEN 'expired' WHEN n %% 23 = 0 THEN 'off by preference for message on *' END AS reason
    FROM generate_series(1, 190) AS n
) w
JOIN endpoints e ON e.name = CASE WHEN w.n %% 3 = 0 OR w.n IN (4, 47, 94, 141, 188) THEN 'post' ELSE 'phone' END
"""
_LINKS = """
INSERT INTO delivery_notifications (delivery_id, notification_id)
SELECT DISTINCT ON (d.id) d.id, n.id FROM deliveries d JOIN notifications n ON n.created_at = d.created_at
"""
_REST = """
INSERT INTO rejected_notifications (event_id, payload, reason, created_at)
VALUES (gen_random_uuid(), '{}', 'no user is named ''nobody''', %(now)s - interval '1 day')
"""
_BOT = """
INSERT INTO telegram_links (bot_id, telegram_user, chat_id, user_id) VALUES (1, 7, 1001, 'local')
"""
_UPDATES = """
INSERT INTO telegram_updates (bot_id, update_id, handled_at)
SELECT 1, n, %(now)s - n * interval '1 hour' FROM generate_series(1, 20) AS n
"""


_PROCESS = """
INSERT INTO processes (id, kind, host, pid, version, started_at, seen_at, doing)
VALUES ('vm3-telegram', 'telegram', 'vm3', 77, '0.2.0', %(now)s - interval '1 day', %(now)s, '{"polls": true}')
"""


def invent_bot(connection: Connection, now: datetime) -> None:
    """Add a process of the bot that polls at this moment."""
    connection.execute(_PROCESS.encode(), {"now": now})


def invent_notifications(connection: Connection, now: datetime) -> None:
    """Add endpoints, two weeks of notifications before `now`, and what has become of each."""
    values = {"now": now, "data": Jsonb({"text": "invented"})}
    for statement in (_ENDPOINTS, _NOTIFICATIONS, _DELIVERIES, _LINKS, _REST, _BOT, _UPDATES):
        connection.execute(statement.encode(), values)
