"""Two days of the audit log, for boards: changes by several ways, some of them rejected."""

from datetime import datetime

from streamworkers.database import Connection

_ROWS = """
INSERT INTO audit_log (at, actor_kind, actor_user, actor_token, address, request_id, action, object_type, object_id,
                       outcome, reason)
SELECT %(now)s - n * interval '7 minutes', w.kind, w.name, w.token, w.address::inet, gen_random_uuid()::text, w.action,
       w.type, (4000 + n)::text,
       CASE WHEN n %% 37 = 0 THEN 'failed' WHEN n %% 11 = 0 OR w.name = '' THEN 'rejected' ELSE 'ok' END,
       CASE WHEN n %% 37 = 0 THEN '503: PostgreSQL cannot be used now'
            WHEN w.name = '' THEN '401: the request needs the header `Authorization: Bearer TOKEN` with a good token'
            WHEN n %% 11 = 0 THEN '403: the token lacks the scope ''run''' END
FROM generate_series(1, 480) AS n, LATERAL (
    SELECT * FROM (VALUES
        (0, 'api', 'ann', '1', '10.0.0.21', 'run.submit', 'run'),
        (1, 'api', 'ann', '1', '10.0.0.21', 'run.submit', 'run'),
        (2, 'api', 'desk', '2', '10.0.0.30', 'run.cancel', 'run'), (3, 'cli', 'local', NULL, NULL, 'run.retry', 'run'),
        (4, 'api', 'desk', '2', '10.0.0.30', 'schedule.pause', 'schedule'),
        (5, 'api', '', NULL, '10.0.0.99', 'run.read', 'path')
    ) AS v (k, kind, name, token, address, action, type) WHERE k = n %% 6) AS w
"""


def invent_audit(connection: Connection, now: datetime) -> None:
    """Add rows up to a moment."""
    connection.execute(_ROWS, {"now": now})
