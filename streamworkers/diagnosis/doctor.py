"""Compares the ledger with Redis, says in plain words what is wrong, and mends what can be mended without a risk.

It is right on a running pool: what it finds may be on its way, so it looks twice, and only what is wrong both times
is a finding. What the pool puts right by itself while it runs is a note. Every fix is one that a service of the pool
would do, or a person with a command; each is safe to repeat and beside a pool at work.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

from streamworkers.config import Settings
from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.completion import complete_run
from streamworkers.engine.enqueue import finish_enqueue
from streamworkers.engine.ledger import Run, UnfinishedRun
from streamworkers.engine.ledger import reports as ledger_reports
from streamworkers.engine.redis.entry import NewerEntryError, unpack_entry
from streamworkers.engine.redis.queue import Delivery
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.engine.services.loss_check import add_missing, record_added
from streamworkers.engine.services.outbox_relay import OutboxRelay
from streamworkers.engine.services.queue_scan import QueueScan, split_for_scans
from streamworkers.errors import BadInputError

NOTE, WARNING, ERROR = "note", "warning", "error"
LATE_SECONDS = 60.0
SECOND_LOOK_SECONDS = 1.0
_RECLAIM_LIMIT = 100
_PROMOTE_LIMIT = 500
_RUN_PAGE = 1000
_DELAYED = "delayed"


class Kind(NamedTuple):
    """What a kind of finding means, what `--fix` does, and what is left for people; '' for nothing."""

    meaning: str
    fix: str
    by_hand: str


KINDS: Mapping[str, Kind] = {
    "stranded_items": Kind(
        "items are open in the ledger and nowhere in Redis, so no worker meets them",
        "adds their entries again",
        "",
    ),
    "entries_without_items": Kind(
        "entries are of closed items, of no run, or none of ours; workers drop them when they meet them",
        "only where nobody reads the queue: takes them out, and keeps in the ledger what belongs to no run",
        "while workers read the queue: nothing, they drop them",
    ),
    "dead_consumer": Kind(
        "a consumer's supervisor has no heartbeat; entries that it has pending wait for their lease to run out",
        "puts entries back whose lease ran out, and deletes the consumer when it has none",
        "wait until its leases have run out",
    ),
    "missing_group": Kind(
        "a stream has entries and no consumer group",
        "makes the group, from the first entry on",
        "",
    ),
    "unread_queue": Kind(
        "a queue has entries and no live supervisor reads it",
        "",
        "start `streamworkers worker`",
    ),
    "open_run_without_open_items": Kind(
        "a run is open and all its items are closed",
        "completes the run",
        "",
    ),
    "ended_run_with_open_items": Kind(
        "a run has ended and items of it are open",
        "cancels the items of a cancelled run; opens any other run again and enqueues them",
        "",
    ),
    "stale_count": Kind(
        "Redis counts open items of a run that has ended or never was",
        "forgets the count",
        "",
    ),
    "outbox_backlog": Kind(
        "events have waited in the outbox for more than a minute",
        "publishes them",
        "",
    ),
    "unknown_job": Kind(
        "an open run is of a job that no package installed here knows",
        "",
        "install the package here and at the workers, or `streamworkers runs cancel`",
    ),
    "unknown_queue": Kind(
        "entries are in a queue that no job installed here uses",
        "",
        "install the package whose job uses it, or cancel its runs and let `--fix` take the entries out",
    ),
    "leaked_key": Kind(
        "a key under the prefix is of no known kind, or has no TTL and should",
        "deletes heartbeats and service leases; live owners set them again",
        "find out what wrote it, then delete it",
    ),
    "overdue_delayed": Kind(
        "delayed entries should have been promoted more than a minute ago",
        "promotes them",
        "",
    ),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or, as a `note`, will be right by itself."""

    kind: str
    severity: str
    where: str
    what: str
    fix: Callable[[], object] | None = field(default=None, repr=False, compare=False)
    fixed: bool = False

    @property
    def is_wrong(self) -> bool:
        """True for what somebody has to do something about."""
        return self.severity != NOTE and not self.fixed

    @property
    def advice(self) -> str:
        """What was done, what `--fix` would do, or what is left to do."""
        kind = KINDS[self.kind]
        if self.fixed:
            return f"done: {kind.fix}" if self.fix else "gone"
        return f"--fix: {kind.fix}" if self.fix else kind.by_hand

    def as_dict(self) -> dict[str, Any]:
        """The finding as plain values."""
        names = ("kind", "severity", "where", "what", "advice", "fixed")
        return {name: getattr(self, name) for name in names}


