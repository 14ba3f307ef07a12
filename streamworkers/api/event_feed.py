"""Reads the events of all runs that requests of this process follow: one connection for all of them, in one thread.

A follower waits in the event loop. It is served again when it has taken what was read for it, so that a slow client
holds up nobody and nothing piles up. Notifications only shorten the pause between two looks.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from streamworkers.api.problem import Problem
from streamworkers.database import Connection, wait_for_notify
from streamworkers.engine.ledger import run_events
from streamworkers.engine.ledger.durability import wait_for_commits
from streamworkers.engine.ledger.run_events import LedgerEventPage, Position

LOOK_SECONDS = 1.0
PACE_SECONDS = 0.02
MOST_EVENTS = 100
_RETRY_SECONDS = 5
_LISTEN_SECONDS = 0.5


class Follower:
    """One request that follows a run. It belongs to the event loop, but for `is_hungry`, which the feed clears."""

    def __init__(self, position: Position, wake: Callable[[], None]) -> None:
        self.position = position
        self._wake = wake
        self.is_hungry = True
        self._loop = asyncio.get_running_loop()
        self._waiting: asyncio.Future[None] | None = None
        self._page: LedgerEventPage | None = None
        self._is_ended = False

    async def wait(self, seconds: float, gone: "asyncio.Future[Any]") -> LedgerEventPage | None:
        """Return the next events; None if there are none within `seconds`, or at the end of the client or the feed."""
        if self._page is None and not self._is_ended:
            self._waiting = self._loop.create_future()
            await asyncio.wait([self._waiting, gone], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        page, self._page = self._page, None
        if page is not None:
            if page.events:
                self.position = Position(self.position.run_id, page.events[-1].seq)
            self.is_hungry = not page.is_over
            self._wake()  # there may be more, and what has notified meanwhile was not read for it
        return page

    @property
    def is_ended(self) -> bool:
        """True when the process stops: the client has to come again."""
        return self._is_ended

    def offer(self, page: LedgerEventPage) -> None:
        """Give it what was read; from any thread."""
        self._post(page)

    def end(self) -> None:
        """Let it end; from any thread."""
        self._post(None)

    def _post(self, page: LedgerEventPage | None) -> None:
        with suppress(RuntimeError):  # the event loop has ended, and its followers with it
            self._loop.call_soon_threadsafe(self._take, page)

    def _take(self, page: LedgerEventPage | None) -> None:
        self._page, self._is_ended = page or self._page, self._is_ended or page is None
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


class EventFeed:
    """All followers of a process. `notifies` says whether somebody listens, so that runs are to notify."""

    def __init__(self, connect: Callable[[], Connection], most: int, *, notifies: bool) -> None:
        self._connect, self._most, self._notifies = connect, most, notifies
        self._lock = threading.Lock()
        self._followers: set[Follower] = set()
        self._wake_requested = threading.Event()
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._followers)

    @contextmanager
    def following(self, position: Position) -> Iterator[Follower]:
        """Follow a run for a block. Raises Problem 503 if the process ends, or has as many followers as it may."""
        with self._lock:
            if self._is_closed or len(self._followers) >= self._most:
                text = f"{len(self._followers)} requests follow runs here, and no more may now"
                raise Problem(503, "busy", text, headers={"Retry-After": str(_RETRY_SECONDS)})
            follower = Follower(position, self.wake)
            self._followers.add(follower)
        self.wake()
        try:
            yield follower
        finally:
            with self._lock:
                self._followers.discard(follower)

    def wake(self) -> None:
        """Look for events at once."""
        self._wake_requested.set()

    def close(self) -> None:
        """End all followers, and admit none."""
        with self._lock:
            self._is_closed = True
            for follower in self._followers:
                follower.end()
        self.wake()

    def work(self, keep_going: Callable[[], bool]) -> None:
        """Serve followers on one connection, opened for the first one, until `keep_going()` is false or it is lost."""
        while not self._followers:
            if not keep_going() or self._is_closed:
                time.sleep(PACE_SECONDS)
                return
            self._wake_requested.wait(LOOK_SECONDS)
        with self._connect() as connection:
            while keep_going() and not self._is_closed:
                self._wake_requested.clear()
                self._serve(connection)
                time.sleep(PACE_SECONDS)
                self._wake_requested.wait(LOOK_SECONDS)

    def _serve(self, connection: Connection) -> None:
        with self._lock:
            hungry = [follower for follower in self._followers if follower.is_hungry]
        if not hungry:
            return
        positions = [follower.position for follower in hungry]
        if self._notifies:
            # First: what is committed before is read now, and what is committed after it notifies.
            run_events.mark_followed(connection, sorted({position.run_id for position in positions}))
        pages = run_events.read_events(connection, positions, MOST_EVENTS)
        if any(page.events for page in pages):
            # Some commits are lazy. An event that a crash of PostgreSQL takes back must not have been seen.
            wait_for_commits(connection)
        self._offer(hungry, pages)

    def _offer(self, followers: Sequence[Follower], pages: Sequence[LedgerEventPage]) -> None:
        for follower, page in zip(followers, pages, strict=True):
            if page.events or page.is_over:
                follower.is_hungry = False
                follower.offer(page)


def follow_notifications(
    connect: Callable[[], Connection], wake: Callable[[], None], keep_going: Callable[[], bool]
) -> None:
    """Call `wake` for each commit with events of followed runs, until `keep_going()` is false or all is lost."""
    with connect() as connection:
        connection.execute(f"LISTEN {run_events.RUN_EVENTS_NOTIFY}")
        wake()
        while keep_going():
            if wait_for_notify(connection, _LISTEN_SECONDS):
                wake()
