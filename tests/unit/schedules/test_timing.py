"""When schedules tick: by the clock, on sessions, at their openings and closes, and with jitter."""

from datetime import UTC, date, datetime, timedelta
from itertools import islice, pairwise, takewhile
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamworkers.errors import BadInputError, UnknownNameError, UsageError
from streamworkers.market.calendar.sessions import YEARS_AHEAD, require_calendar, sessions_around
from streamworkers.schedules.timing import SessionMoment, Tick, Timing, jittered, zone_named

NEW_YORK = ZoneInfo("America/New_York")
DAY = timedelta(days=1)
JITTER_OF_SCHEDULE_7 = 116.28161


def new_york(year: int, month: int, day: int, hour: int = 0, minute: int = 0, second: int = 0) -> datetime:
    return datetime(year, month, day, hour, minute, second, tzinfo=NEW_YORK)


def between(timing: Timing, start: datetime, end: datetime) -> list[Tick]:
    """The ticks after `start` and before `end`."""
    return list(takewhile(lambda tick: tick.moment < end, timing.after(start)))


def on_exchange(cron: str, calendar: str = "XNYS", zone: str = "America/New_York") -> Timing:
    return Timing.parse(cron, zone, calendar)


def test_after_an_early_close_a_schedule_ticks_earlier() -> None:
    ticks = between(on_exchange("session_close+10m"), new_york(2025, 11, 26), new_york(2025, 12, 2))
    assert [(tick.moment.astimezone(NEW_YORK), tick.session) for tick in ticks] == [
        (new_york(2025, 11, 26, 16, 10), date(2025, 11, 26)),
        (new_york(2025, 11, 28, 13, 10), date(2025, 11, 28)),
        (new_york(2025, 12, 1, 16, 10), date(2025, 12, 1)),
    ]
    assert {tick.moment.tzinfo for tick in ticks} == {UTC}


@pytest.mark.parametrize(
    "cron", ["session_close+10m", "session_open-30m", "session_open", "10 18 * * *", "*/30 * * * *"]
)
def test_nothing_ticks_on_christmas_day(cron: str) -> None:
    ticks = between(on_exchange(cron), new_york(2025, 12, 24), new_york(2025, 12, 27))
    assert {tick.session for tick in ticks} == {date(2025, 12, 24), date(2025, 12, 26)}
    assert {tick.moment.astimezone(NEW_YORK).date() for tick in ticks} == {date(2025, 12, 24), date(2025, 12, 26)}


def test_a_time_before_the_opening_follows_the_exchange_through_the_change_of_the_clocks() -> None:
    ticks = between(on_exchange("session_open-30m"), new_york(2026, 3, 6), new_york(2026, 3, 10))
    assert [tick.moment for tick in ticks] == [
        datetime(2026, 3, 6, 14, tzinfo=UTC),
        datetime(2026, 3, 9, 13, tzinfo=UTC),
    ]


def test_a_tick_on_the_day_after_keeps_the_day_of_its_session() -> None:
    friday = between(on_exchange("session_close+23h"), new_york(2025, 7, 11, 12), new_york(2025, 7, 14))
    assert friday == [
        Tick(new_york(2025, 7, 11, 15).astimezone(UTC), date(2025, 7, 10)),
        Tick(new_york(2025, 7, 12, 15).astimezone(UTC), date(2025, 7, 11)),
    ]


@pytest.mark.parametrize(
    ("cron", "edge", "seconds"),
    [
        ("session_open", "open", 0),
        ("session_close", "close", 0),
        (" session_close+10m ", "close", 600),
        ("session_open-30m", "open", -1800),
        ("session_close+1h30m5s", "close", 5405),
        ("session_open-90s", "open", -90),
        ("session_close+86399s", "close", 86_399),
        ("session_open-23h59m59s", "open", -86_399),
    ],
)
def test_the_time_from_an_edge_of_a_session_is_read(cron: str, edge: str, seconds: int) -> None:
    assert SessionMoment.parse(cron) == SessionMoment(edge, timedelta(seconds=seconds))


FORM = "is not session_open or session_close, alone or with + or - and a time such as 10m or 1h30m"


