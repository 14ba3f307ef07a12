"""Derives figures and violations from the evidence of a chaos run."""

import statistics
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from chaos.evidence import Evidence, Execution, ItemKey
from chaos.listener import Listener
from chaos.plan import MESSY, POISON, Plan
from chaos.stage import GRACE_SECONDS, Incident, Record
from patience import patient

_SERVICES = ("redis_", "postgres_")
_REASONS_OF_FAULTS = ("lease ran out after", "killed by signal 9", "timeout after", "worker exited with code 70")
_CLOCK_SECONDS = 2.0
# The longest time that a worker may spend on one batch.
_BATCH_SECONDS = 15.0
_MOST_FILES_MORE = 25


@dataclass(frozen=True, slots=True)
class Leaks:
    """What was left after everything had ended."""

    keys: tuple[str, ...] = ()
    entries: int = 0
    consumers: tuple[str, ...] = ()
    processes: tuple[str, ...] = ()
    connections: int = 0


@dataclass
class Verdict:
    """Figures by name, recovery times by kind of fault, and violations with the histories of their items."""

    figures: dict[str, str | int] = field(default_factory=dict)
    faults: dict[str, list[float]] = field(default_factory=dict)
    lost: list[ItemKey] = field(default_factory=list)
    doubled: list[ItemKey] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    histories: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """True if no guarantee was broken."""
        return not (self.lost or self.doubled or self.violations)


