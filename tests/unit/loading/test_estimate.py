"""How many calls a load is said to take."""

from dataclasses import replace

from loading import NOW
from streamworkers.loading.estimate import estimate_calls
from streamworkers.loading.load_rules import LoadRules, is_checked
from streamworkers.loading.providers.massive import Massive

SYMBOLS = [f"S{number}" for number in range(500)]
NIGHTLY = LoadRules(now=NOW, years=2.0)


def _estimate(rules: LoadRules, *timeframes: str, grouped: bool = True) -> int:
    return estimate_calls(SYMBOLS, timeframes or ("day",), Massive, rules, grouped, 50_000)


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
