"""Estimates how many calls a load takes, for people who wait for it."""

from collections.abc import Collection
from math import ceil

from streamworkers.loading.grouped_days import MOST_DAYS
from streamworkers.loading.plan import LoadRules, Span, choose_source_timeframe
from streamworkers.loading.providers.provider import Provider
from streamworkers.market.calendar.timeframes import TIMEFRAMES

_BASE_BARS_OF_A_DAY = {"1min": 960, "hour": 960}  # minutes, extended trading included


def estimate_calls(
    symbols: int, timeframes: Collection[str], provider: type[Provider], rules: LoadRules, grouped: bool, page: int
) -> int:
    """Return about how many calls a load takes; without a range, those of symbols that were loaded the day before."""
    frames = {choose_source_timeframe(TIMEFRAMES[name], provider, rules, timeframes).name for name in timeframes}
    span = rules.span or Span(rules.today, rules.today)
    calls = 0
    for name in frames:
        days = max(1, len(rules.expected(TIMEFRAMES["day"], span)))
        if grouped and name == "day" and days <= MOST_DAYS:
            calls += days
        else:
            calls += symbols * max(1, ceil(days * _BASE_BARS_OF_A_DAY.get(name, 1) / page))
    return calls
