"""Calls that take long: others need not wait for them, and none is made again while it may be under way."""

import threading
import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from psycopg_pool import ConnectionPool
from structlog.testing import capture_logs

from delivery_stage import DeliveryStage, Plain, build_stage
from harness import wait_until
from patience import patient
from streamworkers.config import Settings
from streamworkers.database import Connection
from streamworkers.engine.redis.slot_book import SlotBook, SlotRequest
from streamworkers.engine.redis.streams import Streams
from streamworkers.jobs.deliver import Deliver
from streamworkers.notifications.channels.channel import Address
from streamworkers.notifications.content import Part, Picture
from streamworkers.notifications.delivery import slow_providers
from streamworkers.notifications.delivery.calls import DeliveryCalls
from streamworkers.notifications.delivery.late_answers import MOST_LATE, LateAnswers
from streamworkers.notifications.delivery.sender import Sender
from streamworkers.notifications.delivery.slow_providers import SlowProviders


class Hanging(Plain):
    """A channel whose calls to `hang` wait until `goes_on` is set."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.goes_on = threading.Event()

    def send(self, part: Part, address: Address, *, delivery: UUID, picture: Picture | None) -> str | None:
        if address.address == "hang":
            assert self.goes_on.wait(patient(60))
        return super().send(part, address, delivery=delivery, picture=picture)


@pytest.fixture
def hanging(
    connection: Connection,
    pool: "ConnectionPool[Connection]",
    streams: Streams,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[DeliveryStage]:
    """A stage whose calls to `hang` are left at once, and end when `goes_on` is set."""
    channel, leave = Hanging(settings), DeliveryCalls.leave

    def leave_hanging(calls: DeliveryCalls, connection: Connection, thing: UUID, token: UUID) -> Any:
        return leave(calls, connection, thing, token) if calls.rows[thing].address == "hang" else None

    monkeypatch.setattr(DeliveryCalls, "leave", leave_hanging)
    monkeypatch.setattr(DeliveryCalls, "leaves_after", 0.0)
    yield build_stage(connection, pool, streams, settings, channel)
    channel.goes_on.set()


def _sender(stage: DeliveryStage) -> Sender:
    job = stage.runs._registry["deliver"]
    assert isinstance(job, Deliver)
    assert job.sender is not None
    return job.sender


def _go_on(stage: DeliveryStage) -> None:
    assert isinstance(stage.channel, Hanging)
    stage.channel.goes_on.set()


def test_a_call_that_hangs_holds_up_neither_its_batch_nor_the_next_one(
    hanging: DeliveryStage, streams: Streams
) -> None:
    stage = hanging
    slow, good = stage.add("hang", "slow"), stage.add("good")
    stage.runs.run_once()
    stage.consumer.work("notify")
    assert stage.state(good)[0] == "sent"
    assert stage.state(slow)[:2] == ("sending", "its provider has not answered yet")
    # Nobody calls for it meanwhile, nor names it: this worker not, nor another one.
    other = Sender(stage.channel.settings, {"plain": stage.channel}, SlotBook(streams.client))
    (run_id,) = stage.connection.execute("SELECT run_id FROM deliveries WHERE id = %s", (slow,)).fetchone() or (None,)
    for sender in (_sender(stage), other):
        sender.send(stage.connection, [slow], run_id)
    assert [text for _, _, text in stage.channel.sent] == ["hello"]
    with capture_logs() as lines:
        _go_on(stage)
        wait_until(lambda: stage.state(slow)[0] == "sent")
    stage.consumer.work_until_empty("notify")
    assert stage.connection.execute("SELECT DISTINCT status FROM run_items").fetchall() == [("completed",)]
    assert stage.connection.execute("SELECT sum(ambiguities) FROM deliveries").fetchone() == (0,)
    assert [line for line in lines if line["event"] == "call_ambiguous"] == []
    assert sum(text == "slow" for _, _, text in stage.channel.sent) == 1
    wait_until(lambda: not _sender(stage).late.is_hanging("plain:all"))
    later = stage.add("good", "later")
    stage.work()
    tallies = [tally for report in stage.consumer.reporter.reports for tally in report.tallies]
    sent = sum(count for name, count in tallies if name == ["deliveries", "plain", "sent"])
    assert (stage.state(later)[0], sent) == ("sent", 3), "a late answer is counted with the next batch"


def test_while_a_call_hangs_its_process_makes_no_others_to_that_provider(hanging: DeliveryStage) -> None:
    stage = hanging
    stage.add("hang")
    stage.runs.run_once()
    stage.consumer.work("notify")
    waiting = stage.add("good")
    stage.runs.run_once()
    stage.consumer.work("notify")
    assert (stage.state(waiting)[0], stage.channel.sent) == ("queued", [])
    _go_on(stage)
    wait_until(lambda: not _sender(stage).late.is_hanging("plain:all"))
    stage.consumer.work_until_empty("notify")
    assert stage.state(waiting)[0] == "sent"


def test_what_a_process_was_still_calling_for_when_it_died_is_ambiguous_once_no_call_can_be_under_way(
    hanging: DeliveryStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = hanging
    delivery = stage.add("hang")
    stage.runs.run_once()
    stage.consumer.work("notify")
    _sender(stage).late._connect = _away  # as if it had died: nobody records the answer
    _go_on(stage)
    wait_until(lambda: not _sender(stage).late.is_hanging("plain:all"))
    monkeypatch.setattr(DeliveryCalls, "leaves_after", patient(60))
    stage.connection.execute("UPDATE deliveries SET not_before = now()")
    stage.consumer.work_until_empty("notify")
    row = stage.connection.execute("SELECT state, ambiguities FROM deliveries WHERE id = %s", (delivery,)).fetchone()
    assert row == ("sent", 1)


def _away() -> Connection:
    raise OSError("there is no connection")


def test_a_process_leaves_so_many_calls_and_no_more() -> None:
    late = LateAnswers(_away)
    assert [late.add("one") for _ in range(MOST_LATE + 1)] == [True] * MOST_LATE + [False]
    late.remove("one")
    assert late.add("two")
    assert not late.is_hanging("three")


def test_the_second_message_to_a_chat_waits_for_the_first_to_arrive(
    hanging: DeliveryStage, streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slots are a tenth of a second apart, and the first message is under way for longer."""
    stage = hanging
    monkeypatch.setattr(DeliveryCalls, "leaves_after", patient(60))
    _sender(stage).book._under_way_ms = round(1000 * patient(60))
    ends: list[float] = []
    send = stage.channel.send

    def take_long(part: Part, address: Address, *, delivery: UUID, picture: Picture | None) -> str | None:
        if not ends:
            ends.append(0.0)
            threading.Event().wait(0.4)
            ends[0] = time.monotonic()
        return send(part, address, delivery=delivery, picture=picture)

    monkeypatch.setattr(stage.channel, "send", take_long)
    stage.add("good", "first")
    stage.add("good", "second")
    stage.work()
    assert [text for _, _, text in stage.channel.sent] == ["first", "second"]
    assert stage.channel.times[1] - ends[0] >= 0.1


