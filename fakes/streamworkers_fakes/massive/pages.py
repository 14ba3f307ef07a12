"""One page of aggregates: what a request asks for, what of it fits under its limit, and where it goes on."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import lru_cache

import numpy as np

from streamworkers.errors import BadInputError
from streamworkers_fakes.massive.bar_windows import by_calendar, wider, window_day, window_ordinals
from streamworkers_fakes.massive.bars import FakeBars, Ints, first_of_each
from streamworkers_fakes.massive.market import FakeMarket
from streamworkers_fakes.massive.trading_days import (
    DAY_MINUTES,
    MINUTE_MS,
    day_and_minute,
    midnight_ms,
    milliseconds,
    new_york_date,
)

MOST_BARS = 50_000
DEFAULT_BARS = 5_000
_INTRADAY = {"minute": 1, "hour": 60}
_CALENDAR = ("day", "week", "month")
_CACHED_DAYS = 1024  # of about 64 KB
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_NUMBER = re.compile(r"\d{1,18}", re.ASCII)
_EARLIEST, _LATEST = date(1970, 1, 1), date(9998, 12, 31)  # windows begin before and end after these days


@dataclass(frozen=True, slots=True)
class AggregatesRequest:
    """A range of windows, already snapped: it begins and ends with whole windows.

    `first` and `last` are dates in New York, `first_minute` and `end_minute` minutes since 00:00 on them; the range
    ends before the latter.
    """

    ticker: str
    multiplier: int
    timespan: str
    first: date
    first_minute: int
    last: date
    end_minute: int
    adjusted: bool = True
    ascending: bool = True
    limit: int = DEFAULT_BARS

    @property
    def first_ms(self) -> int:
        """Return the start of the range in Unix milliseconds."""
        return midnight_ms(self.first) + self.first_minute * MINUTE_MS

    @property
    def intraday(self) -> bool:
        """True for minute and hour, whose base aggregates are minutes; those of other timespans are days."""
        return self.timespan in _INTRADAY

    @property
    def width(self) -> int:
        """The minutes in a window of minute or hour."""
        return self.multiplier * _INTRADAY[self.timespan]


@dataclass(frozen=True, slots=True)
class AggregatesPage:
    """JSON rows of bars, separated by commas, their number, and the number of base aggregates they are made of.

    `next_ms` is where the rest begins (ascending) or ends (descending), None when there is none.
    """

    rows: bytes
    count: int
    base_count: int
    next_ms: int | None


def read_request(ticker: str, multiplier: str, timespan: str, first: str, last: str) -> AggregatesRequest:
    """Return the request of a path, snapped to windows. Raises BadInputError where the API answers 400."""
    if timespan not in (*_INTRADAY, *_CALENDAR):
        known = ", ".join((*_INTRADAY, *_CALENDAR))
        raise BadInputError(f"timespan {timespan!r} is not one of {known}")
    if not 1 <= number_in(multiplier) <= 100_000:
        raise BadInputError(f"multiplier {multiplier!r} is not a whole number from 1")
    width = int(multiplier) * _INTRADAY.get(timespan, DAY_MINUTES)
    if width > DAY_MINUTES:
        raise BadInputError(f"windows of {multiplier} {timespan} are not served: at most a day, or 1 {timespan}")
    (first_day, first_minute), (last_day, last_minute) = _moment(first, "from", 0), _moment(last, "to", DAY_MINUTES - 1)
    if (last_day, last_minute) < (first_day, first_minute):
        raise BadInputError(f"'to' {last} is before 'from' {first}")
    request = AggregatesRequest(ticker, int(multiplier), timespan, first_day, 0, last_day, DAY_MINUTES)
    if request.intraday:
        end_minute = min((last_minute // width + 1) * width, DAY_MINUTES)
        return replace(request, first_minute=first_minute // width * width, end_minute=end_minute)
    return replace(request, first=window_day(first_day, timespan), last=_window_end(last_day, timespan))


def number_in(text: str) -> int:
    """Return a text as a whole number, or -1 for any other text and for more than 18 digits."""
    return int(text) if _NUMBER.fullmatch(text) else -1


def date_in(text: str) -> date:
    """Return a text as a date. Raises ValueError for all but YYYY-MM-DD."""
    if not _DATE.fullmatch(text):
        raise ValueError(text)
    return date.fromisoformat(text)


def _moment(text: str, name: str, minute: int) -> tuple[date, int]:
    try:
        is_number = _NUMBER.fullmatch(text.removeprefix("-"))
        day, minute = day_and_minute(int(text)) if is_number else (date_in(text), minute)
    except (ValueError, OverflowError, OSError):
        raise BadInputError(f"{name!r} {text!r} is neither YYYY-MM-DD nor Unix milliseconds") from None
    return min(max(day, _EARLIEST), _LATEST), minute


def _window_end(day: date, timespan: str) -> date:
    if timespan == "day":
        return day
    if timespan == "week":
        return window_day(day, "week") + timedelta(days=6)
    return window_day(day.replace(day=28) + timedelta(days=4), "month") - timedelta(days=1)


class Pages:
    """Answers requests from a market; recently used sessions that have ended are cached as JSON."""

    def __init__(self, market: FakeMarket) -> None:
        self._market = market
        self._session_json = lru_cache(maxsize=_CACHED_DAYS)(self._new_session_json)

    def page(self, request: AggregatesRequest, now: datetime) -> AggregatesPage:
        """Return the first bars of a range, or the last ones if it is descending, as many as its limit allows.

        The limit counts base aggregates and cuts between windows; one window is returned even if it exceeds the limit.
        """
        return self._intraday(request, now) if request.intraday else self._calendar(request, now)

    def _intraday(self, request: AggregatesRequest, now: datetime) -> AggregatesPage:
        rows, count, base = [], 0, 0
        for day, whole in self._sessions(request, now):
            room = max(request.limit - base, 0)
            if whole is not None and whole <= room and request.ascending:
                ratio = self._ratio(request, day, now)
                encoded, bars_count = self._session_json(request.ticker, day, request.width, ratio)
                rows.append(encoded)
                count, base = count + bars_count, base + whole
                continue
            minutes = self._minutes_in_range(request, day, now)
            kept = _whole_windows(self._windows(request, day, minutes), room, request.ascending, must=not base)
            bars = wider(minutes.part(*kept), midnight_ms(day), request.width)
            bars = bars.adjusted(self._ratio(request, day, now))
            if len(bars):
                rows.append((bars if request.ascending else bars.backwards()).json_rows())
            count, base = count + len(bars), base + kept[1] - kept[0]
            if kept[1] - kept[0] < len(minutes):
                rest = int(minutes.start_ms[kept[1] if request.ascending else kept[0] - 1])
                return AggregatesPage(b",".join(rows), count, base, self._snapped(request, day, rest))
        return AggregatesPage(b",".join(rows), count, base, None)

    def _sessions(self, request: AggregatesRequest, now: datetime) -> Iterator[tuple[date, int | None]]:
        """Yield the sessions of the range with the number of their minutes, None if only a part is served."""
        positions = self._market.positions(request.ticker, request.first, min(request.last, new_york_date(now)))
        table, now_ms = self._market.table_of(request.ticker), milliseconds(now)
        is_regular = self._market.is_regular(request.ticker)
        counts = self._market.minute_counts(positions, table).tolist()
        pairs = list(zip(positions, counts, strict=True))
        for position, count in pairs if request.ascending else reversed(pairs):
            day = date.fromordinal(int(table.ordinal[position]))
            cut = (day == request.first and request.first_minute > 0) or (
                day == request.last and request.end_minute < DAY_MINUTES
            )
            yield day, None if cut or not is_regular or table.end_ms(position) > now_ms else count

    def _minutes_in_range(self, request: AggregatesRequest, day: date, now: datetime) -> FakeBars:
        minutes = self._market.minutes(request.ticker, day, now=now)
        clock = (minutes.start_ms - midnight_ms(day)) // MINUTE_MS
        low = request.first_minute if day == request.first else 0
        end = request.end_minute if day == request.last else DAY_MINUTES
        bounds = np.searchsorted(clock, (low, end))
        return minutes.part(int(bounds[0]), int(bounds[1]))

    def _windows(self, request: AggregatesRequest, day: date, minutes: FakeBars) -> Ints:
        return (minutes.start_ms - midnight_ms(day)) // MINUTE_MS // request.width

    def _snapped(self, request: AggregatesRequest, day: date, ms: int) -> int:
        """Return the first (ascending) or last (descending) millisecond of the window of a minute."""
        window = (ms - midnight_ms(day)) // MINUTE_MS // request.width
        if request.ascending:
            return midnight_ms(day) + window * request.width * MINUTE_MS
        return midnight_ms(day) + min((window + 1) * request.width, DAY_MINUTES) * MINUTE_MS - 1

    def _ratio(self, request: AggregatesRequest, day: date, now: datetime) -> float:
        return self._market.ratio(request.ticker, day, now) if request.adjusted else 1.0

    def _new_session_json(self, ticker: str, day: date, width: int, ratio: float) -> tuple[bytes, int]:
        bars = wider(self._market.minutes(ticker, day), midnight_ms(day), width).adjusted(ratio)
        return bars.json_rows(), len(bars)

    def _calendar(self, request: AggregatesRequest, now: datetime) -> AggregatesPage:
        first, last = request.first, min(request.last, new_york_date(now))
        days = self._market.days(request.ticker, first, last, now=now, adjusted=request.adjusted)
        keys = window_ordinals(days, request.timespan)
        low, end = _whole_windows(keys, request.limit, request.ascending, must=True)
        bars = by_calendar(days.part(low, end), request.timespan)
        next_ms = None
        if end - low < len(days):
            rest = date.fromordinal(int(keys[end] if request.ascending else keys[low - 1]))
            next_ms = midnight_ms(rest if request.ascending else _window_end(rest, request.timespan))
        rows = (bars if request.ascending else bars.backwards()).json_rows()
        return AggregatesPage(rows, len(bars), end - low, next_ms)


def _whole_windows(windows: Ints, room: int, ascending: bool, *, must: bool) -> tuple[int, int]:
    """Return the range of base aggregates whose windows fit into `room`, at least one window if `must`."""
    count = len(windows)
    if count <= room or not count:
        return 0, count
    edges = np.append(first_of_each(windows), count)
    if ascending:
        fitting = edges[edges <= room]
        end = int(fitting[-1])
        return 0, int(edges[1]) if must and not end else end
    fitting = edges[edges >= count - room]
    low = int(fitting[0])
    return (int(edges[-2]) if must and low == count else low), count
