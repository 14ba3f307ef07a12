"""The webhooks of runs, as they are shown: where it is, and how its newest call stands."""

import re

# Of a URL, the host: what follows it can be a secret. PostgreSQL knows the pattern too.
_SHOWN, _REST = r"^(https?://[^/?]+).*$", "/…"
# For statements about `runs r`; null without a webhook. Before its first call it is `waiting`; the record of a call is
# `removed` after its retention.
WEBHOOK_OF_RUN = rf"""CASE WHEN r.webhook IS NOT NULL THEN (
            SELECT jsonb_build_object(
                'url', regexp_replace(r.webhook ->> 'url', '{_SHOWN}', '\1{_REST}'),
                'state', coalesce(d.state,
                    CASE WHEN r.status IN ('PENDING', 'RUNNING') THEN 'waiting' ELSE 'removed' END),
                'attempts', coalesce(d.attempts, 0), 'reason', d.reason, 'id', d.id,
                'sent_at', date_trunc('second', d.sent_at))
            FROM (SELECT) AS one LEFT JOIN LATERAL (
                SELECT * FROM deliveries WHERE ended_run_id = r.id ORDER BY created_at DESC LIMIT 1) d ON true
        ) END AS webhook"""  # noqa: S608  # constants


def show_webhook_url(url: str) -> str:
    """The URL of a webhook as it may be shown; a reference as `env:NAME` as it stands."""
    return re.sub(_SHOWN, rf"\1{_REST}", url)
