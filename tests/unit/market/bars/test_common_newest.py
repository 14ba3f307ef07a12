"""The newest bar that most symbols have: neither the first nor the last of them decides."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamworkers.market.bars.as_of import find_common_newest

WEEK = timedelta(days=7)
FRIDAY = date(2024, 7, 12)


def _days(*before: int) -> list[date]:
    return [FRIDAY - timedelta(days=days) for days in before]


@pytest.mark.parametrize(
    ("newest", "common"),
    [
        (_days(0, 0, 0, 0, 0, -1), 0),  # a Saturday row
        (_days(0, 0, 0, 0, 0, -27_000), 0),  # a row of the future
        (_days(1, 1, 1, 1, 1, 0), 1),  # one day that only one symbol has
        (_days(1, 0), 1),  # the same of two symbols
        (_days(900, 900, 900, 0), 900),  # a file of old bars, and one symbol of today
        (_days(0, 0, 0, 0, 1, 2, 3), 0),  # thin symbols do not hold the others up
        (_days(0, 0, *range(100, 3000, 100)), 0),  # nor do those that left the exchange, however many
        (_days(0, 3000), 0),
        (_days(0, 0, 0, 0, 1, 1, 1, 1, 1, 1), 1),  # a load that came in half way
        (_days(0, 0, 0, 0, 0, 0, 1, 1, 1, 1), 0),
        (_days(2, 1, 0), 1),
        (_days(5), 5),
    ],
)
def test_the_common_newest_bar_is_that_of_most_symbols(newest: list[date], common: int) -> None:
    assert find_common_newest(newest, WEEK) == FRIDAY - timedelta(days=common)


def test_there_is_none_without_bars() -> None:
    assert find_common_newest([], WEEK) is None


def test_it_works_for_moments() -> None:
    at = datetime(2024, 7, 12, 14, 3, tzinfo=UTC)
    assert find_common_newest([at, at - timedelta(minutes=1), at], timedelta(minutes=5)) == at


@given(st.lists(st.integers(0, 40), min_size=3, max_size=40), st.integers(-30_000, 30_000))
def test_no_one_symbol_makes_most_of_those_that_are_together_stale(before: list[int], odd: int) -> None:
    together = [FRIDAY - timedelta(days=days % 8) for days in before]
    common = find_common_newest([*together, FRIDAY - timedelta(days=odd)], WEEK)
    assert common is not None
    assert 2 * sum(day >= common for day in together) >= len(together) - 1
    assert common <= max(together)
