"""Lets items through for which all limits of their job have room, and delays the others until it is expected.

An item that is delayed pays no attempt: its entry goes to the delayed set, as that of a snoozed one. Of a concurrency
limit it is woken when its turn has come, of a rate it has a slot; the time of its entry is for the case that this is
missed.
"""

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from streamworkers.config import Settings
from streamworkers.database import Connection
from streamworkers.engine.job import Job, JobParameters
from streamworkers.engine.ledger import Run
from streamworkers.engine.limits import ConcurrencyLimit, RateLimit, name_bucket, place_seconds
from streamworkers.engine.outcome import Failed
from streamworkers.engine.redis.entry import Entry
from streamworkers.engine.redis.lanes import list_lanes
from streamworkers.engine.redis.places import Bucket, Denial, HeldPlace, PlaceRequest
from streamworkers.engine.registry import Registry
from streamworkers.engine.worker.commit import BatchCommitter
from streamworkers.engine.worker.handler import fail_entry
from streamworkers.engine.worker.pace import Pacer, RateRequest
from streamworkers.engine.worker.preparing import ShouldStop
from streamworkers.engine.worker.session import call_user_code
from streamworkers.engine.worker.unfinished import Call
from streamworkers.logger import get_logger

log = get_logger()
# When an item looks again that nobody has woken: the first in line soon, those far behind it later.
FIRST_LOOK_SECONDS, LATEST_LOOK_SECONDS = 5.0, 600.0


class LimitedEntry(NamedTuple):
    """An entry with what it is counted under: the places that it needs, and the rates."""

    entry: Entry
    place: PlaceRequest
    rate: RateRequest


