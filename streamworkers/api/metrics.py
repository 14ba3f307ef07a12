"""The metrics of an API process: rate, errors and duration by route, and what limits it; each of few values."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

# Problems that are counted from 0 on, because somebody has to act on them; of others a series begins with the first.
_WATCHED = (
    *("unauthorized", "forbidden", "too-many-attempts", "too-many-requests"),
    *("busy", "unavailable", "time-limit", "locked", "internal"),
)
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class ApiMetrics:
    """What one API process has answered. A route is the path with its parameters' names, not their values."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        build = Gauge(
            "streamworkers_build_info", "Always 1; the label is the version", ("version",), registry=self.registry
        )
        build.labels(version("streamworkers")).set(1)
        self._requests = Counter(
            "streamworkers_api_requests",
            "Requests to the HTTP API answered, by method, route and status",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self._followers = Gauge(
            "streamworkers_api_followers",
            "Requests that follow the events of runs now",
            registry=self.registry,
        )
        self._seconds = Histogram(
            "streamworkers_api_request_duration_seconds",
            "Duration of requests to the HTTP API",
            ("method", "route"),
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._problems = Counter(
            "streamworkers_api_problems",
            "Requests to the HTTP API that were not answered as asked, by the code of the problem",
            ("code",),
            registry=self.registry,
        )
        self._in_progress = Gauge(
            "streamworkers_api_requests_in_progress",
            "Requests to the HTTP API that are worked on or wait for that",
            registry=self.registry,
        )
        self._most_at_once = Gauge(
            "streamworkers_api_most_requests_at_once",
            "Requests to the HTTP API that the process works on at once; more wait, at most for a second",
            registry=self.registry,
        )

    def watch_followers(self, count: Callable[[], float]) -> None:
        """Read the number of requests that follow runs when it is asked for."""
        self._followers.set_function(count)

    def begin_at_zero(self, routes: list[tuple[str, str]]) -> None:
        """Create the series of these methods and routes at 0: rate() misses the first count of a new series."""
        for method, route in routes:
            self._seconds.labels(method, route)
            for status in ("200", "500", "503"):
                self._requests.labels(method, route, status)
        for code in _WATCHED:
            self._problems.labels(code)

    def set_most_at_once(self, requests: int) -> None:
        """Say on how many requests the process works at once."""
        self._most_at_once.set(requests)

    def in_progress(self) -> AbstractContextManager[None]:
        """Count a request as worked on until the block ends."""
        return self._in_progress.track_inprogress()

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def count_problem(self, code: str) -> None:
        """Count a request that was not answered as asked."""
        self._problems.labels(code).inc()
