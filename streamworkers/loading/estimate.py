"""Estimates how many calls a load takes, for people who wait for it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from math import ceil

import numpy as np

from streamworkers.loading.fetch_plan import choose_source_timeframe
from streamworkers.loading.grouped_days import MOST_DAYS
from streamworkers.loading.load_rules import LoadRules, Span, first_span, is_checked
from streamworkers.loading.providers.provider import Provider
from streamworkers.market.bars.bars import Starts
from streamworkers.market.calendar.timeframes import TIMEFRAMES
from streamworkers.market.calendar.windows import day_of, whole_windows

_BASE_BARS_OF_A_DAY = {"1min": 960, "hour": 960}  # minutes, extended trading included


@dataclass(frozen=True, slots=True)
class CallSizes:
    """What one call brings: `page` bars of a symbol, or, with `grouped`, a day of all symbols."""

    grouped: bool
    page: int


def estimate_calls(
    symbols: Collection[str],
    timeframes: Collection[str],
    provider: type[Provider],
    rules: LoadRules,
    sizes: CallSizes,
    stored: Mapping[str, Mapping[str, date]],
) -> int:
    """Return about how many calls a load takes; without a range, stored symbols count as loaded the day before.

    `stored` has, of each timeframe that is asked for, the first day of each symbol with bars. A new symbol, and one
    that is checked this night, is requested from the beginning.
    """
    made_of: dict[str, list[str]] = {}
    for name in timeframes:
        source = choose_source_timeframe(TIMEFRAMES[name], provider, rules, timeframes).name
        made_of.setdefault(source, []).append(name)
    calls = 0
    for source, wanted in made_of.items():
        for span, members in _group_by_span(symbols, wanted, rules, stored).items():
            calls += _count_calls(_Request(source, wanted, span), members, rules, sizes, stored.get("day", {}))
    return calls


@dataclass(frozen=True, slots=True)
class _Request:
    """Bars of a source timeframe, for the wanted ones, over some days."""

    source: str
    wanted: Sequence[str]
    span: Span

    def days(self, rules: LoadRules) -> Starts:
        """The sessions that are requested: those of whole weeks and months, if these are wanted."""
        spans = [whole_windows(TIMEFRAMES[name], self.span.first, self.span.last) for name in self.wanted]
        return rules.expected(TIMEFRAMES["day"], Span(min(span[0] for span in spans), max(span[1] for span in spans)))


def _group_by_span(
    symbols: Collection[str], wanted: Sequence[str], rules: LoadRules, stored: Mapping[str, Mapping[str, date]]
) -> dict[Span, list[str]]:
    """Return the symbols by the days that are requested of them."""
    if rules.span is not None:
        return {rules.span: list(symbols)}
    newest, all_days = Span(rules.today, rules.today), first_span(rules)
    groups: dict[Span, list[str]] = {}
    for symbol in symbols:
        is_new = any(symbol not in stored.get(name, {}) for name in wanted)
        groups.setdefault(all_days if is_new or is_checked(symbol, rules) else newest, []).append(symbol)
    return groups


def _count_calls(
    request: _Request, symbols: Sequence[str], rules: LoadRules, sizes: CallSizes, stored_days: Mapping[str, date]
) -> int:
    """Return the calls of symbols of which the same days are requested."""
    asked, calls = request.days(rules), 0
    fresh = rules.expected(TIMEFRAMES["day"], request.span)
    is_shared = sizes.grouped and "day" in request.wanted and len(fresh) <= MOST_DAYS
    if is_shared and (len(fresh) or rules.span is None):
        # The day of all symbols serves weeks and months only where the days before it are stored.
        calls = max(1, len(fresh))
        older = asked[asked < fresh[0]] if len(fresh) else asked
        symbols = [symbol for symbol in symbols if not _has_stored(older, stored_days.get(symbol))]
    bars = max(1, len(asked)) * _BASE_BARS_OF_A_DAY.get(request.source, 1)
    return calls + len(symbols) * ceil(bars / sizes.page)


def _has_stored(days: Starts, first: date | None) -> bool:
    return not len(days) or (first is not None and first <= day_of(int(np.min(days))))
