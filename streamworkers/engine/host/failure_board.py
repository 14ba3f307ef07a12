"""What keeps failing in one process by an error of its own, for which no store is at fault and which may never end."""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from streamworkers.engine.redis.heartbeats import FaultStatus

FAILING_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class StandingFailure:
    """The newest error of a loop that has failed ever since, in Unix seconds, and how many times."""

    who: str
    text: str
    since: float
    times: int = 1

    def as_status(self) -> FaultStatus:
        """The failure as a heartbeat carries it."""
        return FaultStatus(self.who, "", "error", self.text, round(self.since, 3))


class FailureBoard:
    """The loops whose turns fail, since their last success. Thread-safe."""

    def __init__(self, lasting_seconds: float = FAILING_SECONDS) -> None:
        self._lasting_seconds = lasting_seconds
        self._lock = threading.Lock()
        self._failures: dict[str, StandingFailure] = {}

    def record(self, who: str, text: str) -> None:
        """Note that a loop has failed, still or again."""
        with self._lock:
            before = self._failures.get(who)
            self._failures[who] = (
                StandingFailure(who, text, time.time())
                if before is None
                else replace(before, text=text, times=before.times + 1)
            )

    def clear(self, who: str) -> None:
        """Note that a loop has done its work."""
        if who in self._failures:
            with self._lock:
                self._failures.pop(who, None)

    def lasting(self) -> list[StandingFailure]:
        """The loops that keep failing: more than once, and for longer than one turn may; the oldest first."""
        now = time.time()
        with self._lock:
            found = [each for each in self._failures.values() if each.times > 1]
        lasting = [each for each in found if now - each.since >= self._lasting_seconds]
        return sorted(lasting, key=lambda each: each.since)

    def list_troubles(self) -> list[str]:
        """What to say of them, a line for each."""
        now = time.time()
        return [f"{each.who} has kept failing for {now - each.since:.0f} s: {each.text}" for each in self.lasting()]


class FailureCollector(Collector):
    """Tells at each scrape which loops keep failing."""

    def __init__(self, failures: FailureBoard, names: Callable[[], Iterable[str]]) -> None:
        self._failures = failures
        self._names = names

    def describe(self) -> tuple[GaugeMetricFamily]:
        """Return the metric without samples."""
        text = "1 for a loop that keeps failing by an error of its own, 0 for any other"
        return (GaugeMetricFamily("streamworkers_loops_failing", text, labels=("loop",)),)

    def collect(self) -> Iterable[Metric]:
        """Return the metric with current samples."""
        (family,) = self.describe()
        failing = {each.who for each in self._failures.lasting()}
        for name in dict.fromkeys(self._names()):
            family.add_metric((name,), float(name in failing))
        return [family]
