"""What a run has found out about its provider: days that are not there yet, where history begins, why it stops.

All batches of a run share these notes, so that each is found out by one call. They are kept among the checkpoints.
"""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import TypeVar

import msgspec
import psycopg

from streamworkers.loading.checkpoints import CheckpointPage, delete_checkpoints, read_notes, write_checkpoint

T = TypeVar("T")
_PREFIX = "note:"


class NotYet(msgspec.Struct, frozen=True):
    """The bars of `day` are not there yet, as the provider answered first at `since`; it is asked again at `until`."""

    day: date
    since: datetime
    until: datetime
    reason: str


class Paused(msgspec.Struct, frozen=True):
    """The run waits since `at` for the end of the outage that began at `outage`."""

    outage: datetime
    at: datetime


@dataclass
class RunNotes:
    """The notes of one run, as they were when they were last read or written.

    `stopped` has the reason for which nothing more is requested, by timeframe. `next_call` is when a call for an answer
    that all items share may be made, which one of them waits for.
    """

    connection: psycopg.Connection
    run_id: int
    not_yet: NotYet | None = None
    history_from: date | None = None
    paused: Paused | None = None
    stopped: dict[str, str] = field(default_factory=dict)
    next_call: datetime | None = None

    def read(self) -> None:
        """Read the notes that other batches have written."""
        found = read_notes(self.connection, self.run_id, _PREFIX)
        self.not_yet = _decode(found, "not_yet", NotYet)
        self.history_from = _decode(found, "history", date)
        self.paused = _decode(found, "paused", Paused)
        self.stopped = _decode(found, "stopped", dict[str, str]) or {}
        self.next_call = _decode(found, "next_call", datetime)

    def write_not_yet(self, note: NotYet | None) -> None:
        """Note that a day is not there yet, or with None that it is."""
        self.not_yet = note
        self._write("not_yet", note)

    def write_next_call(self, moment: datetime) -> None:
        """Note when the next call for a shared answer may be made."""
        self.next_call = moment
        self._write("next_call", moment)

    def write_history(self, first: date) -> None:
        """Note where the history of the key's plan begins."""
        self.history_from = first
        self._write("history", first)

    def write_pause(self, outage: datetime) -> Paused:
        """Return since when the run waits for the end of an outage, which is noted the first time."""
        if self.paused is None or self.paused.outage != outage:
            self.paused = Paused(outage, datetime.now(UTC))
            self._write("paused", self.paused)
        return self.paused

    def write_stop(self, timeframe: str, reason: str) -> None:
        """Note that nothing more can be requested in a timeframe."""
        self.stopped = {**self.stopped, timeframe: reason}
        self._write("stopped", self.stopped)

    def reason_to_stop(self, timeframe: str) -> str | None:
        """Return why nothing more is requested in a timeframe, None if it is."""
        return self.stopped.get(timeframe)

    def _write(self, name: str, value: object) -> None:
        if value is None:
            delete_checkpoints(self.connection, self.run_id, [_PREFIX + name])
            return
        write_checkpoint(self.connection, self.run_id, _PREFIX + name, [CheckpointPage(msgspec.json.encode(value))])


def _decode(found: dict[str, bytes], name: str, kind: type[T]) -> T | None:
    packed = found.get(_PREFIX + name)
    return None if packed is None else msgspec.json.decode(packed, type=kind)
