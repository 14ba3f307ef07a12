"""The series of API processes: requests of the desk's programs over a day, most of them answered."""

from collections.abc import Iterator

import numpy as np

from preview.evening.pool_series import of_every_process
from preview.evening.series import Clock, Series, State, Values, histogram

_PROCESSES = ("vm3:9104", "vm4:9104")
# The bounds of streamworkers/api/metrics.py.
_DURATIONS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
# Each route with its requests in an hour, and the median of their seconds.
_ROUTES = {
    ("GET", "/api/jobs/status"): (720, 0.006),
    ("GET", "/api/v1/runs"): (420, 0.009),
    ("GET", "/api/v1/runs/{run}"): (900, 0.004),
    ("GET", "/api/v1/runs/{run}/items"): (150, 0.014),
    ("GET", "/api/v1/results"): (260, 0.021),
    ("GET", "/stats"): (60, 0.11),
    ("POST", "/api/v1/runs"): (90, 0.012),
}
# Every so many requests of a route are answered with another status than the usual one.
_ODD = {"503": 700, "404": 160, "401": 240}
_CODES = {"503": "unavailable", "404": "not-found", "401": "unauthorized"}
_AT_ONCE = 8


def api_series(state: State, clock: Clock) -> Iterator[Series]:
    """Every series of every API process; a new installation has none."""
    if state.night.is_first:
        return
    for instance in _PROCESSES:
        where = {"component": "api", "instance": instance}
        yield from of_every_process(where, clock)
        problems: dict[str, Values] = dict.fromkeys(_CODES.values(), 0 * clock.one)
        for (method, route), (hourly, seconds) in _ROUTES.items():
            labels = where | {"method": method, "route": route}
            moments = _moments(hourly / len(_PROCESSES), clock)
            taken = clock.random.lognormal(np.log(seconds), 0.7, len(moments))
            yield from histogram(
                "streamworkers_api_request_duration_seconds",
                labels,
                _DURATIONS,
                clock,
                list(zip(moments, taken, strict=True)),
            )
            odd = {status: moments[::each] for status, each in _ODD.items()}
            usual = np.setdiff1d(moments, np.concatenate(list(odd.values())))
            answered = {"202" if method == "POST" else "200": usual, **odd}
            for status, times in answered.items():
                counts = clock.count(times)
                yield Series("streamworkers_api_requests_total", labels | {"status": status}, counts)
                if status in _CODES:
                    problems[_CODES[status]] = problems[_CODES[status]] + counts
        for code, counts in problems.items():
            yield Series("streamworkers_api_problems_total", where | {"code": code}, counts)
        busy = np.floor(clock.random.uniform(0, 3.2, clock.times.size))
        yield Series("streamworkers_api_requests_in_progress", where, busy)
        yield Series("streamworkers_api_followers", where, np.floor(clock.noise(14, 0.6)))
        yield Series("streamworkers_api_most_requests_at_once", where, _AT_ONCE * clock.one)


def _moments(hourly: float, clock: Clock) -> Values:
    """Requests at random moments of the day."""
    span = clock.times[-1] - clock.times[0]
    found: Values = np.sort(clock.random.uniform(clock.times[0], clock.times[-1], round(hourly * span / 3600)))
    return found
