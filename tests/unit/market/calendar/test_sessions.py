"""Calendars of exchanges: any range of days, asked for by several threads at once."""

from concurrent.futures import ThreadPoolExecutor
from datetime import date

import pytest

from streamworkers.market.calendar import sessions as module
from streamworkers.market.calendar.sessions import Sessions, compute_sessions, sessions_between


def test_threads_that_ask_for_different_ranges_each_get_their_own() -> None:
    # No two are computed together.
    ranges = [(date(1950 + 5 * number, 1, 1), date(1961 + 5 * number, 12, 31)) for number in range(12)]

    def ask(span: tuple[date, date]) -> Sessions:
        return sessions_between("XNYS", *span)

    alone = [ask(span) for span in ranges]
    module._compute.cache_clear()
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(ask, ranges * 2))
    assert together == alone * 2


@pytest.mark.parametrize(
    ("calendar", "first", "last", "days", "ends_on"),
    [
        pytest.param("XPAR", "1990-02-01", "1990-02-01", 1, "1990-02-01", id="a day"),
        pytest.param("XPAR", "1990-02-03", "1990-02-03", 0, "1990-02-03", id="a Saturday"),
        pytest.param("XNYS", "2019-12-31", "2020-01-02", 2, "2020-01-02", id="in two decades"),
        pytest.param("XNYS", "2001-09-10", "2001-09-17", 2, "2001-09-17", id="with days on which it stayed closed"),
        pytest.param("24/7", "2020-02-27", "2020-03-01", 4, "2020-03-01", id="every day"),
    ],
)
def test_a_range_has_its_own_sessions_and_no_other(
    calendar: str, first: str, last: str, days: int, ends_on: str
) -> None:
    span = date.fromisoformat(first), date.fromisoformat(last)
    found = compute_sessions(calendar, *span)
    assert (len(found.sessions), found.ends_on) == (days, date.fromisoformat(ends_on))
    assert all(span[0] <= session.day <= span[1] for session in found.sessions)
    assert found.days == tuple(session.day for session in found.sessions)


def test_a_range_beyond_the_rules_of_a_calendar_ends_with_them() -> None:
    found = compute_sessions("XHKG", date(2048, 1, 1), date(2051, 12, 31))
    assert found.ends_on < date(2051, 12, 31)
    assert all(day <= found.ends_on for day in found.days)
