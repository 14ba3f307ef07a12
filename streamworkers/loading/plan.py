"""What to ask a provider for, so that the bars of some symbols and timeframes get into their tables. Pure.

A `Want` is one symbol in one timeframe. Wants of a symbol that can be made of the same bars share a `Fetch`: hours are
made of minutes, weeks and months of days.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import TypeAlias

import numpy as np

from streamworkers.loading.provenance import SeriesKind, Stored
from streamworkers.loading.providers.provider import Asked, Provider, Split, UnsupportedError
from streamworkers.market.bars.bars import Mask, Starts
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE, TIMEFRAMES, Timeframe
from streamworkers.market.calendar.windows import (
    HourAnchor,
    Hours,
    Windows,
    moment_of,
    narrower,
    start_of,
    whole_windows,
    windows_between,
)

_DAYS_OF_YEAR = 365.25


@dataclass(frozen=True, slots=True)
class Span:
    """Days of New York from `first` to `last`, both included."""

    first: date
    last: date


@dataclass(frozen=True, slots=True)
class Rules:
    """What a run loads: the same for all of its items.

    With `span` that range; without it what follows the last stored bar, and of symbols without bars the last `years`.
    `now` (aware) decides which bars are closed: those whose window ended `settle_seconds` before it.
    """

    now: datetime
    span: Span | None = None
    years: float = 2.0
    overlap_bars: int = 1
    settle_seconds: float = 0.0
    hours: Hours = "regular"
    hour_anchor: HourAnchor = "clock"
    include_open: bool = False
    only_gaps: bool = False
    derive: bool = True

    @property
    def today(self) -> date:
        """The date in New York."""
        return self.now.astimezone(EXCHANGE_ZONE).date()

    def windows(self, first: date, last: date) -> Windows:
        """The windows of a range of days."""
        return windows_between(first, last, self.hours, self.hour_anchor)

    def closed(self, windows: Windows, timeframe: Timeframe, starts: Starts) -> Mask:
        """Which bars have ended; all of them where open ones are wanted."""
        if self.include_open:
            return np.ones(len(starts), np.bool_)
        deadline = round((self.now.timestamp() - self.settle_seconds) * 1000)
        ended: Mask = windows.ends(timeframe, starts) <= deadline
        return ended

    def expected(self, timeframe: Timeframe, span: Span) -> Starts:
        """The closed bars that the sessions of these days give."""
        return _expected(self, timeframe, span)


@dataclass(frozen=True, slots=True)
class Want:
    """Bars of a symbol in a timeframe to load.

    `replaces` says why stored bars of it are to be replaced as a whole, in words. With `only`, bars with these starts
    alone are stored.
    """

    number: int
    symbol: str
    timeframe: Timeframe
    span: Span
    last_split: date | None = None
    replaces: str | None = None
    only: Starts | None = None


@dataclass(frozen=True, slots=True)
class Nothing:
    """There is nothing to load of a symbol in a timeframe, and why."""

    number: int
    why: str


Plan: TypeAlias = Want | Nothing


@dataclass(frozen=True, slots=True)
class Fetch:
    """Bars to ask for, and what is wanted of them."""

    asked: Asked
    wants: tuple[Want, ...]

    @property
    def key(self) -> str:
        """The same for the same question."""
        asked = self.asked
        return f"{asked.symbol}:{asked.timeframe.name}:{asked.first}:{asked.last}"


def plan(
    number: int, symbol: str, timeframe: Timeframe, rules: Rules, basis: SeriesKind, found: Stored | None,
    splits: Sequence[Split] = (), present: Starts | None = None,
) -> Plan:  # fmt: skip
    """What is to be loaded of a symbol in a timeframe.

    `basis` is what new bars will be, `found` what is stored, `splits` those of the symbol since it was stored, and
    `present`, for gaps, the starts of the stored bars.
    """
    span = rules.span or _next_span(timeframe, rules, found)
    reason, last_split = _replacement(basis, timeframe, found, splits)
    if reason is not None and found is not None:
        begin = min(span.first, _date_of(found.first))
        return Want(number, symbol, timeframe, Span(begin, max(span.last, rules.today)), last_split, reason)
    if rules.only_gaps:
        return _gaps(number, symbol, timeframe, rules, found, last_split, present)
    if rules.span is None and found is not None and _is_up_to_date(timeframe, rules, found, span):
        return Nothing(number, f"up to date with the bar of {found.last}")
    return Want(number, symbol, timeframe, span, last_split)


def fetches(wants: Iterable[Want], provider: type[Provider] | Provider, rules: Rules) -> list[Fetch]:
    """What to ask for, at best once for all wants of a symbol.

    Raises UnsupportedError for a timeframe that the provider has no bars for, nor narrower ones.
    """
    wants = list(wants)
    given = {(want.symbol, want.timeframe.name) for want in wants}
    groups: dict[tuple[str, str], list[Want]] = {}
    for want in wants:
        base = base_of(want.timeframe, provider, rules, {name for symbol, name in given if symbol == want.symbol})
        groups.setdefault((want.symbol, base.name), []).append(want)
    result = []
    for (symbol, base_name), members in groups.items():
        base = TIMEFRAMES[base_name]
        spans = [whole_windows(want.timeframe, want.span.first, want.span.last) for want in members]
        first, last = min(span[0] for span in spans), max(span[1] for span in spans)
        result.append(Fetch(Asked(symbol, base, first, min(last, max(rules.today, first))), tuple(members)))
    return result


def base_of(
    timeframe: Timeframe, provider: type[Provider] | Provider, rules: Rules, beside: Iterable[str] = ()
) -> Timeframe:
    """The timeframe to ask for: the narrower one where it is asked for anyway, or where it must be.

    Where a provider's hours are those of extended trading by the clock, others can only be made of its minutes.
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