class Judge:
    """Judges the evidence of one chaos run."""

    def __init__(self, plan: Plan, record: Record, evidence: Evidence, clock_offset: float) -> None:
        self._plan = plan
        self._record = record
        self._evidence = evidence
        # The monotonic clock plus this is the wall clock.
        self._offset = clock_offset
        self.verdict = Verdict()

    def judge_items(self) -> None:
        """Lost and doubled work, and the end of each item."""
        evidence, verdict = self._evidence, self.verdict
        for key, item in evidence.items.items():
            effects = len(evidence.effects.get(key, []))
            if item.status in ("pending", "retrying") or (item.status == "completed" and effects == 0):
                verdict.lost.append(key)
            if effects > 1 or (effects == 1 and item.status in ("failed", "cancelled")):
                verdict.doubled.append(key)
        self._judge_enqueues()
        executions = [execution for group in evidence.executions.values() for execution in group]
        verdict.figures |= {
            "runs": len(self._record.runs),
            "items": len(evidence.items),
            "executions": len(executions),
            "executions cut short": sum(execution.ended is None for execution in executions),
            "lost": len(verdict.lost),
            "effects doubled": len(verdict.doubled),
        }
        self._judge_deaths()
        self._explain([*verdict.lost, *verdict.doubled])
        if evidence.open_runs:
            verdict.violations.append(f"runs still open: {evidence.open_runs}")

    def _judge_enqueues(self) -> None:
        symbols: dict[int, set[str]] = {}
        for (run_id, _), item in self._evidence.items.items():
            symbols.setdefault(run_id, set()).add(item.symbol)
        for enqueue in self._plan.enqueues:
            run_id = self._record.runs.get(enqueue.key, -1)
            if symbols.pop(run_id, None) != set(enqueue.symbols):
                self.verdict.violations.append(f"run {run_id} of {enqueue.key} has not the items that were enqueued")
        if self._plan.enqueues and symbols:
            self.verdict.violations.append(f"runs that nobody enqueued, or twice: {sorted(symbols)}")

    def _judge_deaths(self) -> None:
        verdict, reasons = self.verdict, Counter[str]()
        wrong: list[ItemKey] = []
        poisonous = [item for item in self._evidence.items.values() if item.word in POISON]
        for item in self._evidence.items.values():
            error = item.error or ""
            if item.word not in POISON and item.status == "failed":
                wrong.append(item.key)
                verdict.violations.append(f"innocent item {item.key} {item.symbol} is dead: {error}")
            elif item.word in POISON and item.status in ("completed", "cancelled"):
                wrong.append(item.key)
                verdict.violations.append(f"poisonous item {item.key} {item.symbol} is {item.status}")
            elif item.word in POISON:
                reasons["own" if error.startswith(POISON[item.word]) else "fault"] += 1
                if not error.startswith((POISON[item.word], *_REASONS_OF_FAULTS)):
                    wrong.append(item.key)
                    verdict.violations.append(f"poisonous item {item.key} {item.symbol} died of {error!r}")
        self._explain(wrong)
        verdict.figures |= {
            "poisonous items": len(poisonous),
            "dead for their own reason": reasons["own"],
            "dead for the reason of a fault that hit their last attempt": reasons["fault"],
            "items judged wrongly": len(wrong),
        }
        verdict.figures["items that leave a mess or a child behind, completed"] = sum(
            item.word in MESSY and item.status == "completed" for item in self._evidence.items.values()
        )
        self._judge_deliveries(item.key for item in poisonous if item.word in ("KILL", "HANG", "EXIT0"))

    def _judge_deliveries(self, keys: Iterable[ItemKey]) -> None:
        """An item that ends its process: at most `max_attempts` executions and one in a batch, apart from faults."""
        most = 0
        attempts = {self._record.runs[enqueue.key]: enqueue.max_attempts for enqueue in self._plan.enqueues}
        for key in keys:
            executions = self._evidence.executions.get(key, [])
            by_fault = sum(self._cut_by(execution) is not None for execution in executions)
            by_fault += len(self._evidence.added_again.get(key[0], [])) * attempts[key[0]]
            lives = 2 if key in self._record.replayed else 1
            own = len(executions) - by_fault
            if lives == 1:
                most = max(most, own)
            if own > lives * (attempts[key[0]] + 1):
                self.verdict.violations.append(f"poisonous item {key} was executed {len(executions)} times")
                self._explain([key])
        self.verdict.figures["most executions of an item that ends its process, without those that faults ended"] = most

    def judge_reclaims(self) -> None:
        """Items that a second process started while the first was still executing them, by cause."""
        causes = Counter[str]()
        for key, executions in self._evidence.executions.items():
            for first, second in pairwise(executions):
                if first.ended is None or second.began >= first.ended or first.pid == second.pid:
                    continue
                cause = self._why_taken(key, first, second)
                causes[cause] += 1
                if cause == "unexplained":
                    self.verdict.violations.append(f"item {key} was taken from a live and healthy holder")
                    self._explain([key])
        self.verdict.figures["taken from a live holder"] = sum(causes.values())
        for cause in ("holder stopped", "Redis away or emptied", "added again", "unexplained"):
            self.verdict.figures[f"… {cause}"] = causes[cause]

    def _why_taken(self, key: ItemKey, first: Execution, second: Execution) -> str:
        since = first.began - 2 * self._plan.lease_seconds - patient(_BATCH_SECONDS)
        before = [i for i in self._record.incidents if i.began <= second.began and i.ended >= since]
        # A stopped worker loses its entries, and continues with its batch when it is continued.
        if any(i.kind.startswith("stop_") and i.pids & {first.pid, second.pid} for i in before):
            return "holder stopped"
        if any(at <= second.began + self._offset for at in self._evidence.added_again.get(key[0], [])):
            return "added again"
        if any(incident.kind.startswith("redis_") for incident in before):
            return "Redis away or emptied"
        return "unexplained"

    def judge_times(self) -> None:
        """Redelivery after a holder's death, and recovery after each kind of fault."""
        figures, lease = self.verdict.figures, self._plan.lease_seconds
        figures["lease"] = f"{lease:g} s"
        deaths = {
            kind: [incident for incident in self._record.incidents if incident.kind == kind]
            for kind in ("kill_worker", "kill_supervisor")
        }
        figures["requeued after a worker's death"] = spread(self._requeues(deaths["kill_worker"]))
        figures["reclaimed after a supervisor's death"] = spread(self._reclaimed(deaths["kill_supervisor"]))
        figures["executed again after a worker's death"] = spread(self._redeliveries(deaths["kill_worker"]))
        figures["executed again after a supervisor's death"] = spread(self._redeliveries(deaths["kill_supervisor"]))
        # What was replayed had been closed before, and nobody recorded when.
        once = [item for item in self._evidence.items.values() if item.key not in self._record.replayed]
        updates = sorted(item.finished for item in once if item.finished is not None)
        creations = sorted(item.created for item in once)
        for incident in sorted(self._record.incidents, key=lambda incident: incident.kind):
            times = self.verdict.faults.setdefault(incident.kind, [])
            index = bisect_right(updates, incident.ended_wall)
            if index < len(updates) and bisect_left(creations, incident.ended_wall) > index:
                times.append(updates[index] - incident.ended_wall)

    def judge_events(self, listener: Listener) -> None:
        """Compares received events with those written in the transactions of the effects."""
        received, written, slack = listener.received, self._evidence.events, patient(_CLOCK_SECONDS)
        disconnected = [(begin - slack, end + slack) for begin, end in listener.disconnected]
        missed = [at for event, at in written.items() if event not in received]
        missing = [at for at in missed if at is None or not any(begin <= at <= end for begin, end in disconnected)]
        unknown = len(received.keys() - written.keys())
        self.verdict.figures |= {
            "events written": len(written),
            "events received": len(received),
            "… received again": received.total() - len(received),
            "… published while the listener had no connection": len(missed) - len(missing),
            "… lost": len(missing),
        }
        if missing or unknown or self._evidence.events_waiting:
            self.verdict.violations.append(
                f"events: {len(missing)} lost, {unknown} unknown, {self._evidence.events_waiting} left"
            )

    def judge_ends(self, leaks: Leaks, open_files: Mapping[int, Sequence[int]], alive: Iterable[int]) -> None:
        """The ends of supervisors after SIGTERM, and what was left after all had ended."""
        verdict, goodbyes = self.verdict, self._record.goodbyes
        for goodbye in goodbyes:
            away = self._service_was_away(goodbye.at - goodbye.seconds, goodbye.at)
            if goodbye.code != 0 or (goodbye.seconds > patient(GRACE_SECONDS) and not away):
                verdict.violations.append(f"after SIGTERM: code {goodbye.code} after {goodbye.seconds:.1f} s")
        verdict.violations += self._record.unexpected
        files = [(counts[0], max(counts[-3:])) for pid in alive if (counts := open_files.get(pid))]
        verdict.figures |= {
            "supervisors ended by SIGTERM": len(goodbyes),
            "… longest": f"{max((goodbye.seconds for goodbye in goodbyes), default=0):.1f} s",
            "open files of the last supervisors, first and last look": " ".join(f"{a}→{b}" for a, b in files),
            "Redis keys, entries, consumers left": f"{len(leaks.keys)}, {leaks.entries}, {len(leaks.consumers)}",
            "processes, connections left": f"{len(leaks.processes)}, {leaks.connections}",
        }
        if leaks != Leaks():
            verdict.violations.append(f"left behind: {leaks}")
        if any(last - first > _MOST_FILES_MORE for first, last in files):
            verdict.violations.append(f"supervisors keep opening files: {files}")

    def _service_was_away(self, begin: float, end: float) -> bool:
        return any(
            incident.kind.startswith(_SERVICES) and incident.began <= end and incident.ended >= begin - patient(10)
            for incident in self._record.incidents
        )

    def _requeues(self, deaths: Iterable[Incident]) -> list[float]:
        """Seconds from each worker's death until its supervisor had requeued its entries."""
        requeued = self._evidence.requeued
        return [requeued[pid] - death.ended_wall for death in deaths for pid in death.pids if pid in requeued]

    def _reclaimed(self, deaths: Iterable[Incident]) -> list[float]:
        """Seconds from the death of each supervisor with entries until expired leases were next reclaimed."""
        waits = []
        for death in deaths:
            later = [at for at in self._evidence.reclaimed if at >= death.ended_wall]
            if later and any(True for _ in self._cut_in(death)):
                waits.append(later[0] - death.ended_wall)
        return waits

    def _redeliveries(self, deaths: Iterable[Incident]) -> list[float]:
        """Seconds from each death to the next execution of the item that was being executed."""
        return [following.began - death.began for death in deaths for following in self._cut_in(death)]

    def _cut_in(self, death: Incident) -> Iterable[Execution]:
        """The next execution of each item that the dead processes were executing."""
        for executions in self._evidence.executions.values():
            for cut, following in pairwise(executions):
                if cut.ended is None and cut.pid in death.pids and following.began >= death.began >= cut.began:
                    yield following

    def _cut_by(self, execution: Execution) -> Incident | None:
        """The fault that ended or stopped the process of an execution."""
        until = execution.ended if execution.ended is not None else float("inf")
        for incident in self._record.incidents:
            if execution.pid in incident.pids and execution.began <= incident.ended and incident.began <= until:
                return incident
        return None

    def _explain(self, keys: Iterable[ItemKey]) -> None:
        for key in keys:
            self.verdict.histories += self._evidence.history(key)


def spread(seconds: Sequence[float]) -> str:
    """Median, 95th percentile and maximum, with the number of values."""
    if not seconds:
        return "none seen"
    ordered = sorted(seconds)
    high = ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))]
    return f"p50 {statistics.median(ordered):.2f} s, p95 {high:.2f} s, max {ordered[-1]:.2f} s ({len(ordered)})"
