"""Notifications: what gets through and how fast, what does not, and whom it does not reach."""

from grafana.columns import column, series_colour, stat_field, state_column
from grafana.dashboard import Board
from grafana.layout import Section
from grafana.looks import DAY_AND_CLOCK, Look, any_is_bad, any_needs_a_look, limit
from grafana.panels import About, Size, barchart, stat, table, timeseries
from grafana.queries import promql, sql, sql_series

_WAITING = "state IN ('queued', 'deferred', 'failed')"
_WAITS = 'max by (step) (streamworkers_notification_wait_seconds{step=~"event|notification|admitted"})'
_TROUBLE = f"""
    SELECT (SELECT count(*) FROM deliveries WHERE {_WAITING} AND not_before <= now()) AS "due",
           (SELECT count(*) FROM deliveries WHERE state = 'ambiguous') AS "held",
           (SELECT count(*) FROM deliveries WHERE state = 'dead' AND $__timeFilter(created_at)) AS "dead",
           (SELECT count(*) FROM endpoints WHERE off_at IS NOT NULL AND off_by_provider) AS "rejected endpoints",
           (SELECT count(*) FROM rejected_notifications WHERE $__timeFilter(created_at)) AS "rejected events"
"""
_OUTCOMES = """
    SELECT date_trunc('day', due_at, 'America/New_York') AS time, count(*) FILTER (WHERE state = 'sent') AS "sent",
           count(*) FILTER (WHERE state = 'suppressed') AS "suppressed",
           count(*) FILTER (WHERE state IN ('dead', 'ambiguous')) AS "dead or held"
    FROM deliveries
    WHERE $__timeFilter(created_at) AND due_at <= now()
    GROUP BY 1
    ORDER BY 1
"""
_TYPES = """
    SELECT type, count(*) FILTER (WHERE priority = 'urgent') AS "urgent",
           count(*) FILTER (WHERE priority = 'high') AS "high",
           count(*) FILTER (WHERE priority = 'normal') AS "normal", count(*) FILTER (WHERE priority = 'low') AS "low"
    FROM notifications
    WHERE $__timeFilter(created_at)
    GROUP BY 1
    ORDER BY count(*) DESC, 1
    LIMIT 15
"""
_UNSENT = """
    SELECT d.created_at AS "decided", d.state, d.user_id AS "user", d.channel, e.name AS "endpoint", d.type,
           d.attempts AS "attempts", d.reason,
           (SELECT l.notification_id::text FROM delivery_notifications l WHERE l.delivery_id = d.id LIMIT 1)
               AS "notification"
    FROM deliveries d
    LEFT JOIN endpoints e ON e.id = d.endpoint_id
    WHERE d.state IN ('dead', 'ambiguous') AND $__timeFilter(d.created_at)
    ORDER BY d.created_at DESC, d.id
    LIMIT 50
"""
_AMBIGUOUS = """
    SELECT d.created_at AS "decided", d.state, d.user_id AS "user", d.channel, d.type, d.ambiguities AS "times",
           d.sent_at AS "sent"
    FROM deliveries d
    WHERE d.ambiguities > 0 AND $__timeFilter(d.created_at)
    ORDER BY d.created_at DESC, d.id
    LIMIT 50
"""
_SUPPRESSED = """
    SELECT reason, count(*) AS "deliveries"
    FROM deliveries
    WHERE state = 'suppressed' AND $__timeFilter(created_at)
    GROUP BY 1
    ORDER BY 2 DESC, 1
    LIMIT 15
"""
_LATENESS = """
    SELECT channel, priority,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM sent_at - due_at)) AS "p50",
           percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM sent_at - due_at)) AS "p95",
           max(extract(epoch FROM sent_at - due_at)) AS "longest", count(*) AS "sent"
    FROM deliveries
    WHERE state = 'sent' AND $__timeFilter(created_at)
    GROUP BY 1, 2
    ORDER BY 1, array_position(ARRAY['urgent', 'high', 'normal', 'low'], priority)
"""
_ENDPOINTS = """
    SELECT e.off_at AS "since", e.user_id AS "user", e.name AS "endpoint", e.channel,
           CASE WHEN e.off_by_provider THEN 'rejected' WHEN e.off_at IS NOT NULL THEN 'off' ELSE 'unverified' END
               AS "is", e.off_reason AS "reason"
    FROM endpoints e
    WHERE e.off_at IS NOT NULL OR e.verified_at IS NULL
    ORDER BY e.off_by_provider DESC, e.off_at DESC NULLS LAST, e.id
    LIMIT 50
"""
_BOT = """
    SELECT (SELECT count(*) FROM telegram_links) AS "linked chats",
           (SELECT count(*) FROM processes WHERE kind = 'telegram' AND (doing ->> 'polls')::boolean
                AND seen_at > now() - interval '45 s') AS "polling",
           (SELECT count(*) FROM telegram_updates WHERE handled_at > now() - interval '1 day') AS "updates in a day"
"""
_STANDING = f"""
    SELECT d.channel, d.state, d.priority, count(*) AS "deliveries", min(d.due_at) AS "oldest",
           min(d.not_before) AS "next", count(DISTINCT d.user_id) AS "users",
           mode() WITHIN GROUP (ORDER BY d.reason) AS "reason"
    FROM deliveries d
    WHERE d.{_WAITING} OR d.state = 'sending'
    GROUP BY d.channel, d.state, d.priority
    ORDER BY min(d.not_before), d.channel, d.state, d.priority
    LIMIT 100
"""