def _next_span(timeframe: Timeframe, rules: Rules, found: Stored | None) -> Span:
    last = rules.today
    if found is None:
        return Span(last - timedelta(days=round(rules.years * _DAYS_OF_YEAR)), last)
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


def _replacement(
    basis: SeriesKind, timeframe: Timeframe, found: Stored | None, splits: Sequence[Split]
) -> tuple[str | None, date | None]:
    """Why the stored bars are of another series than new ones, and the last split that these contain."""
    if found is None or found.basis is None or found.adjusted_on is None:
        return None, max((split.executed_on for split in splits), default=None)
    if (difference := found.basis.differs(basis, timeframe)) is not None:
        return difference, max((split.executed_on for split in splits), default=found.last_split)
    seen = found.last_split or date.min
    new = [split for split in splits if split.executed_on >= found.adjusted_on and split.executed_on > seen]
    if new and basis.adjusted:
        split = max(new, key=lambda split: split.executed_on)
        return f"split {split.parts_before:g} to {split.parts_after:g} on {split.executed_on}", split.executed_on
    return None, found.last_split


def _is_up_to_date(timeframe: Timeframe, rules: Rules, found: Stored, span: Span) -> bool:
    """True when no newer bar has closed, and the last stored one had closed when it was fetched or is still open."""
    if rules.include_open or (timeframe.intraday and rules.hours == "extended"):
        return False  # which bars there are before and after a session, nobody knows beforehand
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
    return found.fetched_at.timestamp() * 1000 >= end + rules.settle_seconds * 1000


def _gaps(
    number: int, symbol: str, timeframe: Timeframe, rules: Rules, found: Stored | None, last_split: date | None,
    present: Starts | None,
) -> Plan:  # fmt: skip
    span = rules.span or Span(
        _date_of(found.first) if found else rules.today - timedelta(days=round(rules.years * _DAYS_OF_YEAR)),
        rules.today,
    )
    expected = rules.expected(timeframe, span)
    missing = expected if present is None else np.setdiff1d(expected, present)
    if not len(missing):
        return Nothing(number, f"no gap from {span.first} to {span.last}")
    narrow = Span(*(_date_of(moment_of(timeframe, int(missing[place]))) for place in (0, -1)))
    return Want(number, symbol, timeframe, narrow, last_split, only=missing)


def _date_of(moment: date | datetime) -> date:
    return moment.astimezone(EXCHANGE_ZONE).date() if isinstance(moment, datetime) else moment


@lru_cache(maxsize=16)
def _expected(rules: Rules, timeframe: Timeframe, span: Span) -> Starts:
    """The same for all symbols of a run; a year of minutes is a megabyte, so few are kept."""
    windows = rules.windows(span.first, span.last)
    starts = windows.expected(timeframe, span.first, span.last)
    starts = starts[rules.closed(windows, timeframe, starts)]
    starts.flags.writeable = False
    return starts
