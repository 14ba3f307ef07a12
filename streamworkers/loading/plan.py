"""Plans what to request from a provider. Pure functions of what is stored, the sessions and the splits.

A `Want` is one symbol in one timeframe. Wants of a symbol that can be made of the same bars share a `Fetch`: hours are
made of minutes, weeks and months of days.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import lru_cache
from math import prod
from typing import TypeAlias
from zlib import crc32

import numpy as np

from streamworkers.loading.provenance import SeriesKind, StoredSeries
from streamworkers.loading.providers.provider import BarsRequest, Provider, Split, UnsupportedError
from streamworkers.market.bars.bars import Mask, Starts, is_among
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE, TIMEFRAMES, Timeframe
from streamworkers.market.calendar.windows import (
    EXCHANGE_CALENDAR,
    HourAnchor,
    Hours,
    Windows,
    day_of,
    moment_of,
    narrower,
    start_of,
    whole_windows,
    windows_between,
)

_DAYS_OF_YEAR = 365.25
NARROWER_THAN_SPAN = ("week", "month")  # what a range of a few days may be a part of


@dataclass(frozen=True, slots=True)
class Span:
    """Days of New York from `first` to `last`, both included."""

    first: date
    last: date


@dataclass(frozen=True, slots=True)
class LoadRules:
    """What a run loads; the same for all of its items.

    With `span`, the bars of these days; without it, the bars after the last stored one, and of symbols without bars
    those of the last `years`. A bar is closed if its window ended `grace_seconds` before `now` (aware). The sessions
    are those of `calendar`, which is the symbol's.
    """

    now: datetime
    span: Span | None = None
    years: float = 2.0
    overlap_bars: int = 1
    grace_seconds: float = 0.0
    hours: Hours = "regular"
    hour_anchor: HourAnchor = "clock"
    include_open: bool = False
    only_gaps: bool = False
    derive: bool = True
    open_when_alone: bool = False
    check_nights: int = 0
    calendar: str = EXCHANGE_CALENDAR

    @property
    def today(self) -> date:
        """The date in New York."""
        return self.now.astimezone(EXCHANGE_ZONE).date()

    def windows(self, first: date, last: date) -> Windows:
        """Return the windows of a range of days."""
        return windows_between(first, last, self.hours, self.hour_anchor, self.calendar)

    def closed(self, windows: Windows, timeframe: Timeframe, starts: Starts) -> Mask:
        """Return a mask of the bars that are closed, or of all bars with `include_open`."""
        if self.include_open:
            return np.ones(len(starts), np.bool_)
        deadline = round((self.now.timestamp() - self.grace_seconds) * 1000)
        ended: Mask = windows.ends(timeframe, starts) <= deadline
        return ended

    def expected(self, timeframe: Timeframe, span: Span) -> Starts:
        """Return the starts of the closed bars that the sessions of these days have."""
        parts = list(self.expected_parts(timeframe, span))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def expected_parts(self, timeframe: Timeframe, span: Span) -> Iterator[Starts]:
        """Yield the same in parts, of intraday bars one for each year: twenty years of minutes are 16 MB."""
        first = span.first
        while timeframe.intraday and first.year < span.last.year:
            yield _expected(self, timeframe, Span(first, date(first.year, 12, 31)), span)
            first = date(first.year + 1, 1, 1)
        yield _expected(self, timeframe, replace(span, first=first), span)


@dataclass(frozen=True, slots=True)
class Want:
    """Bars of a symbol in a timeframe to load, for the item with this `number`.

    `replaces` is the reason to replace the stored bars as a whole, None to keep them. With `only`, no bars but those
    with these starts are stored. `is_open` if the range has no bar but open ones, which are stored.
    `factor` is that of the new prices to the ones that they replace, None if it is not known.
    `absent` are ranges of bars that the provider has not.
    """

    number: int
    symbol: str
    timeframe: Timeframe
    span: Span
    last_split: date | None = None
    replaces: str | None = None
    only: Starts | None = None
    is_open: bool = False
    factor: float | None = None
    absent: tuple[tuple[int, int], ...] = ()

    def rules(self, rules: LoadRules) -> LoadRules:
        """Return the rules of the run as they hold for this want."""
        return replace(rules, include_open=True) if self.is_open else rules


@dataclass(frozen=True, slots=True)
class NothingToLoad:
    """An item that has nothing to load, and the reason."""

    number: int
    why: str


Plan: TypeAlias = Want | NothingToLoad


@dataclass(frozen=True, slots=True)
class Fetch:
    """One request to a provider, and the wants that its bars serve.

    `begin` is the first day of the plan's history where that is later than the first day of the request.
    """

    request: BarsRequest
    wants: tuple[Want, ...]
    begin: date | None = None

    @property
    def key(self) -> str:
        """Identify the request in a run's checkpoints."""
        request = self.request
        return f"{request.symbol}:{request.timeframe.name}:{request.first}:{request.last}"

    @property
    def asked(self) -> BarsRequest:
        """The request as far as the plan's history reaches."""
        return self.request if self.begin is None else replace(self.request, first=self.begin)

    def clip(self, begin: date) -> "Fetch":
        """Return the fetch within a history that begins at a day."""
        return replace(self, begin=begin) if begin > self.request.first else self

    def span_of(self, want: Want) -> Span:
        """Return the days of a want of which the history has whole windows; it may end before it begins."""
        first = whole_windows(want.timeframe, want.span.first, want.span.first)[0]
        if self.begin is None or self.begin <= first:
            return want.span
        first, last = whole_windows(want.timeframe, self.begin, self.begin)
        return Span(first if first == self.begin else last + timedelta(days=1), want.span.last)


