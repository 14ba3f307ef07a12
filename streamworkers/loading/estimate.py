"""Estimates how many calls a load takes, for people who wait for it."""

from collections.abc import Collection
from math import ceil

from streamworkers.loading.fetch_plan import choose_source_timeframe
from streamworkers.loading.grouped_days import MOST_DAYS
from streamworkers.loading.load_rules import LoadRules, Span, first_span, is_checked
from streamworkers.loading.providers.provider import Provider
from streamworkers.market.calendar.timeframes import TIMEFRAMES

_BASE_BARS_OF_A_DAY = {"1min": 960, "hour": 960}  # minutes, extended trading included


def estimate_calls(
    symbols: Collection[str],
    timeframes: Collection[str],
    provider: type[Provider],
    rules: LoadRules,
    grouped: bool,
    page: int,
) -> int:
    """Return about how many calls a load takes; without a range, those of symbols that were loaded the day before.

    Of these, the ones that are checked this night are requested as far back as a new symbol.
    """
    frames = {choose_source_timeframe(TIMEFRAMES[name], provider, rules, timeframes).name for name in timeframes}
    if rules.span is not None:
        return _count_calls(len(symbols), frames, rules, rules.span, grouped, page)
    checked = sum(is_checked(symbol, rules) for symbol in symbols)
    calls = 0
    if left := len(symbols) - checked:
        calls += _count_calls(left, frames, rules, Span(rules.today, rules.today), grouped, page)
    if checked:
        calls += _count_calls(checked, frames, rules, first_span(rules), False, page)
    return calls


def _count_calls(symbols: int, frames: Collection[str], rules: LoadRules, span: Span, grouped: bool, page: int) -> int:
    days = max(1, len(rules.expected(TIMEFRAMES["day"], span)))
    calls = 0
    for name in frames:
        if grouped and name == "day" and days <= MOST_DAYS:
            calls += days
        else:
            calls += symbols * max(1, ceil(days * _BASE_BARS_OF_A_DAY.get(name, 1) / page))
    return calls
