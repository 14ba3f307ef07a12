"""Notices schedulers of another installation that read the same messages: each entry would be read by one of both."""

import time

from psycopg_pool import ConnectionPool

from scheduler.message_inbox import MessageInbox
from streamworkers.database import Connection
from streamworkers.engine.ledger.processes import read_processes
from streamworkers.engine.redis.inbox import Messages
from streamworkers.logger import get_logger

log = get_logger()
ADVICE = "give each installation a STREAMWORKERS_MESSAGE_PREFIX of its own"

_ROUNDING = 0.01  # Redis counts milliseconds


class MessageNeighbours:
    """The consumers of the inboxes that no process of this database is.

    One that was killed, or has just started, looks like that too. So a consumer counts that has asked for entries after
    it was first seen.
    """

    def __init__(self, pool: "ConnectionPool[Connection]", messages: Messages) -> None:
        self._pool = pool
        self._messages = messages
        self._seen: dict[str, dict[str, float]] = {}
        self._standing: dict[str, list[str]] = {}

    def look(self, inbox: MessageInbox) -> None:
        """Compare the consumers of an inbox with the processes; logs a warning when the first of others is found."""
        stream, before = self._messages.full_name(inbox.stream), time.monotonic()
        idle = {each.name: each.idle_ms / 1000 for each in self._messages.list_consumers(inbox.stream, inbox.group)}
        with self._pool.connection() as connection:
            own = {process.id for process in read_processes(connection)}
        now, seen = time.monotonic(), self._seen.get(stream, {})
        others = idle.keys() - own
        found = sorted(name for name in others if name in seen and before - seen[name] > idle[name] + _ROUNDING)
        if found and not self._standing.get(stream):
            log.warning("messages_shared", stream=stream, readers=found, advice=ADVICE)
        self._seen[stream] = {name: seen.get(name, now) for name in others}
        self._standing[stream] = found

    def describe(self) -> list[str]:
        """Name each stream with its readers of another installation."""
        return [f"{stream} ({', '.join(names)})" for stream, names in sorted(self._standing.items()) if names]