def _through() -> Section:
    return Section(
        1,
        "Does everything get through?",
        [
            timeseries(
                About(
                    11,
                    "Waiting for a process, by step",
                    "Does anything wait that nothing keeps from going on? Events and notifications wait for"
                    " schedulers, admitted deliveries for workers of the queue `notify`. The dashed line is the limit"
                    " of the alerts. What waits for a limit or a digest is not counted.",
                ),
                [promql(_WAITS, "{{step}}")],
                Look(unit="s", minimum=0, thresholds=limit(60), no_value="Nothing has waited"),
                Size(12, 8),
            ).over("24h"),
            stat(
                About(
                    12,
                    "Now, and in this time",
                    "Does anything need a person? Due deliveries wait for a limit. Of those that are held nobody knows"
                    " whether they were sent: `streamworkers notifications retry` sends them, and what is dead, again."
                    " Rejected endpoints were switched off by their providers; `streamworkers notifications rejected`"
                    " lists events of which no notification could be made.",
                ),
                [sql(_TROUBLE)],
                Look(
                    unit="short",
                    columns=(
                        stat_field("held", any_is_bad()),
                        stat_field("dead", any_is_bad()),
                        stat_field("rejected endpoints", any_needs_a_look()),
                        stat_field("rejected events", any_needs_a_look()),
                    ),
                ),
                Size(12, 8),
            ),
        ],
    )


