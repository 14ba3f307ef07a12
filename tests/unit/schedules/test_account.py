"""Ticks and rows of the same moments are matched; everything else is a difference, or has moved."""

from datetime import UTC, date, datetime, timedelta

import pytest

from streamworkers.errors import BadInputError
from streamworkers.schedules import account
from streamworkers.schedules.account import TickAccount, TickPeriod, TickRecord, compare_ticks
from streamworkers.schedules.timing import Tick, Timing

HOURLY = Timing.parse("0 * * * *", "UTC", None)
CLOSES = Timing.parse("session_close+10m", "America/New_York", "XNYS")
DAY = datetime(2026, 6, 1, tzinfo=UTC)  # a Monday
PERIOD = TickPeriod(DAY, DAY + timedelta(days=1))


def _tick(hour: float) -> Tick:
    return Tick(DAY + timedelta(hours=hour), DAY.date())


def _row(hour: float, count: int = 1, session: date | None = None) -> TickRecord:
    return TickRecord(DAY + timedelta(hours=hour), session or DAY.date(), "started", count)


def _compare(
    ticks: list[float], rows: list[TickRecord], timing: Timing = HOURLY, decided_until: float = 99
) -> TickAccount:
    decided = _tick(decided_until).moment
    return compare_ticks(timing, [_tick(hour) for hour in ticks], rows, PERIOD, lambda tick: tick.moment <= decided)


def _differences(found: TickAccount) -> list[tuple[str, float, int]]:
    return [(each.kind, (each.moment - DAY).total_seconds() / 3600, each.tick_count) for each in found.differences]


@pytest.mark.parametrize(
    ("ticks", "rows", "differences"),
    [
        ([1, 2, 3], [_row(1), _row(2), _row(3)], []),
        ([1, 2, 3], [_row(1), _row(3)], [("missing", 2, 1)]),
        ([1, 3], [_row(1), _row(2), _row(3)], [("extra", 2, 1)]),
        ([1, 2, 3, 4], [_row(3, 3), _row(4)], []),
        ([1, 2, 3, 4], [_row(3, 2), _row(4)], [("missing", 1, 1)]),
        ([1, 2, 3, 4], [_row(1), _row(4, 4)], [("extra", 4, 1)]),
        ([1, 2], [_row(1), _row(2.5)], [("missing", 2, 1), ("extra", 2.5, 1)]),
        ([], [_row(1)], [("extra", 1, 1)]),
        ([1], [], [("missing", 1, 1)]),
    ],
)
def test_a_tick_without_a_row_and_a_row_without_a_tick_are_differences(
    ticks: list[float], rows: list[TickRecord], differences: list[tuple[str, float, int]]
) -> None:
    found = _compare(ticks, rows)
    assert _differences(found) == differences
    assert found.unaccounted == sum(count for _, _, count in differences)
    assert (found.ticks, found.undecided, found.moved) == (len(ticks), 0, 0)


def test_the_first_row_may_stand_for_ticks_from_before_the_period() -> None:
    assert _compare([1, 2], [_row(2, 1000)]).unaccounted == 0


def test_what_is_outside_of_the_period_counts_for_nothing() -> None:
    found = _compare([-1, 1, 25], [_row(-2), _row(1), _row(26)])
    assert (found.ticks, found.rows, found.unaccounted) == (1, 1, 0)


def test_a_tick_that_is_not_decided_yet_is_not_missing() -> None:
    found = _compare([1, 2, 3], [_row(1)], decided_until=1.5)
    assert (found.ticks, found.rows, found.undecided, found.unaccounted) == (3, 1, 2, 0)


def test_a_session_that_ticks_at_another_time_now_has_moved_and_a_second_row_is_doubled() -> None:
    found = _compare([17.17], [_row(20.17)], CLOSES)
    assert (found.ticks, found.rows, found.moved, found.unaccounted) == (1, 1, 1, 0)
    found = _compare([17.17], [_row(17.17), _row(20.17)], CLOSES)
    assert _differences(found) == [("doubled", 20.17, 1)]
    # Its tick is now outside of the time in which it had these times.
    assert _compare([], [_row(20.17)], CLOSES).moved == 1
    # Not a session any more.
    assert _differences(_compare([], [_row(20.17, session=date(2026, 5, 31))], CLOSES)) == [("extra", 20.17, 1)]


def test_no_more_ticks_are_compared_than_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account, "MOST_TICKS", 2)
    assert _compare([1, 2], []).ticks == 2
    with pytest.raises(BadInputError, match="the period has more than 2 ticks: audit a shorter one"):
        _compare([1, 2, 3], [])


def test_the_first_differences_are_listed_and_all_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account, "MOST_DIFFERENCES", 2)
    found = _compare([1, 2, 3], [])
    found.add(_compare([4], []))
    assert (len(found.differences), found.unaccounted, found.ticks) == (2, 4, 4)
