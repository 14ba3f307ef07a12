"""Deliveries from the row that waits to its end: admitted once, and every answer has its state."""

import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from uuid import UUID

import psycopg
import pytest
from psycopg.types.json import Jsonb
from structlog.testing import capture_logs

from delivery_stage import ANSWERS, DeliveryStage, Plain
from harness import items_of, start_run, wait_until
from patience import patient
from streamworkers.actor import Actor
from streamworkers.admin.runs import replay
from streamworkers.database import Connection
from streamworkers.engine.host.metrics import PoolMetrics
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.services.reconciler import Reconciler
from streamworkers.jobs.deliver import Deliver
from streamworkers.notifications.channels.channel import NotSentError
from streamworkers.notifications.content import Picture
from streamworkers.notifications.delivery import parts
from streamworkers.notifications.delivery.call_counts import CallCounts
from streamworkers.notifications.store.closing import CALL_LIFE, reopen_abandoned, reopen_deliveries
from streamworkers.notifications.store.endpoints import switch_endpoint_off
from streamworkers.notifications.store.sending import NotificationRow, claim_delivery, read_notifications_of


def test_every_answer_has_its_state(stage: DeliveryStage) -> None:
    ids = {name: stage.add(name) for name in ("good", *ANSWERS)}
    stage.work()
    unknown = "unknown whether it was sent: TimeoutError: no answer"
    assert {name: stage.state(each) for name, each in ids.items()} == {
        "good": ("sent", None, 0, 1),
        "dead": ("dead", "can't parse", 1, 0),
        "off": ("dead", "bot was blocked", 1, 0),
        "later": ("deferred", "too many requests", 0, 0),
        "failed": ("failed", "try again", 1, 0),
        "unknown": ("failed", unknown, 1, 0),
        "moved": ("sent", None, 1, 1),
    }
    assert [address for address, _, _ in stage.channel.sent if address.startswith("moved")] == ["moved", "moved-there"]
    items = Counter(status for (status,) in stage.connection.execute("SELECT status FROM run_items"))
    assert items == {"completed": 5, "failed": 2}  # what waits for long has left its run
    waiting = "SELECT count(*) FROM deliveries WHERE run_id IS NULL AND state IN ('deferred', 'failed')"
    assert stage.connection.execute(waiting).fetchone() == (3,)
    off = "SELECT count(*) FROM outbox WHERE channel = 'streamworkers:notify' AND payload->>'type' = 'endpoint_off'"
    assert stage.connection.execute(off).fetchone() == (1,)
    assert stage.state(stage.add("later")) == ("queued", None, 0, 0)
    before = len(stage.channel.sent)
    stage.work()  # the hold of 429 is the fleet's
    assert len(stage.channel.sent) == before


def test_what_moves_to_an_address_that_the_user_has_goes_to_that_endpoint(stage: DeliveryStage) -> None:
    stage.add("moved-there", "first")
    delivery = stage.add("moved")
    stage.work()
    assert stage.state(delivery)[0] == "sent"
    assert [address for address, each, _ in stage.channel.sent if each == delivery] == ["moved", "moved-there"]
    rows = stage.connection.execute("SELECT address FROM endpoints ORDER BY address").fetchall()
    assert rows == [("moved",), ("moved-there",)]


def test_parts_are_sent_in_order_and_not_again(stage: DeliveryStage) -> None:
    delivery = stage.add("failed", "fine", "not fine")
    stage.work()
    assert stage.state(delivery) == ("failed", "try again", 1, 1)
    stage.connection.execute("UPDATE deliveries SET not_before = now()")
    stage.work()
    assert [text for _, _, text in stage.channel.sent] == ["fine", "not fine", "not fine"]


def test_each_part_and_each_repeated_call_counts_against_the_limits(stage: DeliveryStage) -> None:
    delivery = stage.add("failed", "fine", "fine", "fine")
    stage.runs.run_once()
    (run_id,) = stage.connection.execute("SELECT run_id FROM deliveries").fetchone() or (None,)
    stage.work_as_dead(delivery, run_id)
    stage.consumer.work_until_empty("notify")
    assert stage.state(delivery)[0] == "sent"
    times = stage.channel.times
    assert len(times) == 4
    assert min(later - earlier for earlier, later in pairwise(times)) > 0.05  # the limit is one in 0.1 s


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("UPDATE deliveries SET expires_at = now() - interval '1 s'", "expired"),
        ("UPDATE endpoints SET off_at = now(), off_reason = 'x'", "its endpoint is off"),
        ("UPDATE endpoints SET verified_at = NULL", "its endpoint is not verified"),
        ("DELETE FROM endpoints", "its endpoint was removed"),
    ],
)
def test_what_may_not_go_out_any_more_is_suppressed_at_the_claim(
    stage: DeliveryStage, change: str, reason: str
) -> None:
    delivery = stage.add("good")
    stage.runs.run_once()
    stage.connection.execute(change.encode())
    stage.consumer.work_until_empty("notify")
    assert (stage.state(delivery)[:2], stage.channel.sent) == (("suppressed", reason), [])