@pytest.mark.parametrize(
    ("cron", "message"),
    [
        *(
            (text, f"{text!r} {FORM}")
            for text in (
                "session",
                "session_opens",
                "session_middle+10m",
                "session_close+",
                "session_close-10",
                "session_close+10d",
                "session_close + 10m",
                "session_close+m",
                "session_close+1.5h",
                "session_close+-10m",
                "session_close+100000s",
                "SESSION_CLOSE",
            )
        ),
        *(
            (text, f"{text!r} is more than 23:59:59 from its session")
            for text in ("session_close+24h", "session_open-99999m")
        ),
    ],
)
def test_what_is_no_time_from_a_session_is_rejected_with_the_rule(cron: str, message: str) -> None:
    with pytest.raises(BadInputError) as raised:
        SessionMoment.parse(cron)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("cron", "zone", "calendar", "error", "message"),
    [
        (
            "session_close+10m",
            "America/New_York",
            None,
            BadInputError,
            "'session_close+10m' needs a calendar, such as XNYS",
        ),
        ("every 5", "America/New_York", "XNYS", BadInputError, "'every 5' is not every and a time such as 90m"),
        ("session_clse", "America/New_York", "XNYS", BadInputError, f"'session_clse' {FORM}"),
        (
            "61 * * * *",
            "America/New_York",
            "XNYS",
            BadInputError,
            "cron '61 * * * *': minute '61' is not * or of 0-59;",
        ),
        ("0 0 * * *", "Mars/Olympus", None, BadInputError, "timezone 'Mars/Olympus' is not a name of the tz database"),
        (
            "0 0 * * *",
            "America/New_York",
            "XNYSE",
            UnknownNameError,
            "no calendar is named 'XNYSE'; did you mean 'XNYS'?",
        ),
        ("session_open", "America/New_York", "?", UnknownNameError, "no calendar is named '?'; there are "),
        ("0 0 * * *", "America/New_York", "", UnknownNameError, "no calendar is named ''; there are "),
        ("0 0 * * *", "America/New_York", "xnys", UnknownNameError, "no calendar is named 'xnys'; "),
    ],
)
def test_a_rejected_timing_names_the_value_and_the_rule(
    cron: str, zone: str, calendar: str | None, error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as raised:
        Timing.parse(cron, zone, calendar)
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize(
    "name",
    ["", "America", "New_York", "america/new_york", "../etc/passwd", "/etc/passwd", "a\0b", "Ä", "\ud800", "x" * 9999],
)
def test_what_is_no_time_zone_is_rejected_by_its_name(name: str) -> None:
    with pytest.raises(BadInputError) as raised:
        zone_named(name)
    assert str(raised.value) == f"timezone {name!r} is not a name of the tz database, such as America/New_York"


@pytest.mark.parametrize(
    "name", ["localtime", "Factory", "posixrules", "right/UTC", "right/America/New_York", "posix/Europe/London"]
)
def test_a_file_beside_the_zones_is_rejected_as_a_zone(name: str) -> None:
    with pytest.raises(BadInputError) as raised:
        zone_named(name)
    assert str(raised.value) == (
        f"timezone {name!r} is not the same on every machine; name one such as America/New_York"
    )


@pytest.mark.parametrize("name", ["UTC", "America/New_York", "Etc/GMT+12", "US/Eastern", "EST5EDT", "Asia/Kathmandu"])
def test_every_other_name_of_the_tz_database_is_a_zone(name: str) -> None:
    assert zone_named(name) is ZoneInfo(name)


def test_an_interval_stands_where_a_cron_does() -> None:
    ticks = Timing.parse(" every 90m from 2026-01-05 09:30", "America/New_York", None).list_ticks(
        new_york(2026, 1, 5, 9, 30), 2
    )
    assert ticks == [
        Tick(new_york(2026, 1, 5, 9, 30).astimezone(UTC), date(2026, 1, 5)),
        Tick(new_york(2026, 1, 5, 11).astimezone(UTC), date(2026, 1, 5)),
    ]
    assert next(on_exchange("every 8h").after(new_york(2026, 4, 2, 23))).session == date(2026, 4, 6)


def test_a_clock_time_with_a_calendar_skips_weekends_and_holidays() -> None:
    ticks = between(on_exchange("10 18 * * *"), new_york(2025, 12, 23), new_york(2026, 1, 6))
    sessions = [(12, 23), (12, 24), (12, 26), (12, 29), (12, 30), (12, 31), (1, 2), (1, 5)]
    assert [(tick.session.month, tick.session.day) for tick in ticks] == sessions
    assert all(
        tick.moment == new_york(tick.session.year, tick.session.month, tick.session.day, 18, 10) for tick in ticks
    )


def test_an_interval_with_a_calendar_ticks_all_day_on_sessions_alone() -> None:
    ticks = between(on_exchange("*/30 * * * *"), new_york(2026, 4, 2), new_york(2026, 4, 7))
    assert {tick.session for tick in ticks} == {date(2026, 4, 2), date(2026, 4, 6)}
    assert len(ticks) == 2 * 48 - 1
    assert new_york(2026, 4, 6) in {tick.moment for tick in ticks}


def test_the_session_is_the_day_in_the_zone_of_the_schedule() -> None:
    ticks = between(on_exchange("0 22 * * *"), new_york(2026, 7, 2), new_york(2026, 7, 7))
    assert [tick.session for tick in ticks] == [date(2026, 7, 2), date(2026, 7, 6)]
    tokyo = between(on_exchange("0 7 * * *", zone="Asia/Tokyo"), new_york(2026, 7, 2), new_york(2026, 7, 7))
    assert [(tick.session, tick.moment.day) for tick in tokyo] == [(date(2026, 7, 6), 5), (date(2026, 7, 7), 6)]


def test_every_second_passes_a_weekend_at_once_and_begins_at_the_first_of_monday() -> None:
    ticks = list(islice(on_exchange("* * * * * *").after(new_york(2026, 7, 10, 23, 59, 58)), 3))
    first = new_york(2026, 7, 13)
    assert [tick.moment for tick in ticks] == [
        first - 2 * DAY - timedelta(seconds=1),
        first,
        first + timedelta(seconds=1),
    ]


def test_without_a_calendar_every_day_is_a_session() -> None:
    ticks = between(
        Timing.parse("0 23 * * *", "America/New_York", None), new_york(2025, 12, 24), new_york(2025, 12, 28)
    )
    assert [tick.session.day for tick in ticks] == [24, 25, 26, 27]


def test_a_tick_at_a_moment_is_not_after_it_but_from_it() -> None:
    moment = datetime(2026, 6, 30, 20, tzinfo=UTC)
    for cron in ("0 16 * * *", "session_close"):
        timing = on_exchange(cron)
        assert next(timing.from_moment(moment)) == Tick(moment, date(2026, 6, 30))
        assert next(timing.after(moment)) == Tick(moment + DAY, date(2026, 7, 1))


@given(
    st.sampled_from(["session_close+10m", "session_open-23h", "session_close+23h", "10 18 * * *", "*/45 * * * *"]),
    st.integers(0, 700 * 86_400).map(lambda seconds: new_york(2025, 1, 1) + timedelta(seconds=seconds)),
)
def test_ticks_on_an_exchange_do_not_depend_on_where_the_iteration_begins(cron: str, moment: datetime) -> None:
    timing = on_exchange(cron)
    ticks = list(islice(timing.after(moment), 20))
    earlier = takewhile(lambda tick: tick.moment <= ticks[-1].moment, timing.after(moment - 9 * DAY))
    assert ticks == [tick for tick in earlier if tick.moment > moment]
    assert all(first.moment < second.moment for first, second in pairwise(ticks))
    assert all(tick.session in sessions_around("XNYS", moment) for tick in ticks)


@pytest.mark.parametrize("cron", ["session_close+10m", "session_open", "0 18 * * *", "*/30 * * * *"])
def test_a_calendar_that_ends_yields_no_tick_after_its_end(cron: str) -> None:
    timing = on_exchange(cron, "XBOM", "Asia/Kolkata")
    last = list(timing.after(datetime(2026, 12, 28, tzinfo=UTC)))
    assert last[-1].session == date(2026, 12, 31)
    assert next(timing.after(datetime(2026, 12, 31, 20, tzinfo=UTC)), None) is None
    assert next(timing.after(datetime(2031, 1, 1, tzinfo=UTC)), None) is None


@pytest.mark.parametrize(
    ("calendar", "now", "days"),
    [
        ("XBOM", datetime(2026, 12, 1, tzinfo=UTC), 30),
        ("XBOM", datetime(2026, 12, 31, 23, tzinfo=UTC), 0),
        ("XBOM", datetime(2027, 1, 10, tzinfo=UTC), -10),
        ("XNYS", datetime(2026, 12, 31, 12, tzinfo=UTC), 731),
        ("XNYS", datetime(2026, 1, 1, tzinfo=UTC), 1095),
    ],
)
def test_the_days_that_are_left_of_a_calendar_are_counted(calendar: str, now: datetime, days: int) -> None:
    assert on_exchange("0 18 * * *", calendar, "UTC").calendar_days_left(now) == days


def test_a_schedule_without_a_calendar_has_none_that_ends() -> None:
    assert Timing.parse("0 18 * * *", "UTC", None).calendar_days_left(new_york(2026, 1, 1)) is None


def test_sessions_know_their_days_openings_and_closes() -> None:
    sessions = sessions_around("XNYS", new_york(2025, 6, 1))
    assert date(2025, 11, 28) in sessions
    assert date(2025, 11, 27) not in sessions
    assert date(2025, 11, 29) not in sessions
    assert date(2099, 1, 1) not in sessions
    (thanksgiving_friday, monday) = islice(sessions.from_day(date(2025, 11, 27)), 2)
    assert thanksgiving_friday.opens == new_york(2025, 11, 28, 9, 30)
    assert thanksgiving_friday.closes == new_york(2025, 11, 28, 13)
    assert monday.day == date(2025, 12, 1)
    assert sessions.next_day(date(2025, 11, 28)) == date(2025, 12, 1)
    assert sessions.next_day(date(2025, 11, 27)) == date(2025, 11, 28)
    assert sessions.next_day(sessions.days[-1]) is None
    assert sessions.ends_on == date(2025 + YEARS_AHEAD, 12, 31)
    assert sessions.days[0] == date(2024, 1, 2)


@pytest.mark.parametrize(
    "name", ["XNYS", "XLON", "XBOM", "24/7", "CMES", "NYSE", "ASEX", "XBEL", "XBSE", "XCYS", "XTAE"]
)
def test_a_calendar_has_sessions_or_is_rejected_by_its_name(name: str) -> None:
    now = datetime(2026, 6, 1, tzinfo=UTC)
    try:
        days = sessions_around(require_calendar(name), now).days
    except UsageError as rejected:
        assert name in str(rejected)  # noqa: PT017  # a library that cannot do it is not ours to mend
        return
    assert any(now.date() <= day <= now.date() + 14 * DAY for day in days)


def test_jitter_is_the_same_for_all_who_ask_and_another_for_each_tick_and_schedule() -> None:
    tick = datetime(2026, 1, 1, tzinfo=UTC)
    assert jittered(tick, 7, 600) == jittered(tick, 7, 600)
    # The very value, for it must not differ between processes as a salted hash would.
    assert (jittered(tick, 7, 600) - tick).total_seconds() == pytest.approx(JITTER_OF_SCHEDULE_7)
    assert len({jittered(tick, schedule_id, 600) for schedule_id in range(100)}) == 100
    assert len({jittered(tick + n * DAY, 7, 600) - n * DAY for n in range(100)}) == 100


def test_no_jitter_is_none() -> None:
    tick = datetime(2026, 1, 1, tzinfo=UTC)
    assert jittered(tick, 7, 0) == tick


@pytest.mark.parametrize("jitter_seconds", [1, 60, 86_400])
def test_jitter_fills_its_range_with_a_mean_of_half(jitter_seconds: int) -> None:
    ticks = [datetime(2026, 1, 1, tzinfo=UTC) + n * timedelta(minutes=5) for n in range(4000)]
    shares = [(jittered(tick, 7, jitter_seconds) - tick).total_seconds() / jitter_seconds for tick in ticks]
    assert 0 <= min(shares) < 0.01
    assert 0.99 < max(shares) <= 1
    assert sum(shares) / len(shares) == pytest.approx(0.5, abs=0.02)
    assert [sum(share < quarter for share in shares) / len(shares) for quarter in (0.25, 0.75)] == pytest.approx(
        [0.25, 0.75], abs=0.03
    )
