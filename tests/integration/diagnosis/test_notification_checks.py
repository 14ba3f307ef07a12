"""What doctor and metrics say of notifications: nothing while all is well, and each fault with its age and reason."""

import re
from datetime import datetime

import pytest
from psycopg_pool import ConnectionPool

from scheduler.notification_metrics import NotificationCollector
from streamworkers.config import Settings
from streamworkers.database import Connection
from streamworkers.diagnosis.checks import CHECKS
from streamworkers.diagnosis.snapshot import Snapshot
from streamworkers.engine.host.scrape_board import ScrapeBoard
from streamworkers.engine.redis.heartbeats import SupervisorStatus, WorkerStatus
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry

NAMES = [name for name, check in CHECKS.items() if check.component == "notifications"]
_TROUBLE = """
INSERT INTO users (id) VALUES ('ann');
INSERT INTO endpoints (user_id, name, channel, address, verified_at, created_by, off_at, off_reason, off_by_provider)
VALUES ('ann', 'phone', 'telegram', '1', now(), 'cli', '2026-01-05 10:00+00', 'bot was blocked', true),
       ('ann', 'desk', 'mail', 'a@b.c', now(), 'cli', now(), 'switched off by cli:ann', false),
       ('ann', 'home', 'mail', 'b@b.c', now(), 'cli', NULL, NULL, false),
       ('ann', 'new', 'mail', 'c@b.c', NULL, 'bot', NULL, NULL, false);
INSERT INTO outbox (channel, payload, created_at) VALUES ('streamworkers:notify', '{}', now() - interval '70 s');
INSERT INTO notifications (id, user_id, type, dedup_key, priority, data, created_at, routed_at)
SELECT ('00000000-0000-0000-0000-00000000000' || n)::uuid, 'ann', 'message', 'key' || n, 'high', '{}',
       now() - interval '80 s', CASE WHEN n > 1 THEN now() END FROM generate_series(1, 2) n;
INSERT INTO runs (id, job, queue, target, parameters, item_count, max_attempts, created_at)
OVERRIDING SYSTEM VALUE
VALUES (7, 'deliver', 'notify', '3 deliveries', '{}', 3, 3, now() - interval '100 s');
INSERT INTO deliveries (id, user_id, channel, type, priority, state, reason, not_before, due_at, run_id, run_day)
SELECT gen_random_uuid(), 'ann', channel, 'message', 'high', state, reason, now() - age, '2026-01-05 11:00+00', run,
       CASE WHEN run IS NOT NULL THEN current_date END
FROM (VALUES ('mail', 'queued', NULL, interval '90 s', NULL), ('mail', 'deferred', NULL, interval '-1 d', NULL),
             ('mail', 'sending', NULL, interval '2 h', 7), ('mail', 'failed', 'later', interval '-10 s', 7),
             ('telegram', 'dead', 'bot was blocked', interval '1 d', NULL),
             ('mail', 'ambiguous', 'no answer', interval '1 d', NULL),
             ('mail', 'sent', NULL, interval '9 d', NULL)) AS v (channel, state, reason, age, run);
INSERT INTO delivery_notifications
SELECT id, '00000000-0000-0000-0000-000000000002' FROM deliveries WHERE state = 'dead';
INSERT INTO rejected_notifications VALUES (gen_random_uuid(), '[1]', 'the event is [1], not an object', now());
INSERT INTO telegram_links (bot_id, telegram_user, chat_id, user_id) VALUES (1, 2, 3, 'ann');
INSERT INTO processes (id, kind, host, pid, version, started_at, doing)
VALUES ('bot-1', 'telegram', 'h', 1, '0.2.0', now(), '{"polls": true}'),
       ('bot-2', 'telegram', 'h', 2, '0.2.0', now(), '{"polls": true, "error": "409"}');
"""


@pytest.fixture
def look(connection: Connection, streams: Streams, registry: Registry, settings: Settings) -> "Looker":
    """Looks at the pool of this test."""
    return Looker(connection, streams, registry, settings)