def plan_load(
    number: int, symbol: str, timeframe: Timeframe, rules: LoadRules, kind: SeriesKind, found: StoredSeries | None,
    splits: Sequence[Split] = (), present: Starts | None = None,
) -> Plan:  # fmt: skip
    """Decide what to load of a symbol in a timeframe.

    `kind` is that of the new bars, `found` what is stored, `splits` are those of the symbol since it was stored, and
    `present` the starts of the stored bars, if gaps are to be filled.
    """
    span = rules.span or _next_span(symbol, timeframe, rules, found)
    reason, last_split, factor = _find_replacement(kind, timeframe, found, splits)
    if reason is not None and found is not None:
        begin = min(span.first, _date_of(found.first))
        return Want(
            number, symbol, timeframe, Span(begin, max(span.last, rules.today)), last_split, reason, factor=factor
        )
    if rules.only_gaps:
        return _plan_gaps(number, symbol, timeframe, rules, found, last_split, present)
    if rules.span is None and found is not None and _is_up_to_date(timeframe, rules, found, span):
        return NothingToLoad(number, f"up to date with the bar of {found.last}")
    is_alone = rules.open_when_alone and timeframe.name in NARROWER_THAN_SPAN and rules.span is not None
    is_open = is_alone and not len(rules.expected(timeframe, span))
    return Want(number, symbol, timeframe, span, last_split, is_open=is_open)


def plan_fetches(wants: Iterable[Want], provider: type[Provider] | Provider, rules: LoadRules) -> list[Fetch]:
    """Return the requests that serve all wants, one for several wants of a symbol where possible.

    Raises UnsupportedError for a timeframe of which the provider has neither bars nor narrower ones.
    """
    wants = list(wants)
    beside: dict[str, set[str]] = {}
    for want in wants:
        beside.setdefault(want.symbol, set()).add(want.timeframe.name)
    groups: dict[tuple[str, str], list[Want]] = {}
    for want in wants:
        source = choose_source_timeframe(want.timeframe, provider, rules, beside[want.symbol])
        groups.setdefault((want.symbol, source.name), []).append(want)
    result = []
    for (symbol, name), members in groups.items():
        spans = [whole_windows(want.timeframe, want.span.first, want.span.last) for want in members]
        first, last = min(span[0] for span in spans), max(span[1] for span in spans)
        request = BarsRequest(symbol, TIMEFRAMES[name], first, min(last, max(rules.today, first)))
        result.append(Fetch(request, tuple(members)))
    return result


def choose_source_timeframe(
    timeframe: Timeframe, provider: type[Provider] | Provider, rules: LoadRules, beside: Iterable[str] = ()
) -> Timeframe:
    """Return the timeframe to request: the narrower one if it is requested anyway (`beside`), or if it has to be.

    If a provider's hours are those of extended trading by the clock, other hours can only be made of its minutes.
    Raises UnsupportedError if the provider has neither.
    """
    narrow = narrower(timeframe)
    if narrow is not None and narrow.name in provider.native:
        as_given = (rules.hours, rules.hour_anchor) == ("extended", "clock")
        must = timeframe.name == "hour" and provider.hours_by_clock and not as_given
        if must or timeframe.name not in provider.native or (rules.derive and narrow.name in beside):
            return narrow
    if timeframe.name not in provider.native:
        raise UnsupportedError(
            f"provider {provider.name} has no {timeframe.name} bars: its own are"
            f" {', '.join(name for name in TIMEFRAMES if name in provider.native)}"
        )
    return timeframe


def find_last_session(rules: LoadRules, last: date) -> date:
    """Return the newest session up to a day that has closed, the day itself if there is none within a fortnight."""
    closed = rules.expected(TIMEFRAMES["day"], Span(last - timedelta(days=14), last))
    return day_of(int(closed[-1])) if len(closed) else last