def _sent() -> Section:
    return Section(
        2,
        "What was sent, and what was not?",
        [
            timeseries(
                About(
                    21,
                    "Deliveries by day",
                    "Is a day out of the ordinary? What is suppressed was not to be sent: by a preference, because it"
                    " had expired, or because there was no endpoint.",
                ),
                [sql_series(_OUTCOMES)],
                Look(
                    unit="short",
                    minimum=0,
                    no_value="Nothing was sent",
                    columns=(
                        series_colour("sent", "green"),
                        series_colour("suppressed", "gray"),
                        series_colour("dead or held", "red"),
                    ),
                ),
                Size(12, 9),
                style="bars",
                stacked=True,
            ),
            barchart(
                About(
                    24,
                    "Notifications by type",
                    "Which type is so frequent that nobody reads it? Its users may want it in a digest:"
                    " `streamworkers preferences set digest --type TYPE`.",
                ),
                [sql(_TYPES)],
                Look(unit="short", no_value="Nobody was notified"),
                Size(12, 9),
                x="type",
                stacked=True,
            ),
            table(
                About(
                    22,
                    "Dead and held",
                    "Which messages were not sent, and why? Correct what the reason names, then"
                    " `streamworkers notifications retry NOTIFICATION`.",
                ),
                [sql(_UNSENT)],
                Look(
                    unit="short",
                    no_value="Everything was sent",
                    columns=(
                        column("decided", DAY_AND_CLOCK, width=110),
                        state_column("state", 100),
                        column("user", width=90),
                        column("channel", width=90),
                        column("endpoint", width=100),
                        column("type", width=130),
                        column("attempts", width=80),
                        column("notification", width=290),
                    ),
                ),
                Size(24, 8),
            ),
            table(
                About(
                    23,
                    "Calls of which nobody knew",
                    "Which messages may have come twice? A process died, or an answer did not come, after the request"
                    " had left; each was named in the log as `call_ambiguous`.",
                ),
                [sql(_AMBIGUOUS)],
                Look(
                    unit="short",
                    no_value="Every call was answered",
                    columns=(
                        column("decided", DAY_AND_CLOCK, width=110),
                        column("sent", DAY_AND_CLOCK, width=110),
                        state_column("state", 100),
                    ),
                ),
                Size(14, 8),
            ),
            barchart(
                About(25, "Suppressed, by reason", "Is anything kept back that somebody waits for?"),
                [sql(_SUPPRESSED)],
                Look(unit="short", no_value="Nothing was suppressed"),
                Size(10, 8),
                x="reason",
            ),
        ],
    )


def _reached() -> Section:
    return Section(
        3,
        "How fast, and whom does it not reach?",
        [
            table(
                About(
                    31,
                    "Lateness by channel and priority",
                    "How long does a message take, from when it was decided, or its digest or quiet hours ended, until"
                    " it was sent? Limits of providers, retries and too few workers make it longer.",
                ),
                [sql(_LATENESS)],
                Look(
                    unit="s",
                    no_value="Nothing was sent",
                    columns=(column("channel", width=100), column("priority", width=90), column("sent", "short")),
                ),
                Size(12, 8),
            ),
            table(
                About(
                    32,
                    "Endpoints that get nothing",
                    "Whom do messages not reach? Rejected ones were switched off by their providers: a bot was"
                    " blocked, a webhook is gone. `streamworkers endpoints on` switches one on again.",
                ),
                [sql(_ENDPOINTS)],
                Look(
                    unit="short",
                    no_value="Every endpoint is on",
                    columns=(
                        column("since", DAY_AND_CLOCK, width=110),
                        column("user", width=80),
                        column("endpoint", width=100),
                        column("channel", width=90),
                        column("is", width=90),
                    ),
                ),
                Size(12, 8),
            ),
            stat(
                About(
                    33,
                    "The Telegram bot",
                    "Does it answer? One process polls; with linked chats and none that polls, nobody gets an answer.",
                ),
                [sql(_BOT)],
                Look(unit="short"),
                Size(24, 4),
            ),
        ],
    )


def _standing() -> Section:
    return Section(
        4,
        "What waits?",
        [
            table(
                About(
                    41,
                    "Deliveries that wait",
                    "What will be sent, and when? Deferred ones wait for a digest, the end of quiet hours, or as long"
                    " as a provider has asked; failed ones for their next attempt.",
                ),
                [sql(_STANDING)],
                Look(
                    unit="short",
                    no_value="Nothing waits",
                    columns=(
                        column("channel", width=100),
                        state_column("state", 100),
                        column("priority", width=90),
                        column("deliveries", width=100),
                        column("oldest", DAY_AND_CLOCK, width=120),
                        column("next", DAY_AND_CLOCK, width=120),
                        column("users", width=80),
                    ),
                ),
                Size(24, 9),
            )
        ],
    )


def board() -> Board:
    """The board."""
    return Board(
        uid="streamworkers-notifications",
        title="Notifications",
        description="What gets through and how fast, what does not, and whom it does not reach.",
        sections=[_through(), _sent(), _reached(), _standing()],
        since="now-14d",
        refresh="1m",
    )