class Looker:
    """What the checks of notifications find now."""

    def __init__(self, connection: Connection, streams: Streams, registry: Registry, settings: Settings) -> None:
        self._all = connection, streams, registry, settings

    def find(self) -> list[tuple[str, str, str]]:
        """Name, subject and text of each finding; ages and times of today as signs."""
        snapshot = Snapshot(*self._all)
        found = [(name, finding) for name in NAMES for finding in CHECKS[name].find(snapshot)]
        assert all(finding.advice for _, finding in found), "each names what to do"
        today = f"{datetime.now(snapshot.now.tzinfo):%Y}"
        return [
            (name, each.where, re.sub(rf"{today}-(?!01-05)[-0-9: ]+", "T ", re.sub(r"\d+ s\b", "N s", each.what)))
            for name, each in found
        ]


def test_each_fault_is_found_with_its_age_and_reason(look: "Looker", connection: Connection, streams: Streams) -> None:
    assert look.find() == []
    connection.execute(_TROUBLE.encode())
    of = "; of notification 00000000-0000-0000-0000-000000000002"
    late = "the oldest has been due for N s: "
    found = look.find()
    assert found[:-1] == [
        ("late_notifications", "notifications", "an event waits to become a notification since N s"),
        ("late_notifications", "notifications", "a notification waits for a route since N s"),
        ("late_deliveries", "deliveries", late + "no live supervisor reads queue notify"),
        (
            "troubled_deliveries",
            "channel mail",
            "1 ambiguous since 2026-01-05 11:00 UTC; the newest: no answer",
        ),
        (
            "troubled_deliveries",
            "channel telegram",
            "1 dead since 2026-01-05 11:00 UTC; the newest: bot was blocked" + of,
        ),
        (
            "rejected_endpoints",
            "endpoint phone of ann",
            "telegram rejects it since 2026-01-05 10:00 UTC: bot was blocked",
        ),
    ]
    assert found[-1][:2] == ("rejected_notifications", "notifications")
    assert found[-1][2].startswith("1 events were rejected since ")
    streams.heartbeats.beat("one", SupervisorStatus(queues=["notify"], workers=[WorkerStatus()]), 600_000)
    assert look.find()[2][2] == late + "the workers of the queue are busy or held up"
    connection.execute("DELETE FROM deliveries WHERE state = 'sending'")
    assert "late_deliveries" not in {name for name, _, _ in look.find()}, "what waits for a slot is no fault"


def test_metrics_count_what_stands_and_how_old_it_is(
    connection: Connection, pool: "ConnectionPool[Connection]"
) -> None:
    collector = NotificationCollector(pool, ScrapeBoard())
    assert {sample.value for family in collector.collect() for sample in family.samples} == {0.0}
    connection.execute(_TROUBLE.encode())
    found = {
        (sample.name.removeprefix("streamworkers_"), *sample.labels.values()): sample.value
        for family in collector.collect()
        for sample in family.samples
    }
    ages = {step: found.pop(("notification_wait_seconds", step)) for step in ("event", "notification", "waiting")}
    assert ages["event"] >= 70
    assert ages["notification"] >= 80
    assert ages["waiting"] >= 90
    assert 100 <= found.pop(("notification_wait_seconds", "admitted")) < 7000, (
        "since its run began, not since it was due"
    )
    assert {key: value for key, value in found.items() if value} == {
        ("delivery_backlog", "mail", "queued"): 1,
        ("delivery_backlog", "mail", "deferred"): 1,
        ("delivery_backlog", "mail", "failed"): 1,
        ("delivery_backlog", "mail", "sending"): 1,
        ("delivery_backlog", "mail", "ambiguous"): 1,
        ("delivery_backlog", "telegram", "dead"): 1,
        ("endpoints", "mail", "usable"): 1,
        ("endpoints", "mail", "unverified"): 1,
        ("endpoints", "mail", "off"): 1,
        ("endpoints", "telegram", "rejected"): 1,
        ("rejected_notifications",): 1,
        ("telegram_links",): 1,
        ("telegram_pollers",): 1,
    }
    assert len(found) == 2 * 6 + 2 * 4 + 3, "0 is shown too"


def test_a_dead_call_of_a_webhook_names_its_run(look: "Looker", connection: Connection) -> None:
    connection.execute(
        "INSERT INTO deliveries (user_id, channel, type, priority, state, reason, due_at, ended_run_id) VALUES"
        " ('-run-webhooks', 'webhook', 'run_ended', 'normal', 'dead', 'the receiver answered 404', '2026-01-05Z', 7)"
    )
    what = "1 dead since 2026-01-05 00:00 UTC; the newest: the receiver answered 404; of run 7"
    assert look.find() == [("troubled_deliveries", "channel webhook", what)]
