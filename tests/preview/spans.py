"""Times of boards as Grafana reads them: `now-6h`, `now/d`, and the steps of queries over a range."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

_UNITS = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
    "M": timedelta(days=30),
    "y": timedelta(days=365),
}
_TIME = re.compile(r"now((?:[+-]\d+[smhdwMy])*)(?:/([hdwM])((?:[+-]\d+[smhdwMy])*))?")
_PART = re.compile(r"([+-]\d+)([smhdwMy])")
# Grafana rounds an interval up to one of these: (below so many milliseconds, take this one).
_ROUNDED = (
    (1_500, 1_000), (3_500, 2_000), (7_500, 5_000), (12_500, 10_000), (17_500, 15_000), (25_000, 20_000),
    (45_000, 30_000), (90_000, 60_000), (210_000, 120_000), (450_000, 300_000), (750_000, 600_000),
    (1_050_000, 900_000), (1_500_000, 1_200_000), (2_700_000, 1_800_000), (5_400_000, 3_600_000),
    (9_000_000, 7_200_000), (16_200_000, 10_800_000), (32_400_000, 21_600_000), (86_400_000, 43_200_000),
    (604_800_000, 86_400_000), (1_814_400_000, 604_800_000),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Span:
    """A time range; both ends are aware."""

    start: datetime
    end: datetime

    @property
    def milliseconds(self) -> dict[str, int]:
        """Both ends in Unix milliseconds, as the page wants them."""
        return {"from": round(self.start.timestamp() * 1000), "to": round(self.end.timestamp() * 1000)}


def moment_of(text: str, now: datetime, zone: ZoneInfo, *, is_end: bool = False) -> datetime:
    """A relative time such as `now-1d/d+17h`; rounding takes the begin of a unit, or its end for the end of a range.

    Raises ValueError for a text that is none.
    """
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError(f"time {text!r} is not one that is known here: `now`, `now-6h`, `now/d`, `now-1d/d`")
    moment = now
    for count, unit in _PART.findall(found[1]):
        moment += int(count) * _UNITS[unit]
    if found[2] is None:
        return moment
    begin = _begin(moment.astimezone(zone), found[2])
    if not is_end:
        for count, unit in _PART.findall(found[3]):
            begin += int(count) * _UNITS[unit]
        return begin.astimezone(UTC)
    end = _begin(begin + _UNITS[found[2]] + (timedelta(days=2) if found[2] == "M" else timedelta(0)), found[2])
    return (end - timedelta(milliseconds=1)).astimezone(UTC)


def span_of(given: dict[str, str], now: datetime, zone: ZoneInfo) -> Span:
    """The range of a board's `time`."""
    return Span(moment_of(given["from"], now, zone), moment_of(given["to"], now, zone, is_end=True))


def override(text: str, now: datetime, zone: ZoneInfo) -> Span:
    """The range of a panel's own `timeFrom`: a length such as `14d`, or a begin such as `now/d`."""
    begin = text if text.startswith("now") else f"now-{text}"
    return Span(moment_of(begin, now, zone), moment_of("now", now, zone))


def step(span: Span, points: int, least: timedelta) -> timedelta:
    """The interval between the samples of a query: rounded as Grafana does, and at least the scrape interval."""
    wanted = (span.end - span.start) / max(1, points)
    milliseconds = wanted.total_seconds() * 1000
    rounded = next((each for below, each in _ROUNDED if milliseconds < below), 2_592_000_000)
    return max(least, timedelta(milliseconds=rounded))


def rate_interval(interval: timedelta, scrape: timedelta) -> timedelta:
    """`$__rate_interval`: wide enough to hold four scrapes."""
    return max(interval + scrape, 4 * scrape)


def written(interval: timedelta) -> str:
    """An interval in Prometheus' notation."""
    seconds = round(interval.total_seconds())
    for unit, length in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds % length == 0:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def _begin(moment: datetime, unit: str) -> datetime:
    start = moment.replace(minute=0, second=0, microsecond=0)
    if unit == "h":
        return start
    start = start.replace(hour=0)
    if unit == "w":
        return start - timedelta(days=start.weekday())
    return start.replace(day=1) if unit == "M" else start
