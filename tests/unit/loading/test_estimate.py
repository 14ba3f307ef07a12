"""How many calls a load is said to take."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date

from loading import NOW
from streamworkers.loading.estimate import CallSizes, estimate_calls
from streamworkers.loading.load_rules import LoadRules, Span, is_checked
from streamworkers.loading.providers.massive import Massive
from streamworkers.market.calendar.timeframes import TIMEFRAMES

SYMBOLS = [f"S{number}" for number in range(500)]
FirstDays = Mapping[str, Mapping[str, date]]
NIGHTLY = LoadRules(now=NOW, years=2.0)


STORED = {name: dict.fromkeys(SYMBOLS, date(2024, 1, 2)) for name in TIMEFRAMES}


def _estimate(rules: LoadRules, *timeframes: str, grouped: bool = True, stored: FirstDays = STORED) -> int:
    return estimate_calls(SYMBOLS, timeframes or ("day",), Massive, rules, CallSizes(grouped, 50_000), stored)


def test_a_night_takes_one_call_for_the_day_of_all_symbols() -> None:
    assert _estimate(NIGHTLY) == 1
    assert _estimate(NIGHTLY, grouped=False) == 500


def test_symbols_that_are_checked_this_night_take_their_own_calls() -> None:
    rules = replace(NIGHTLY, check_nights=20)
    checked = sum(is_checked(symbol, rules) for symbol in SYMBOLS)
    assert 10 < checked < 50
    assert _estimate(rules) == 1 + checked
    # Two years of minutes, extended trading included, are ten pages.
    assert _estimate(rules, "1min") == (500 - checked) + 10 * checked
    assert _estimate(replace(NIGHTLY, check_nights=1)) == 500


def test_new_symbols_take_the_calls_of_all_their_days() -> None:
    some = {name: dict(list(found.items())[100:]) for name, found in STORED.items()}
    assert _estimate(NIGHTLY, stored=some) == 1 + 100
    assert _estimate(NIGHTLY, "1min", stored=some) == 400 + 10 * 100
    # The days are requested from the beginning also where only the weeks made of them are not there.
    assert _estimate(NIGHTLY, "day", "week", stored=STORED | {"week": some["week"]}) == 1 + 100


def test_weeks_and_months_share_the_day_of_all_symbols_only_where_the_days_before_are_stored() -> None:
    a_day = replace(NIGHTLY, span=Span(NOW.date(), NOW.date()))  # a Tuesday, the 25th
    lately = {name: dict.fromkeys(SYMBOLS[:100], date(2025, 11, 24)) for name in TIMEFRAMES}
    for timeframes, stored, calls in (
        (("day",), {}, 1),
        (("day", "week"), STORED, 1),
        (("day", "week"), lately, 1 + 400),
        (("day", "month"), lately, 1 + 500),
        (("day", "week", "month"), {}, 1 + 500),
        (("1min", "hour", "day", "week", "month"), {}, 500 + 1 + 500),
    ):
        assert _estimate(a_day, *timeframes, stored=stored) == calls, timeframes
    assert _estimate(a_day, "week", stored={}) == 500, "weeks alone are the provider's own"
    monday = replace(NIGHTLY, span=Span(date(2025, 11, 24), date(2025, 11, 25)))
    assert _estimate(monday, "day", "week", stored={}) == 2


def test_a_range_without_a_session_is_asked_for_by_symbol() -> None:
    sunday = replace(NIGHTLY, span=Span(date(2025, 11, 23), date(2025, 11, 23)))
    assert _estimate(sunday, stored={}) == 500
