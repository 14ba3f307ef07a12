"""Which ticks a period has."""

from datetime import UTC, date, datetime, timedelta

import pytest

from streamworkers.errors import BadInputError
from streamworkers.schedules.backfills.period import AT_CLOSE, MOST_TICKS, Period
from streamworkers.schedules.timing import Tick, Timing

_LATE = datetime(2100, 1, 1, tzinfo=UTC)


def _list(
    first: str, last: str, cron: str = AT_CLOSE, calendar: str | None = "XNYS", zone: str = "America/New_York"
) -> list[Tick]:
    period = Period(date.fromisoformat(first), date.fromisoformat(last))
    return period.list_ticks(Timing.parse(cron, zone, calendar), _LATE)


def test_the_closes_of_a_year_with_holidays_and_early_closes() -> None:
    ticks = _list("2024-01-01", "2024-12-31")
    assert len(ticks) == 252
    early = [tick.session.isoformat() for tick in ticks if tick.moment.hour < 20]
    assert early == ["2024-07-03", "2024-11-29", "2024-12-24"]


def test_a_period_of_many_years_has_each_session_once() -> None:
    ticks = _list("2016-01-04", "2021-12-31")
    assert len(ticks) == len({tick.session for tick in ticks}) == 1511
    assert [tick.moment for tick in ticks] == sorted(tick.moment for tick in ticks)


@pytest.mark.parametrize(
    ("cron", "calendar", "zone"),
    [
        ("session_open-23h59m", "XTKS", "America/New_York"),
        ("session_close+23h59m", "XNYS", "America/New_York"),
        ("30 23 * * *", None, "Pacific/Kiritimati"),
        ("30 0 * * *", None, "Pacific/Pago_Pago"),
    ],
)
def test_a_session_belongs_to_the_period_wherever_its_tick_lies(cron: str, calendar: str | None, zone: str) -> None:
    ticks = _list("2024-12-30", "2025-01-03", cron, calendar, zone)
    days = {tick.session for tick in ticks}
    assert len(ticks) == len(days)
    assert min(days) >= date(2024, 12, 30)
    assert max(days) == date(2025, 1, 3) or calendar == "XTKS"
    if calendar is None:
        assert len(days) == 5


def test_a_tick_that_has_not_come_is_left_out() -> None:
    timing = Timing.parse(AT_CLOSE, "America/New_York", "XNYS")
    period = Period(date(2024, 7, 1), date(2024, 7, 5))
    closes = [tick.moment for tick in period.list_ticks(timing, _LATE)]
    assert [tick.moment for tick in period.list_ticks(timing, closes[2])] == closes[:3]
    assert len(period.list_ticks(timing, closes[2] - timedelta(microseconds=1))) == 2


@pytest.mark.parametrize(
    ("first", "last", "message"),
    [
        ("2024-07-02", "2024-07-01", "--to 2024-07-01 is before --from 2024-07-02"),
        ("2024-07-02", "2024-07-04", "--to 2024-07-04 is in the future: today is 2024-07-03"),
        ("1899-12-31", "2024-07-01", "--from 1899-12-31 is before 1900-01-01"),
    ],
)
def test_a_period_that_breaks_a_rule_is_rejected(first: str, last: str, message: str) -> None:
    with pytest.raises(BadInputError) as raised:
        Period(date.fromisoformat(first), date.fromisoformat(last)).require_sound(date(2024, 7, 3))
    assert str(raised.value) == message


def test_too_many_ticks_are_rejected() -> None:
    with pytest.raises(BadInputError) as raised:
        _list("2024-01-01", "2024-12-31", "*/30 * * * *", None)
    assert str(raised.value) == (
        f"there are more than {MOST_TICKS:,} ticks from 2024-01-01 to 2024-12-31: choose a shorter period"
    )
