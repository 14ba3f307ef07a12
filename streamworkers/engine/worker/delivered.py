"""Decodes delivered entries, and reads their runs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from streamworkers.config import Settings
from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.job import JobParameters
from streamworkers.engine.ledger import Run
from streamworkers.engine.redis.entry import Entry, NewerEntryError, unpack_entry
from streamworkers.engine.redis.queue import Delivery
from streamworkers.engine.worker.commit import BatchCommitter
from streamworkers.errors import BadInputError
from streamworkers.logger import get_logger

log = get_logger()
OTHER_RELEASE_SECONDS = 10.0
_RUN_CACHE_SIZE = 64


@dataclass(frozen=True, slots=True)
class DeliveredEntries:
    """Keeps the runs that were read last; `parameters` are those of them that were validated."""

    settings: Settings
    committer: BatchCommitter
    parameters: dict[int, JobParameters] = field(default_factory=dict)
    _runs: dict[int, Run] = field(default_factory=dict)

    def decode(self, connection: Connection, deliveries: Sequence[Delivery]) -> list[tuple[Run, list[Entry]]]:
        """Return the entries of each run; malformed ones are rejected, those of a newer release deferred."""
        by_id = {delivery.entry_id: delivery for delivery in deliveries}
        groups = self._unpack(connection, deliveries)
        runs = self._load_runs(connection, dict.fromkeys(run_id for _, run_id in groups))
        found = []
        for (queue, run_id), entries in groups.items():
            run = runs.get(run_id)
            unknown = [entry for entry in entries if run is None or run.queue != queue or run.job != entry.job]
            if unknown:
                reason = f"there is no run {run_id} of job {unknown[0].job!r} in queue {queue!r}"
                self.committer.reject(connection, [by_id[entry.entry_id] for entry in unknown], reason)
            if run is not None:
                found.append((run, [entry for entry in entries if entry not in unknown] if unknown else entries))
        return found

    def _unpack(self, connection: Connection, deliveries: Sequence[Delivery]) -> Mapping[tuple[str, int], list[Entry]]:
        groups: dict[tuple[str, int], list[Entry]] = {}
        for delivery in deliveries:
            try:
                entry = unpack_entry(delivery.packed, self.settings.entry_max_bytes, delivery.entry_id)
            except NewerEntryError as error:
                log.warning("entry_deferred", queue=delivery.queue, entry=delivery.entry_id, reason=str(error))
                self.committer.defer_unread(delivery, OTHER_RELEASE_SECONDS)
            except BadInputError as error:
                self.committer.reject(connection, [delivery], str(error))
            else:
                groups.setdefault((delivery.queue, entry.run_id), []).append(entry)
        return groups

    def _load_runs(self, connection: Connection, run_ids: Iterable[int]) -> dict[int, Run]:
        known = {run_id: self._runs[run_id] for run_id in run_ids if run_id in self._runs}
        unknown = [run_id for run_id in run_ids if run_id not in known]
        if not unknown:
            return known
        loaded = ledger.load_runs(connection, unknown)
        if pending := [run.id for run in loaded.values() if run.status == "PENDING"]:
            ledger.mark_running(connection, pending)
        self._runs.update(loaded)
        while len(self._runs) > _RUN_CACHE_SIZE:
            oldest = next(iter(self._runs))
            del self._runs[oldest]
            self.parameters.pop(oldest, None)
        return known | loaded