@dataclass(frozen=True, slots=True)
class LimitGate:
    """The gate of one consumer; `parameters` are those of runs that were validated before."""

    settings: Settings
    registry: Registry
    committer: BatchCommitter
    parameters: Mapping[int, JobParameters]
    pacer: Pacer
    rng: random.Random
    _held: dict[str, list[HeldPlace]] = field(default_factory=dict)

    def find_limits(self, call: Call, batch: Sequence[Entry]) -> tuple[list[LimitedEntry], dict[int, Failed]]:
        """Return the entries with what they are counted under, and by seq the failures of those whose key failed."""
        if any(limit.key for limit in call.job.limits):
            # The key is the job's code: the process may die of it as it may of the handler.
            entry_ids = [entry.entry_id for entry in batch]
            self.committer.reporter.call_started(call.run.queue, None, entry_ids, call.job.timeout_seconds)
        found, failures = [], {}
        for entry in batch:
            try:
                limited = call_user_code(call.connection, lambda entry=entry: _limit(call, entry))  # type: ignore[misc]
                found.append(limited)
            except SystemExit:
                raise
            except BaseException as error:  # noqa: BLE001  # not our code
                failures[entry.seq] = fail_entry(entry, error)
        return found, failures

    def admit(
        self, call: Call, entries: Sequence[LimitedEntry], should_stop: ShouldStop
    ) -> Iterator[Sequence[LimitedEntry]]:
        """Yield those that may be executed now, in parts; what was yielded gives its places back when it is resumed.

        Others of the delivery follow in the same places as long as a batch may take; then they are delayed.
        """
        until = time.monotonic() + self._batch_seconds(call)
        left, done = list(entries), list[LimitedEntry]()
        while left and not should_stop():
            granted, denied = self._take(call, left, done)
            done = []
            for part in self._pace(call, granted):
                yield part
                done += part
            left = [each for each, _ in denied]
            if denied and (not done or time.monotonic() >= until):
                self.leave(call.job, done)
                self._line_up(call, denied)
                return
        self.leave(call.job, done)

    def forget(self, connection: Connection, run: Run, entries: Sequence[Entry]) -> None:
        """Give back what is kept for entries whose items are closed, so that others get it at once."""
        if run.job not in self.registry or not (job := self.registry[run.job]).limits:
            return
        try:
            parameters = self.parameters.get(run.id) or job.parameters.model_validate(run.parameters)
            found = call_user_code(connection, lambda: [_find(run, job, parameters, entry) for entry in entries])
        except SystemExit:
            raise
        except BaseException:  # noqa: BLE001  # not our code; what is kept lapses by itself
            return
        self.leave(job, found)
        self.pacer.step_out([each.rate for each in found])

    def leave(self, job: Job[Any], entries: Sequence[LimitedEntry]) -> None:
        """Give back the places of entries, and wake who is next."""
        requests = [each.place for each in entries if each.place.buckets]
        if requests:
            self.committer.streams.places.leave(self.committer.consumer, requests, self._queues_of(job))
            self._report_held(leaving=entries)

    def _take(
        self, call: Call, wanted: Sequence[LimitedEntry], leaving: Sequence[LimitedEntry]
    ) -> tuple[list[LimitedEntry], list[tuple[LimitedEntry, Denial]]]:
        if not wanted[0].place.buckets:
            return list(wanted), []
        # Reported before, so that the supervisor knows of places that a worker took when it died.
        self._report_held(taking=wanted, leaving=leaving)
        answers = self.committer.streams.places.take(
            self.committer.consumer,
            round(place_seconds(call.job.timeout_seconds) * 1000),
            [each.place for each in wanted],
            [each.place for each in leaving],
            self._queues_of(call.job),
        )
        granted = [each for each, denial in zip(wanted, answers, strict=True) if denial is None]
        denied = [(each, denial) for each, denial in zip(wanted, answers, strict=True) if denial is not None]
        if denied:
            self._report_held(leaving=[each for each, _ in denied])
        return granted, denied

    def _report_held(self, taking: Sequence[LimitedEntry] = (), leaving: Sequence[LimitedEntry] = ()) -> None:
        """Tell the supervisor what this worker holds, of all calls that it has begun."""
        for each in leaving:
            self._held.pop(each.place.token, None)
        for each in taking:
            self._held[each.place.token] = [HeldPlace(each.place.token, bucket.name) for bucket in each.place.buckets]
        self.committer.reporter.places_held([place for places in self._held.values() for place in places])

    def _pace(self, call: Call, granted: Sequence[LimitedEntry]) -> Iterator[Sequence[LimitedEntry]]:
        """Yield what the rates let begin now; the rest is delayed until its slot."""
        rates = [limit for limit in call.job.limits if isinstance(limit, RateLimit)]
        if not rates:
            yield from [granted] if granted else ()
            return
        is_single = any(limit.per == "item" for limit in rates)
        parts = [[each] for each in granted] if is_single else [granted] if granted else []
        for number, part in enumerate(parts):
            if number and not self._still_holds(call, part):
                continue
            if not self.pacer.begin(part[0].rate):
                self._delay_until_slots(call, [each for later in parts[number:] for each in later], rates[0].name)
                return
            yield part

    def _still_holds(self, call: Call, part: Sequence[LimitedEntry]) -> bool:
        """Let the time of places begin again: those before have used some of it. False for one that was lost."""
        _, denied = self._take(call, part, ())
        if denied:
            self._line_up(call, denied)
        return not denied

    def _line_up(self, call: Call, denied: Sequence[tuple[LimitedEntry, Denial]]) -> None:
        """Delay entries for which there is no place, in the order of their turns."""
        delays = [(each.entry, self._look_again_seconds(denial)) for each, denial in denied]
        names = [denial.bucket.name.partition(":")[0] for _, denial in denied]
        self.committer.delay(call.run, delays, names)
        waiting = [each.place._replace(buckets=(denial.bucket,)) for each, denial in denied]
        self.committer.streams.places.wait(waiting, self._queues_of(call.job))

    def _look_again_seconds(self, denial: Denial) -> float:
        seconds = FIRST_LOOK_SECONDS * (1 + denial.before / denial.bucket.places)
        return min(seconds, LATEST_LOOK_SECONDS) * self.rng.uniform(1.0, 1.2)

    def _delay_until_slots(self, call: Call, late: Sequence[LimitedEntry], name: str) -> None:
        seconds = self.pacer.book([each.rate for each in late])
        self.leave(call.job, late)
        delays = [(each.entry, wait) for each, wait in zip(late, seconds, strict=True)]
        self.committer.delay(call.run, delays, [name] * len(delays))

    def _queues_of(self, job: Job[Any]) -> list[str]:
        """The lanes of all who may wait for a limit of the job."""
        return list_lanes(sorted({name for each in job.limits for name in self.registry.queues_of_limit(each.name)}))

    def _batch_seconds(self, call: Call) -> float:
        return self.registry.target_batch_seconds(call.job.queue, self.settings.target_batch_seconds)


def _limit(call: Call, entry: Entry) -> LimitedEntry:
    return _find(call.run, call.job, call.context.parameters, entry)


def _find(run: Run, job: Job[Any], parameters: Any, entry: Entry) -> LimitedEntry:
    """Return an entry with what it is counted under. Calls the job's keys, and raises what they raise."""
    names = {limit.name: name_bucket(limit, entry.item, parameters) for limit in job.limits}
    buckets = [Bucket(names[limit.name], limit.places) for limit in job.limits if isinstance(limit, ConcurrencyLimit)]
    rates = [(names[limit.name], limit) for limit in job.limits if isinstance(limit, RateLimit)]
    place = PlaceRequest(run.id, entry.seq, run.queue, entry.enqueued_ms, entry._replace(left_ms=0).pack(), buckets)
    return LimitedEntry(entry, place, RateRequest(place, rates))