@pytest.mark.parametrize(("policy", "state", "calls"), [("retry", "sent", 1), ("hold", "ambiguous", 0)])
def test_a_delivery_that_another_was_sending_is_ambiguous(
    stage: DeliveryStage, monkeypatch: pytest.MonkeyPatch, policy: str, state: str, calls: int
) -> None:
    monkeypatch.setattr(Plain, "policy", policy)
    delivery = stage.add("good")
    stage.runs.run_once()
    (run_id,) = stage.connection.execute("SELECT run_id FROM deliveries").fetchone() or (None,)
    claim_delivery(stage.connection, delivery, run_id, uuid.uuid4())
    stage.consumer.work_until_empty("notify")
    assert (stage.state(delivery)[0], len(stage.channel.sent)) == (state, calls)
    assert stage.connection.execute("SELECT ambiguities FROM deliveries").fetchone() == (1,)


def test_thousands_that_wait_are_rows_and_each_is_in_one_run(stage: DeliveryStage) -> None:
    for number in range(30):
        stage.add("good", f"text {number}")
    for _ in range(3):
        stage.runs.run_once()
    admitted = "SELECT count(*) FROM deliveries WHERE run_id IS NOT NULL"
    (count,) = stage.connection.execute(admitted).fetchone() or (0,)
    assert 15 <= count < 30  # one call in 0.1 s, 2 s ahead
    assert stage.connection.execute("SELECT count(*), count(DISTINCT symbol) FROM run_items").fetchone() == (count,) * 2

    def is_over() -> bool:
        stage.work()
        return stage.connection.execute("SELECT count(*) FROM deliveries WHERE state = 'sent'").fetchone() == (30,)

    wait_until(is_over)
    assert sorted(text for _, _, text in stage.channel.sent) == sorted(f"text {number}" for number in range(30))


def test_the_ledger_wins_and_people_open_deliveries_again(stage: DeliveryStage) -> None:
    dead, cancelled, gone, sending = (stage.add(name) for name in ("a", "b", "c", "d"))
    stage.runs.run_once()
    (run_id,) = stage.connection.execute("SELECT run_id FROM deliveries").fetchone() or (None,)
    claim_delivery(stage.connection, sending, run_id, uuid.uuid4())
    stage.connection.execute("UPDATE deliveries SET claimed_at = now() - interval '1 hour' WHERE claim IS NOT NULL")
    for status, delivery in (("failed", dead), ("cancelled", cancelled), ("failed", sending)):
        stage.connection.execute(
            "UPDATE run_items SET status = %s, error = 'killed' WHERE symbol = %s", (status, str(delivery))
        )
    stage.connection.execute("DELETE FROM run_items WHERE symbol = %s", (str(gone),))
    stage.runs._checked_at = float("-inf")
    stage.runs.run_once()
    reason = "its item is dead: killed"
    assert stage.state(dead)[:2] == ("dead", reason)
    assert stage.state(cancelled)[:2] == ("suppressed", "its item was cancelled")
    assert stage.state(sending)[:2] == ("ambiguous", f"{reason}; nobody knows whether the last call took effect")
    opened = reopen_deliveries(stage.connection, uuid.uuid4(), [dead, cancelled, sending])
    assert sorted(opened) == sorted([dead, sending])
    stage.work()
    assert [stage.state(each)[0] for each in (dead, gone, sending)] == ["sent"] * 3