class Doctor:
    """Examines the queues of all installed jobs and whatever else is under the prefix.

    `relay` publishes the outbox. The first look's scans are kept for the second: an item is stranded when both
    saw it nowhere.
    """

    def __init__(
        self, connection: Connection, streams: Streams, registry: Registry, relay: OutboxRelay, settings: Settings
    ) -> None:
        self._connection = connection
        self._streams = streams
        self._registry = registry
        self._relay = relay
        self._settings = settings
        self._first_look: list[QueueScan] = []

    def examine(self) -> list[Finding]:
        """What is wrong, seen twice, the worst first."""
        self._first_look = []
        first = self._look()
        if not first:
            return []
        time.sleep(SECOND_LOOK_SECONDS)
        seen = {(finding.kind, finding.where) for finding in first}
        findings = [finding for finding in self._look() if (finding.kind, finding.where) in seen]
        return sorted(findings, key=lambda finding: (ERROR, WARNING, NOTE).index(finding.severity))

    def mend(self, findings: Sequence[Finding]) -> list[Finding]:
        """Do what these findings say `--fix` would do, and look again: what is gone, then what is still wrong."""
        for finding in findings:
            if finding.fix:
                finding.fix()
        left = self.examine()
        still = {(finding.kind, finding.where) for finding in left}
        gone = [finding for finding in findings if (finding.kind, finding.where) not in still]
        return [replace(finding, fixed=True) for finding in gone] + left

    def _look(self) -> list[Finding]:
        scans: list[QueueScan] = []
        rows = ledger_reports.run_states(self._connection)
        queues = sorted(
            self._streams.inspector.list_queues() | set(self._registry.queues) | {row["queue"] for row in rows}
        )
        consumers = {queue: self._streams.inspector.read_consumers(queue) for queue in queues}
        live = {
            worker: set(supervisor.queues) for worker, supervisor in self._streams.inspector.read_heartbeats().items()
        }
        read = {queue for served in live.values() for queue in served}
        findings = self._look_at_runs(rows)
        for queue in queues:
            findings += self._look_at_queue(queue, queue in read)
            findings += self._look_at_consumers(queue, consumers[queue], set(live), queue in read)
            findings += self._look_at_entries(queue, queue in read, scans)
        passing = (self._streams.keys.supervisor(""), self._streams.keys.service_lease(""))
        for key in self._streams.inspector.find_leaked_keys():
            fix = partial(self._streams.delete_lasting, key) if key.startswith(passing) else None
            findings.append(Finding("leaked_key", WARNING, f"key {key}", "it stays for ever", fix))
        if late := ledger.count_late_events(self._connection, LATE_SECONDS):
            what = f"{late} events are older than {LATE_SECONDS:g} s"
            findings.append(Finding("outbox_backlog", WARNING, "outbox", what, self._publish))
        self._first_look = scans
        return findings

    def _look_at_runs(self, rows: Sequence[ledger_reports.Row]) -> list[Finding]:
        findings = []
        for row in rows:
            where = f"run {row['run_id']}"
            if not row["is_open"]:
                what = f"it is {row['status']}, and {row['open_count']} of its items are open"
                fix = partial(self._repair_ended, row["run_id"])
                findings.append(Finding("ended_run_with_open_items", ERROR, where, what, fix))
                continue
            if not row["open_count"]:
                what = f"it is {row['status']}, and none of its items is open"
                fix = partial(self._complete, row["run_id"])
                findings.append(Finding("open_run_without_open_items", WARNING, where, what, fix))
            if row["job"] not in self._registry:
                findings.append(Finding("unknown_job", WARNING, where, f"its job is {row['job']!r}"))
        return findings

    def _look_at_queue(self, queue: str, is_read: bool) -> list[Finding]:
        findings = []
        where = f"queue {queue}"
        backlog = self._streams.inspector.read_backlog(queue)
        entries = f"{backlog.waiting} entries wait, {backlog.pending} are pending, {backlog.delayed} are delayed"
        if backlog.waiting + backlog.pending and self._streams.inspector.read_last_delivered_ms(queue) is None:
            fix = partial(self._streams.queues.ensure_groups, [queue])
            findings.append(Finding("missing_group", WARNING, where, entries, fix))
        if backlog.waiting + backlog.pending + backlog.delayed and not is_read:
            kind = "unread_queue" if queue in self._registry.queues else "unknown_queue"
            findings.append(Finding(kind, ERROR, where, entries))
        if overdue := self._streams.inspector.count_overdue(queue, round(LATE_SECONDS * 1000)):
            what = f"{overdue} delayed entries are more than {LATE_SECONDS:g} s late"
            findings.append(Finding("overdue_delayed", ERROR, where, what, partial(self._promote, queue)))
        counted = self._streams.inspector.read_open_counts(queue)
        for run_id in sorted(counted.keys() - ledger.find_open_runs(self._connection, queue, list(counted))):
            what = f"Redis counts {counted[run_id]} open items of it in queue {queue}"
            what += "; a supervisor forgets them within a minute or so" if is_read else ""
            fix = partial(self._forget_count, queue, run_id)
            findings.append(Finding("stale_count", NOTE if is_read else WARNING, f"run {run_id}", what, fix))
        return findings

    def _look_at_consumers(
        self, queue: str, consumers: Mapping[str, int], live: set[str], is_read: bool
    ) -> list[Finding]:
        findings = []
        lease_ms = self._settings.lease_ms
        for consumer, pending in consumers.items():
            if consumer.rpartition(".")[0] in live:
                continue
            silences = self._streams.inspector.read_idle_ms(queue, consumer) if pending else []
            ended = sum(silence >= lease_ms for silence in silences)
            what = f"{pending} entries pending; the lease of {ended} has run out" if pending else "nothing pending"
            is_transient = is_read and max(silences, default=0) < 2 * lease_ms + 5000
            what += "; a live supervisor of the queue takes care of it" if is_transient else ""
            bury = partial(self._bury, queue, consumer) if ended or not pending else None
            where = f"consumer {consumer} of queue {queue}"
            findings.append(Finding("dead_consumer", NOTE if is_transient else WARNING, where, what, bury))
        return findings

    def _look_at_entries(self, queue: str, is_read: bool, scans: list[QueueScan]) -> list[Finding]:
        """Take scans of a queue for all its runs but those just enqueued."""
        findings = []
        runs = self._unfinished(queue)
        closed, others, foreign = 0, Counter[int](), 0
        for asked in split_for_scans(runs) if runs else [[]]:
            scan = QueueScan(self._streams, queue, [run for run, _ in asked], self._settings.entry_max_bytes)
            scan.finish()
            scans.append(scan)
            counts = {run.id: self._count_open(scan, run) for run, _ in asked}
            closed += sum(scan.count_seen(run_id) - held for run_id, (held, _) in counts.items())
            others, foreign = scan.other_runs, scan.malformed
            for earlier in self._first_look:
                scan.add_seen(earlier)
            for unfinished in asked:
                run = unfinished.run
                missing = counts[run.id][1] and self._count_open(scan, run)[1]
                if missing and self._is_left_alone(unfinished):
                    what = f"{missing} of its open items are nowhere in queue {queue}"
                    fix = partial(self._add_missing, scan, unfinished)
                    findings.append(Finding("stranded_items", ERROR, f"run {run.id}", what, fix))
        known = {run.id for run, _ in runs}
        known |= ledger.find_open_runs(self._connection, queue, list(others.keys() - known))
        ended = sum(count for run_id, count in others.items() if run_id not in known)
        return findings + self._strays_found(queue, is_read, closed, ended, foreign)

    def _strays_found(self, queue: str, is_read: bool, closed: int, ended: int, foreign: int) -> list[Finding]:
        if not closed + ended + foreign:
            return []
        what = (
            f"{closed} are of closed items of open runs, {ended} of runs that have ended or are not in the ledger,"
            f" {foreign} are none of ours"
        )
        if is_read:
            what += "; a few at a time are normal while workers run, which drop them"
            return [Finding("entries_without_items", NOTE, f"queue {queue}", what)]
        fix = partial(self._take_out_strays, queue)
        return [Finding("entries_without_items", WARNING, f"queue {queue}", what, fix)]

    def _unfinished(self, queue: str) -> list[UnfinishedRun]:
        """The open runs of a queue, but for those just enqueued."""
        before = ledger.read_moment_before(self._connection, self._settings.reconcile_seconds)
        runs: list[UnfinishedRun] = []
        while True:
            page = ledger.read_unfinished_runs(
                self._connection, queue, before, runs[-1].run.id if runs else 0, _RUN_PAGE
            )
            runs += page
            if len(page) < _RUN_PAGE:
                return runs

    def _count_open(self, scan: QueueScan, run: Run) -> tuple[int, int]:
        """How many of a run's open items a scan saw, and how many it did not."""
        counts = [0, 0]
        for item in ledger.iterate_open_items(self._connection, run):
            counts[0 if scan.has_seen(run.id, item.seq) else 1] += 1
        return counts[0], counts[1]

    def _is_left_alone(self, unfinished: UnfinishedRun) -> bool:
        """True when nobody enqueues a run or has done so since it was read from the ledger."""
        run_id = unfinished.run.id
        if not ledger.lock_enqueue(self._connection, run_id, wait=False):
            return False
        try:
            now = ledger.read_unfinished_run(self._connection, run_id)
            return now is not None and now.enqueued_ms == unfinished.enqueued_ms
        finally:
            ledger.unlock_enqueue(self._connection, run_id)

    def _add_missing(self, scan: QueueScan, unfinished: UnfinishedRun) -> None:
        total, last_seq = 0, -1
        while True:
            added, next_seq = add_missing(self._connection, self._streams, scan, unfinished, last_seq)
            total += added
            if next_seq is None:
                break
            last_seq = next_seq
        if total:
            record_added(self._connection, self._streams, unfinished.run)

    def _repair_ended(self, run_id: int) -> None:
        run = ledger.load_run(self._connection, run_id)
        if run is not None and ledger.repair_ended_run(self._connection, run):
            finish_enqueue(self._connection, self._streams, run, ledger.iterate_open_items(self._connection, run))

    def _complete(self, run_id: int) -> None:
        run = ledger.load_run(self._connection, run_id)
        if run is not None and run.is_open:
            complete_run(self._connection, self._streams, run)

    def _forget_count(self, queue: str, run_id: int) -> None:
        if not ledger.find_open_runs(self._connection, queue, [run_id]):
            self._streams.queues.set_open_count(queue, run_id, 0)

    def _bury(self, queue: str, consumer: str) -> None:
        cursor = "0-0"
        while True:
            cursor, _ = self._streams.leases.reclaim(queue, "doctor", self._settings.lease_ms, cursor, _RECLAIM_LIMIT)
            if cursor == "0-0":
                break
        self._streams.leases.remove_consumer(queue, consumer)

    def _promote(self, queue: str) -> None:
        while self._streams.queues.promote(queue, _PROMOTE_LIMIT)[0] == _PROMOTE_LIMIT:
            pass

    def _publish(self) -> None:
        while self._relay.run_once() == 0.0:
            pass

    def _take_out_strays(self, queue: str) -> None:
        """Do what a worker would do with entries without items, as long as no worker reads the queue."""
        if any(queue in set(supervisor.queues) for supervisor in self._streams.inspector.read_heartbeats().values()):
            return
        cursor = 0
        while True:
            cursor, members = self._streams.inspector.scan_delayed(queue, cursor)
            strays = self._strays([Delivery(queue, _DELAYED, packed) for packed in members])
            self._streams.queues.remove_entries(queue, [], [stray.packed for stray in strays])
            if cursor == 0:
                break
        after_id = "0-0"
        while page := self._streams.inspector.scan_stream(queue, after_id):
            self._streams.queues.remove_entries(queue, [stray.entry_id for stray in self._strays(page)], [])
            after_id = page[-1].entry_id

    def _strays(self, entries: Sequence[Delivery]) -> list[Delivery]:
        """Those that belong to no open item; what belongs to no run at all is kept in the ledger first."""
        strays: list[Delivery] = []
        strangers: dict[str, list[Delivery]] = {}
        by_run: dict[int, dict[int, list[Delivery]]] = {}
        for delivery in entries:
            try:
                entry = unpack_entry(delivery.packed, self._settings.entry_max_bytes)
            except NewerEntryError:
                continue
            except BadInputError as error:
                strangers.setdefault(str(error), []).append(delivery)
            else:
                by_run.setdefault(entry.run_id, {}).setdefault(entry.seq, []).append(delivery)
        for run_id, by_seq in by_run.items():
            run = ledger.load_run(self._connection, run_id)
            if run is None:
                strangers[f"there is no run {run_id}"] = [each for group in by_seq.values() for each in group]
                continue
            still_open = ledger.read_open_symbols(self._connection, run, list(by_seq))
            strays += [each for seq, group in by_seq.items() if seq not in still_open for each in group]
        for reason, deliveries in strangers.items():
            ledger.keep_rejected(self._connection, deliveries[0].queue, deliveries, reason)
            strays += deliveries
        return strays
