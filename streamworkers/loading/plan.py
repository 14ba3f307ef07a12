"""Plans what to load of each symbol. Pure functions of what is stored, the sessions and the splits.

A `Want` is one symbol in one timeframe.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from math import prod
from typing import TypeAlias

import numpy as np

from streamworkers.loading.load_rules import LoadRules, Span, first_span, is_checked
from streamworkers.loading.provenance import SeriesKind, StoredSeries
from streamworkers.loading.providers.provider import Split
from streamworkers.market.bars.bars import Starts, is_among
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE, Timeframe
from streamworkers.market.calendar.windows import moment_of, start_of

_NARROWER_THAN_SPAN = ("week", "month")  # what a range of a few days may be a part of


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
    is_alone = rules.open_when_alone and timeframe.name in _NARROWER_THAN_SPAN and rules.span is not None
    is_open = is_alone and not len(rules.expected(timeframe, span))
    return Want(number, symbol, timeframe, span, last_split, is_open=is_open)


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
    span = rules.span or Span(_date_of(found.first) if found else first_span(rules).first, rules.today)
    stored = np.zeros(0, np.int64) if present is None else present
    missing = np.concatenate([part[~is_among(part, stored)] for part in rules.expected_parts(timeframe, span)])
    if not len(missing):
        return NothingToLoad(number, f"no gap from {span.first} to {span.last}")
    narrow = Span(*(_date_of(moment_of(timeframe, int(missing[place]))) for place in (0, -1)))
    return Want(number, symbol, timeframe, narrow, last_split, only=missing)


def _date_of(moment: date | datetime) -> date:
    return moment.astimezone(EXCHANGE_ZONE).date() if isinstance(moment, datetime) else moment