def is_checked(symbol: str, rules: LoadRules) -> bool:
    """True on the one of `check_nights` nights, Monday to Friday, on which all bars of a symbol are requested again."""
    nights = rules.check_nights
    weeks, weekday = divmod(rules.today.toordinal() - 1, 7)
    return nights > 0 and crc32(symbol.encode()) % nights == (5 * weeks + min(weekday, 4)) % nights


def first_span(rules: LoadRules) -> Span:
    """Return the days that are loaded of a symbol without stored bars, if no range is given."""
    return Span(rules.today - timedelta(days=round(rules.years * _DAYS_OF_YEAR)), rules.today)


def _next_span(symbol: str, timeframe: Timeframe, rules: LoadRules, found: StoredSeries | None) -> Span:
    last = rules.today
    if found is None:
        return first_span(rules)
    if is_checked(symbol, rules):
        return Span(min(_date_of(found.first), last), last)
    first = _date_of(found.last)
    more = rules.overlap_bars - 1
    if timeframe.name == "week":
        first -= timedelta(weeks=more)
    elif timeframe.name == "month":
        for _ in range(more):
            first = (first - timedelta(days=1)).replace(day=1)
    elif more:
        days = [day for day in rules.windows(first - timedelta(days=2 * more + 10), first).sessions.days if day < first]
        first = days[-more] if len(days) >= more else first - timedelta(days=more)
    return Span(min(first, last), last)


def _find_replacement(
    kind: SeriesKind, timeframe: Timeframe, found: StoredSeries | None, splits: Sequence[Split]
) -> tuple[str | None, date | None, float | None]:
    """Return why stored bars are of another series than new ones (or None), the last split in the new ones, the factor.

    Other hours leave prices as they are; of another adjustment nobody knows the factor.
    """
    if found is None or found.kind is None or found.adjusted_on is None:
        return None, max((split.executed_on for split in splits), default=None), None
    if (difference := found.kind.find_difference(kind, timeframe)) is not None:
        factor = 1.0 if found.kind.adjusted is kind.adjusted and not splits else None
        return difference, max((split.executed_on for split in splits), default=found.last_split), factor
    seen = found.last_split or date.min
    new = [split for split in splits if split.executed_on >= found.adjusted_on and split.executed_on > seen]
    if new and kind.adjusted:
        split = max(new, key=lambda split: split.executed_on)
        factor = prod(one.parts_before / one.parts_after for one in new)
        reason = f"split {split.parts_before:g} to {split.parts_after:g} on {split.executed_on}"
        return reason, split.executed_on, factor
    return None, found.last_split, None


def _is_up_to_date(timeframe: Timeframe, rules: LoadRules, found: StoredSeries, span: Span) -> bool:
    """True if no newer bar has closed, and the last stored one was closed when fetched or is still open."""
    if rules.include_open or (timeframe.intraday and rules.hours == "extended"):
        return False  # the bars before and after a session are not known in advance
    last = start_of(found.last)
    expected = rules.expected(timeframe, span)
    if len(expected) and int(expected[-1]) > last:
        return False
    if found.fetched_at is None:
        return True
    windows, stored = rules.windows(span.first, span.last), np.array([last], np.int64)
    if not rules.closed(windows, timeframe, stored)[0]:
        return True
    end = int(windows.ends(timeframe, stored)[0])
    return found.fetched_at.timestamp() * 1000 >= end + rules.grace_seconds * 1000


def _plan_gaps(
    number: int, symbol: str, timeframe: Timeframe, rules: LoadRules, found: StoredSeries | None,
    last_split: date | None, present: Starts | None,
) -> Plan:  # fmt: skip
    span = rules.span or Span(
        _date_of(found.first) if found else rules.today - timedelta(days=round(rules.years * _DAYS_OF_YEAR)),
        rules.today,
    )
    stored = np.zeros(0, np.int64) if present is None else present
    missing = np.concatenate([part[~is_among(part, stored)] for part in rules.expected_parts(timeframe, span)])
    if not len(missing):
        return NothingToLoad(number, f"no gap from {span.first} to {span.last}")
    narrow = Span(*(_date_of(moment_of(timeframe, int(missing[place]))) for place in (0, -1)))
    return Want(number, symbol, timeframe, narrow, last_split, only=missing)


def _date_of(moment: date | datetime) -> date:
    return moment.astimezone(EXCHANGE_ZONE).date() if isinstance(moment, datetime) else moment


@lru_cache(maxsize=16)
def _expected(rules: LoadRules, timeframe: Timeframe, span: Span, whole: Span) -> Starts:
    # The same for all symbols of a run. A year of minutes is a megabyte, so the cache is small.
    windows = rules.windows(whole.first, whole.last)
    starts = windows.expected(timeframe, span.first, span.last)
    starts = starts[rules.closed(windows, timeframe, starts)]
    starts.flags.writeable = False
    return starts
