"""Deliveries on the test's services: a channel that answers as its address says, and what admits and sends."""

import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from uuid import UUID

from psycopg.types.json import Jsonb
from psycopg_pool import ConnectionPool

from consumer import Consumer
from scheduler.delivery_runs import DeliveryRuns
from streamworkers.config import Settings
from streamworkers.database import Connection
from streamworkers.engine.redis.slot_book import SlotBook, SlotRequest
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.jobs.deliver import Deliver
from streamworkers.notifications.channels.channel import Address, Limit, MessageChannel, NotSentError
from streamworkers.notifications.content import Content, Part, Picture
from streamworkers.notifications.delivery.sender import Sender
from streamworkers.notifications.store.sending import claim_delivery

ANSWERS: dict[str, Exception] = {
    "dead": NotSentError("can't parse", permanent=True),
    "off": NotSentError("bot was blocked", endpoint_off=True),
    "later": NotSentError("too many requests", retry_after=10_072.0, bucket="plain:later"),
    "failed": NotSentError("try again"),
    "unknown": TimeoutError("no answer"),
    "moved": NotSentError("migrated", moved_to="moved-there"),
}


class Plain(MessageChannel):
    """A channel whose answer is in the address: what comes before `-` or the end."""

    name: ClassVar[str] = "plain"
    retry_seconds: ClassVar[Sequence[float]] = (300.0, 600.0)

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.sent: list[tuple[str, UUID, str]] = []
        self.pictures: list[bytes | None] = []
        self.times: list[float] = []

    def check_address(self, address: str, options: Mapping[str, Any]) -> Address:
        return Address(address, options)

    def limits(self, address: Address) -> Sequence[Limit]:
        return [Limit("plain:all", 1000, 1.0), Limit(f"plain:{address.address}", 1, 0.1)]

    def render(self, content: Content, address: Address, *, has_picture: bool) -> list[Part]:
        return [{"text": line} for line in (content.title, *content.lines)]

    def send(self, part: Part, address: Address, *, delivery: UUID, picture: Picture | None) -> str | None:
        self.sent.append((address.address, delivery, part["text"]))
        self.times.append(time.monotonic())
        self.pictures.append(None if picture is None else picture.data)
        if address.address in ANSWERS and part["text"] != "fine":
            raise ANSWERS[address.address]
        return "provider-1"


class DeliveryStage:
    """Users, endpoints and deliveries, the service that admits, and a worker."""

    def __init__(self, connection: Connection, runs: DeliveryRuns, consumer: Consumer, channel: Plain) -> None:
        self.connection, self.runs, self.consumer, self.channel = connection, runs, consumer, channel
        self.runs.seconds_between_runs = 0.0
        connection.execute("INSERT INTO users (id) VALUES ('ann') ON CONFLICT DO NOTHING")

    def add(self, address: str, *texts: str, **columns: Any) -> UUID:
        """A delivery to an endpoint with this address."""
        endpoint = self.connection.execute(
            "INSERT INTO endpoints (user_id, name, channel, address, verified_at, created_by)"
            " VALUES ('ann', %s, 'plain', %s, now(), 'test') ON CONFLICT (user_id, name) DO UPDATE SET name = %s"
            " RETURNING id",
            (address, address, address),
        ).fetchone()
        assert endpoint is not None
        values = {
            "channel": "plain",
            "priority": "urgent",
            "content": Jsonb({"title": (texts or ("hello",))[0], "lines": texts[1:]}),
        } | columns
        row = self.connection.execute(
            f"INSERT INTO deliveries (user_id, endpoint_id, type, {', '.join(values)})"
            f" VALUES ('ann', %s, 'message', {', '.join(['%s'] * len(values))}) RETURNING id",
            (endpoint[0], *values.values()),
        ).fetchone()
        assert row is not None
        return UUID(str(row[0]))

    def work(self) -> None:
        """Admit what is due, and send it."""
        self.runs.run_once()
        self.consumer.work_until_empty("notify")

    def work_as_dead(self, delivery: UUID, run_id: int | None) -> None:
        """Book a slot, claim, and call, as a worker that dies before it records the answer."""
        limits = [*self.channel.limits(Address("failed", {}))]
        SlotBook(self.runs._streams.client).book([SlotRequest(str(delivery), limits)], 2.0)
        claim_delivery(self.connection, delivery, run_id, uuid.uuid4())
        self.channel.send({"text": "fine"}, Address("failed", {}), delivery=delivery, picture=None)

    def state(self, delivery: UUID) -> tuple[Any, ...]:
        """State, reason, attempts and parts that were sent."""
        row = self.connection.execute(
            "SELECT state, reason, attempts, parts_sent FROM deliveries WHERE id = %s", (delivery,)
        ).fetchone()
        assert row is not None
        return row


def build_stage(
    connection: Connection, pool: "ConnectionPool[Connection]", streams: Streams, settings: Settings, channel: Plain
) -> DeliveryStage:
    """A stage with the channel `plain`."""
    job = Deliver()
    job.sender = Sender(settings, {"plain": channel}, SlotBook(streams.client))
    registry = Registry([job])
    runs = DeliveryRuns(pool, streams, registry, {"plain": channel}, 20)
    return DeliveryStage(connection, runs, Consumer(settings, registry, streams, connection, "one"), channel)
