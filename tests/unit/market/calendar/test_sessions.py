"""Calendars of exchanges: any range of days, asked for by several threads at once."""

from concurrent.futures import ThreadPoolExecutor
from datetime import date
from threading import Lock

import exchange_calendars
import pytest

from streamworkers.market.calendar import sessions as module
from streamworkers.market.calendar.sessions import Sessions, compute_sessions, sessions_between


def test_threads_that_ask_for_different_ranges_each_get_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    # Each in two decades of its own, so that no two are computed together.
    ranges = [(date(1900 + 10 * number, 1, 1), date(1911 + 10 * number, 12, 31)) for number in range(12)]
    of_package = exchange_calendars.get_calendar
    calls, overlaps, busy = set[tuple[str, str]](), list[str](), Lock()

    def get_calendar(name: str, start: str, end: str) -> object:
        calls.add((start, end))
        is_alone = busy.acquire(blocking=False)
        if not is_alone:
            overlaps.append(start)
        try:
            return of_package(name, start, end)
        finally:
            if is_alone:
                busy.release()

    def ask(span: tuple[date, date]) -> Sessions:
        return sessions_between("XNYS", *span)

    alone = [ask(span) for span in ranges]
    module._compute.cache_clear()
    monkeypatch.setattr("exchange_calendars.get_calendar", get_calendar)
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(ask, ranges * 2))
    assert together == alone * 2
    assert overlaps == [], "the package is not for several threads"
    assert len(calls) == len(ranges), "none has failed and was computed in another way"


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
