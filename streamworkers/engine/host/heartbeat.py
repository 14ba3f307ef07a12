"""Records in PostgreSQL that a supervisor or scheduler is alive, so that one that goes silent is missed."""

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import psutil
import psycopg
from psycopg_pool import ConnectionPool, PoolTimeout

from streamworkers.database import Connection
from streamworkers.engine.host.loop import Loop
from streamworkers.engine.ledger.processes import (
    ProcessRecord,
    forget_process,
    read_processes,
    record_process,
)
from streamworkers.faults import describe
from streamworkers.logger import get_logger

log = get_logger()
BEAT_SECONDS = 10.0


class ProcessHeartbeat(Loop):
    """Keeps the row of this process in `processes` up to date, and deletes it when the loop is stopped."""

    def __init__(
        self, pool: "ConnectionPool[Connection]", kind: str, process_id: str, doing: Callable[[], dict[str, Any]]
    ) -> None:
        super().__init__("heartbeat")
        self._pool = pool
        self._kind = kind
        self._id = process_id
        self._doing = doing
        self._started_at = datetime.now(UTC)
        self._is_first = True

    @property
    def longest_pause_seconds(self) -> float:
        """The pause between two beats."""
        return BEAT_SECONDS

    def run(self) -> None:
        """Beat until stopped, then delete the row; if PostgreSQL is away, the process counts as silent."""
        super().run()
        try:
            with self._pool.connection() as connection:
                forget_process(connection, self._id)
        except (psycopg.Error, PoolTimeout) as error:
            log.info("process_not_forgotten", process=self._id, error=describe(error))

    def turn(self) -> None:
        """Record that this process is alive, and pause until it is woken, because what it does has changed."""
        with self._pool.connection() as connection:
            if self._is_first:
                _forget_predecessors(connection, self._kind)
                self._is_first = False
            self.beat(connection)
        self.succeeded()
        if self._wake_requested.wait(BEAT_SECONDS) and not self._stop_requested.is_set():
            self._wake_requested.clear()

    def beat(self, connection: Connection) -> None:
        """Record what this process does now."""
        record_process(connection, self._describe())

    def _describe(self) -> ProcessRecord:
        doing = self._doing()
        return ProcessRecord(
            self._id,
            self._kind,
            socket.gethostname(),
            os.getpid(),
            version("streamworkers"),
            self._started_at,
            doing,
            trouble=_find_trouble([each.fault.text for each in self.faults.own()], doing),
        )


def _forget_predecessors(connection: Connection, kind: str) -> None:
    """Forget silent processes of this host that do not exist any more: they were killed."""
    for process in read_processes(connection):
        if process.host != socket.gethostname() or process.kind != kind:
            continue
        if process.pid == os.getpid() or (process.is_silent and not psutil.pid_exists(process.pid)):
            forget_process(connection, process.id, "it was killed")


def _find_trouble(faults: Sequence[str], doing: Mapping[str, Any]) -> str | None:
    """What a process suffers from: a fault of a store, a loop that keeps failing, or an error that it names."""
    failing = [f"{each['who']} keeps failing: {each['text']}" for each in doing.get("failing", ())]
    named = [str(doing["error"])] if doing.get("error") else []
    return next(iter([*faults, *failing, *named]), None)
