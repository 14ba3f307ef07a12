"""Calendars of exchanges, asked for by several threads at once."""

from concurrent.futures import ThreadPoolExecutor
from datetime import date

from streamworkers.market.calendar.sessions import Sessions, sessions_between


def test_threads_that_ask_for_different_ranges_each_get_their_own() -> None:
    ranges = [(date(2000 + number, 1, 1), date(2001 + number, 12, 31)) for number in range(12)]

    def ask(span: tuple[date, date]) -> Sessions:
        return sessions_between("XNYS", *span)

    alone = [ask(span) for span in ranges]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(ask, ranges * 2))
    assert together == alone * 2