def test_a_provider_that_lets_calls_hang_is_left_alone(stage: DeliveryStage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_providers, "SLOW_SECONDS", 0.0)
    monkeypatch.setattr(slow_providers, "SHORTEST_PAUSE_SECONDS", 300.0)
    stage.add("unknown")
    stage.work()
    waiting = stage.add("good")
    stage.work()
    assert stage.state(waiting)[0] == "deferred"
    assert stage.state(waiting)[1] == "its provider is left alone for a while"
    assert len(stage.channel.sent) == 1


def test_pauses_grow_and_an_answer_ends_them(streams: Streams) -> None:
    book, limit = SlotBook(streams.client), ("slow:one", 10, 1.0)
    slow = SlowProviders(book)

    def pause() -> float:
        (slot,) = book.plan([SlotRequest("a", [limit])], 0.0)
        return slot.seconds

    slow.ended("slow:one", 4.9, has_answered=False)
    assert pause() == 0
    slow.ended("slow:one", 100.0, has_answered=False)
    assert 0 < pause() <= 100
    slow.ended("slow:one", 100.0, has_answered=False)
    assert 100 < pause() <= 200
    for _ in range(5):
        slow.ended("slow:one", 100.0, has_answered=False)
    assert 500 < pause() <= 600
    slow.ended("slow:one", 6.0, has_answered=True)
    slow.ended("slow:two", 6.0, has_answered=False)
    assert slow._pauses == {"slow:two": 6.0}