def test_what_a_dead_sender_of_no_run_has_left_is_sent_again_and_named_by_its_claim(stage: DeliveryStage) -> None:
    delivery = stage.add("good", not_before="9000-01-01")
    claim_delivery(stage.connection, delivery, None, uuid.uuid4())
    assert reopen_abandoned(stage.connection) == 0, "it may be calling"
    stage.connection.execute("UPDATE deliveries SET claimed_at = claimed_at - %s", (CALL_LIFE,))
    assert reopen_abandoned(stage.connection) == 1
    assert stage.state(delivery)[:2] == ("failed", "its sender has died: nobody knows whether it was sent")
    # What its provider or owner ends meanwhile is still named.
    with capture_logs() as lines:
        switch_endpoint_off(stage.connection, Actor("ann"), "good")
        stage.connection.execute("UPDATE endpoints SET off_at = NULL")
        stage.connection.execute("UPDATE deliveries SET not_before = now()")
        stage.work()
    assert [line["thing"] for line in lines if line["event"] == "call_ambiguous"] == [str(delivery)]
    assert stage.state(delivery)[0] == "sent"
    assert stage.connection.execute("SELECT ambiguities FROM deliveries").fetchone() == (1,)


def test_lateness_is_of_when_a_message_was_to_go_out(stage: DeliveryStage) -> None:
    delivery = stage.add("good", priority="high")
    stage.connection.execute("UPDATE deliveries SET due_at = now() - interval '1 h'")
    job, counts = stage.runs._registry["deliver"], CallCounts()
    assert isinstance(job, Deliver)
    assert job.sender is not None
    job.sender.send(stage.connection, [delivery], counts=counts)
    ((key, seconds),) = counts.observations
    assert key == ("delivery_lateness_seconds", "plain", "high")
    assert 3600 <= seconds < 3600 + patient(60)
    assert counts.tallies == {("deliveries", "plain", "sent"): 1}


