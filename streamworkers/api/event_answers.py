"""How a request that follows a run is answered: by a stream of server-sent events, or by one page."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any

import msgspec

from streamworkers.api.event_feed import Follower
from streamworkers.engine.ledger.run_events import LedgerEvent, LedgerEventPage, Position

EVENT_STREAM = "text/event-stream"
KEEP_ALIVE_SECONDS = 15.0
STREAM_HEADERS = {"Content-Type": EVENT_STREAM, "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_FIRST = b"retry: 1000\n\n"  # milliseconds after which a browser comes again
_KEEP_ALIVE = b": keep-alive\n\n"
_LEAST_SHARE = 0.8  # of its longest life that a stream has, so that not all end at once
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
SendBytes = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class EventsWanted:
    """From where on a run is followed, and for how many seconds one page may be waited for; None asks for a stream."""

    position: Position
    wait: float | None


def describe_event(event: LedgerEvent) -> dict[str, Any]:
    """Return an event as answers have it."""
    return {"id": name_event(event.run_id, event.seq), **event._asdict()}


def name_event(run_id: int, seq: int) -> str:
    """Return the id of an event."""
    return f"{run_id}:{seq}"


def encode_events(events: Iterable[LedgerEvent]) -> bytes:
    """Return events as a stream has them."""
    return b"".join(map(_encode_event, events))


def _encode_event(event: LedgerEvent) -> bytes:
    shown = describe_event(event)
    return f"id: {shown['id']}\nevent: {event.kind}\ndata: {msgspec.json.encode(shown).decode()}\n\n".encode()


async def stream_events(follower: Follower, receive: Receive, send: SendBytes, longest_seconds: float) -> None:
    """Send events until the run or the client has ended, or the process, or the stream is as old as it may become."""
    gone = asyncio.ensure_future(receive())
    end_at = time.monotonic() + longest_seconds * random.uniform(_LEAST_SHARE, 1.0)  # noqa: S311
    try:
        await send(_FIRST)
        while not (gone.done() or follower.is_ended) and (left := end_at - time.monotonic()) > 0:
            page = await follower.wait(min(left, KEEP_ALIVE_SECONDS), gone)
            if page is not None:
                await send(encode_events(page.events))
                if page.is_over:
                    return
            elif time.monotonic() < end_at:
                await send(_KEEP_ALIVE)
    finally:
        gone.cancel()


def describe_page(position: Position, page: LedgerEventPage | None) -> dict[str, Any]:
    """Return a page of events as answers have it; `position` is that behind which it begins."""
    events = [] if page is None else [describe_event(event) for event in page.events]
    following = events[-1]["id"] if events else name_event(*position)
    return {"events": events, "next": following, "is_over": page is not None and page.is_over}


async def wait_for_page(follower: Follower, receive: Receive, seconds: float) -> dict[str, Any]:
    """Return the next events as soon as there are any, or none after `seconds`."""
    gone, position = asyncio.ensure_future(receive()), follower.position
    try:
        return describe_page(position, await follower.wait(seconds, gone))
    finally:
        gone.cancel()
