"""What keeps the loops and workers of one process from working now: logged once, shown by readiness and metrics."""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from streamworkers.engine.redis.heartbeats import FaultStatus
from streamworkers.errors import FaultKind, Store
from streamworkers.faults import Fault
from streamworkers.logger import get_logger

log = get_logger()
LOG_AGAIN_SECONDS = 60.0
# A fault that comes and goes is not logged more often than this.
LOG_PAUSE_SECONDS = 5.0
_MOST_NAMES = 5


@dataclass(frozen=True, slots=True)
class StandingFault:
    """A fault, the loop or worker that it stops, and since when, in Unix seconds."""

    who: str
    fault: Fault
    since: float

    def as_status(self) -> FaultStatus:
        """The fault as a heartbeat carries it."""
        store, kind, text = self.fault
        return FaultStatus(self.who, store, kind, text, round(self.since, 3))


class FaultBoard:
    """The faults that stand now, by whom they stop. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: dict[str, StandingFault] = {}
        self._logged_at: dict[str, float] = {}
        self._sources: list[Callable[[], Iterable[StandingFault]]] = []

    def add_source(self, source: Callable[[], Iterable[StandingFault]]) -> None:
        """Let the board show the faults that a function returns, too."""
        self._sources.append(source)

    def record(self, who: str, fault: Fault) -> None:
        """Note that a fault stops somebody, still or again."""
        now = time.time()
        with self._lock:
            before = self._faults.get(who)
            is_same = before is not None and before.fault[:2] == fault[:2]
            since = before.since if before is not None and is_same else now
            self._faults[who] = StandingFault(who, fault, since)
            logged_at = self._logged_at.get(who, float("-inf"))
            if now - logged_at < (LOG_PAUSE_SECONDS if logged_at < since else LOG_AGAIN_SECONDS):
                return
            self._logged_at[who] = now
        log.warning("store_fault", who=who, store=str(fault.store), kind=str(fault.kind), error=fault.text)

    def clear(self, who: str) -> None:
        """Note that nothing stops somebody any more."""
        if who not in self._faults:
            return
        with self._lock:
            ended = self._faults.pop(who, None)
            logged_at = self._logged_at.get(who, float("-inf"))
        if ended is not None and logged_at >= ended.since:
            store, kind, _ = ended.fault
            seconds = round(time.time() - ended.since, 1)
            log.info("store_fault_ended", who=who, store=str(store), kind=str(kind), seconds=seconds)

    def own(self) -> list[StandingFault]:
        """The faults of the process's own loops, the oldest first."""
        with self._lock:
            return sorted(self._faults.values(), key=lambda standing: standing.since)

    def standing(self) -> list[StandingFault]:
        """All faults, those of the sources included."""
        return self.own() + [standing for source in self._sources for standing in source()]


def list_troubles(probed: Sequence[Fault | None], standing: Iterable[StandingFault]) -> list[str]:
    """What to say of faults: a line for each store and kind, first for those that a probe has just found."""
    lines = {fault[:2]: fault.text for fault in probed if fault is not None}
    groups: dict[tuple[Store, FaultKind], list[StandingFault]] = {}
    for each in standing:
        groups.setdefault(each.fault[:2], []).append(each)
    for key, group in groups.items():
        if key not in lines:
            lines[key] = f"{group[0].fault.text} ({_name_all(group)})"
    return list(lines.values())


def _name_all(group: Sequence[StandingFault]) -> str:
    names = [each.who for each in group]
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    seconds = max(0.0, time.time() - min(each.since for each in group))
    return f"{', '.join(names[:_MOST_NAMES])}{more}, for {seconds:.0f} s"