@pytest.mark.parametrize("text", ["no\x00thing", "half \ud800 a pair", "x" * 100_000])
def test_any_words_of_a_provider_are_recorded_and_hold_up_no_other(
    stage: DeliveryStage, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setitem(ANSWERS, "strange", NotSentError(text, endpoint_off=True))
    strange, good = stage.add("strange"), stage.add("good")
    stage.work()
    state, reason, attempts, _ = stage.state(strange)
    assert (state, attempts, stage.state(good)[0]) == ("dead", 1, "sent")
    assert reason == text.replace("\x00", "\ufffd").replace("\ud800", "?")[:2000]
    assert [address for address, _, _ in stage.channel.sent].count("strange") == 1
    off = "SELECT count(*) FROM outbox WHERE channel = 'streamworkers:notify' AND payload->>'type' = 'endpoint_off'"
    assert stage.connection.execute(off).fetchone() == (1,)


def test_what_became_late_waits_for_the_end_of_quiet_hours_and_urgent_does_not(stage: DeliveryStage) -> None:
    late, urgent = stage.add("good", priority="high"), stage.add("loud")
    stage.runs.run_once()
    stage.connection.execute(
        "INSERT INTO quiet_hours (user_id, starts, ends, zone) SELECT 'ann', (n - interval '1 h')::time,"
        " (n + interval '1 h')::time, 'UTC' FROM (SELECT now() AT TIME ZONE 'UTC' AS n) u"
    )
    stage.consumer.work_until_empty("notify")
    assert (stage.state(late)[:2], stage.state(urgent)[0]) == (("deferred", "quiet hours"), "sent")
    stage.work()
    waits = "SELECT run_id, not_before > now() + interval '50 min' FROM deliveries WHERE id = %s"
    assert stage.connection.execute(waits, (late,)).fetchone() == (None, True)
    stage.connection.execute("DELETE FROM quiet_hours")
    stage.connection.execute("UPDATE deliveries SET not_before = now()")
    stage.work()
    assert stage.state(late)[:2] == ("sent", None)


def _notify(stage: DeliveryStage, delivery: UUID, text: str) -> None:
    notification = uuid.uuid4()
    stage.connection.execute(
        "INSERT INTO notifications (id, user_id, type, dedup_key, priority, data)"
        " VALUES (%s, 'ann', 'message', %s, 'normal', %s)",
        (notification, text, Jsonb({"title": text})),
    )
    stage.connection.execute("INSERT INTO delivery_notifications VALUES (%s, %s)", (delivery, notification))


def test_nothing_joins_a_digest_whose_text_is_made(
    stage: DeliveryStage, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivery = stage.add("good", content=None, is_digest=True)
    for text in ("first", "second"):
        _notify(stage, delivery, text)

    def look(connection: Connection, each: UUID) -> list[NotificationRow]:
        with psycopg.connect(database_url) as other, pytest.raises(psycopg.errors.LockNotAvailable):
            other.execute("SELECT 1 FROM deliveries WHERE id = %s FOR UPDATE NOWAIT", (each,))
        return read_notifications_of(connection, each)

    monkeypatch.setattr(parts, "read_notifications_of", look)
    stage.work()
    title, *lines = [text for _, _, text in stage.channel.sent]
    assert (title, [line.split()[1] for line in lines]) == ("2 messages", ["first", "second"])


def test_a_picture_is_drawn_once_and_goes_with_the_first_part(
    stage: DeliveryStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []

    def draw(_: Connection, notifications: Sequence[NotificationRow]) -> Picture:
        drawn.append(notifications[0].type)
        return Picture(b"png", "prices")

    monkeypatch.setattr(Plain, "takes_pictures", True)
    job = stage.runs._registry["deliver"]
    assert isinstance(job, Deliver)
    assert job.sender is not None
    job.sender = replace(job.sender, draw=draw)
    delivery = stage.add("failed", content=None)
    _notify(stage, delivery, "news")
    for _ in range(2):
        stage.work()
        stage.connection.execute("UPDATE deliveries SET not_before = now()")
    assert (drawn, stage.channel.pictures) == (["message"], [b"png", b"png"])


def test_where_no_picture_can_be_drawn_the_text_says_where_the_bars_are(
    stage: DeliveryStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Plain, "takes_pictures", True)
    job = stage.runs._registry["deliver"]
    assert isinstance(job, Deliver)
    assert job.sender is not None
    job.sender = replace(job.sender, draw=None)
    for name, kind in (("good", "alert_fired"), ("fine", "message")):
        _notify(stage, stage.add(name, content=None), name)
        stage.connection.execute(
            "UPDATE notifications SET type = %s, data = data || %s WHERE dedup_key = %s",
            (kind, Jsonb({"name": "up", "symbol": "AAPL", "timeframe": "day"}), name),
        )
    stage.work()
    hint = "Without a picture; the bars: streamworkers bars show AAPL --timeframe day"
    assert sum(hint in text for _, _, text in stage.channel.sent) == 1


def test_a_dead_item_that_is_replayed_sends_its_delivery_with_all_attempts(
    stage: DeliveryStage, streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivery = stage.add("dead")
    stage.work()
    (run_id,) = stage.connection.execute("SELECT run_id FROM deliveries").fetchone() or (None,)
    assert run_id is not None
    monkeypatch.delitem(ANSWERS, "dead")
    assert replay(stage.connection, streams, [(run_id, 0)]) == 1
    stage.consumer.work_until_empty("notify")
    assert stage.state(delivery) == ("sent", None, 0, 1)


def test_a_lost_redis_loses_no_delivery(stage: DeliveryStage, streams: Streams) -> None:
    ids = [stage.add(name) for name in ("a", "b", "c")]
    stage.runs.run_once()
    streams.client.raw.flushdb()
    Reconciler(stage.runs._pool, streams, ["notify"], 0.1, -60.0, PoolMetrics()).run_once()
    stage.consumer.work_until_empty("notify")
    assert [stage.state(each)[0] for each in ids] == ["sent"] * 3


def test_what_no_message_can_be_made_of_is_dead_with_its_reason(
    stage: DeliveryStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    strange, empty = stage.add("a", channel="telegraph"), stage.add("b", content=None)
    stage.work()
    assert stage.state(strange)[:2] == ("dead", "no channel 'telegraph' is installed")
    reason = "no message can be made of it: ValueError: it has neither a content nor a notification"
    assert stage.state(empty)[:2] == ("dead", reason)
    monkeypatch.setattr(Plain, "render", lambda *_, **__: [])
    silent = stage.add("c")
    stage.work()
    assert stage.state(silent)[:2] == ("dead", "the channel plain made no message of it")


def test_an_item_that_is_no_delivery_fails_for_good(stage: DeliveryStage, streams: Streams) -> None:
    stage.add("a")  # makes the sender's rows
    gone = str(uuid.uuid4())
    run = start_run(stage.connection, streams, stage.runs._registry, "deliver", "nonsense", gone)
    stage.consumer.work_until_empty("notify")
    items = {key: state[::2] for key, state in items_of(stage.connection, run).items()}
    assert items == {"nonsense": ("failed", "'nonsense' is not the id of a delivery"), gone: ("completed", None)}
