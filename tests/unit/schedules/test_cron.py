"""Cron expressions: what they accept, what they reject and why, and what they do when the clocks change."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice, pairwise, takewhile
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamworkers.errors import BadInputError
from streamworkers.schedules import local_time
from streamworkers.schedules.cron import Cron
from streamworkers.schedules.cron_fields import ALIASES

NEW_YORK, LONDON, SYDNEY = ZoneInfo("America/New_York"), ZoneInfo("Europe/London"), ZoneInfo("Australia/Sydney")
ZONE_OF_UTC = ZoneInfo("UTC")
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
FORM = (
    "each number alone, as a list a,b, a range a-b from low to high, or with a step /n from 1 to the number of values"
    " in the range"
)
DAYS_OF_MONTH = "1-31, L (the last day) or LW (the last weekday)"
DAYS_OF_WEEK = "0-7 or SUN-SAT (0 and 7 are Sunday), MON#1 (the first Monday) or 5L (the last Friday)"
SHORT_DAYS = [
    *((NEW_YORK, date(year, 3, day)) for year, day in ((2025, 9), (2026, 8), (2027, 14))),
    *((LONDON, date(year, 3, day)) for year, day in ((2025, 30), (2026, 29), (2027, 28))),
    *((SYDNEY, date(year, 10, day)) for year, day in ((2025, 5), (2026, 4), (2027, 3))),
]
LONG_DAYS = [
    *((NEW_YORK, date(year, 11, day)) for year, day in ((2025, 2), (2026, 1), (2027, 7))),
    *((LONDON, date(year, 10, day)) for year, day in ((2025, 26), (2026, 25), (2027, 31))),
    *((SYDNEY, date(year, 4, day)) for year, day in ((2025, 6), (2026, 5), (2027, 4))),
]
CHANGES = [*SHORT_DAYS, *LONG_DAYS]
HOURS_OF_CHANGES = [*((zone, day, 23) for zone, day in SHORT_DAYS), *((zone, day, 25) for zone, day in LONG_DAYS)]


def midnight(zone: ZoneInfo, day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=zone).astimezone(UTC)


def after(expression: str, moment: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    """The ticks after a moment."""
    return (tick for tick, _ in Cron(expression).after(moment, zone))


def between(expression: str, zone: ZoneInfo, start: datetime, end: datetime) -> list[datetime]:
    """The ticks after `start` and before `end`."""
    return list(takewhile(lambda tick: tick < end, after(expression, start, zone)))


def on_day(expression: str, zone: ZoneInfo, day: date) -> list[datetime]:
    """The ticks of a local calendar day."""
    return between(expression, zone, midnight(zone, day) - timedelta(microseconds=1), midnight(zone, day + DAY))


def shown(ticks: Iterator[datetime], count: int, form: str = "%m-%d %H:%M:%S") -> list[str]:
    return [f"{tick:{form}}" for tick in islice(ticks, count)]


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        *(
            (
                text,
                f"cron {text!r} has {count} fields, not 5 (minute, hour, day of month, month, day of week) or 6 with",
            )
            for text, count in (("", 0), ("  ", 0), ("* * * *", 4), ("* * * * * * *", 7))
        ),
        ("@often", f"cron '@often' is not one of {', '.join(ALIASES)}"),
        ("@every 90m", f"cron '@every 90m' is not one of {', '.join(ALIASES)}; an interval is: every 90m"),
        ("@", "cron '@' is not one of @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly"),
        ("1" * 201, f"cron '{'1' * 40}'… is longer than 200 characters"),
        ("@" + "x" * 300, f"cron '@{'x' * 39}'… is longer than 200 characters"),
        *(
            (f"{value} * * * * *", f"cron '{value} * * * * *': second '{value}' is not * or of 0-59; {FORM}")
            for value in ("60", "-1", "x", "1,,2", "9-3", "*/0")
        ),
        *(
            (f"{value} * * * *", f"cron '{value} * * * *': minute '{value}' is not * or of 0-59; {FORM}")
            for value in ("60", "1.5", "5-1", "*/0", "*/", "/5", ",", "1-", "*/15/2", "²", "L", "MON", "*-5", "0x1")
        ),
        *(
            (f"0 {value} * * *", f"cron '0 {value} * * *': hour '{value}' is not * or of 0-23; {FORM}")
            for value in ("24", "23-25", "?", "L", "22-2")
        ),
        *(
            (
                f"0 0 {value} * *",
                f"cron '0 0 {value} * *': day of month '{value}' is not * or of {DAYS_OF_MONTH}; {FORM}",
            )
            for value in ("0", "32", "1-32", "WL", "15W", "L-3", "LW#2", "MON", "L/2", "1,", "1-", "①")
        ),
        *(
            (f"0 0 1 {value} *", f"cron '0 0 1 {value} *': month '{value}' is not * or of 1-12 or JAN-DEC; {FORM}")
            for value in ("0", "13", "JANUARY", "DEC-JAN", "L")
        ),
        *(
            (f"0 0 * * {value}", f"cron '0 0 * * {value}': day of week '{value}' is not * or of {DAYS_OF_WEEK}; {FORM}")
            for value in (
                "8",
                "MONDAY",
                "FRI-MON",
                "MON#0",
                "MON#6",
                "MON#",
                "#1",
                "L",
                "8L",
                "SUNL",
                "L5",
                "²L",
                "MON#1/2",
                "MON-FRI#1",
                "#",
                "fr\N{LATIN SMALL LETTER DOTLESS I}",
            )
        ),
        ("0 0 30 2 *", "cron '0 0 30 2 *' never fires: no year has the day 30 in the month 2"),
        ("0 0 31 FEB,APR *", "cron '0 0 31 FEB,APR *' never fires: no year has the day 31 in the month FEB,APR"),
        ("5 0 0 31 4-4 *", "cron '5 0 0 31 4-4 *' never fires: no year has the day 31 in the month 4-4"),
        (
            "0 0 */31 * MON#2",
            "cron '0 0 */31 * MON#2' never fires: no year has the day */31 in the month * on the day of week MON#2",
        ),
        *(
            (
                text,
                f"cron {text!r}: {name} {text.split()[place]!r} has a step of {step}, over its {size} values",
            )
            for text, name, place, step, size in (
                ("*/90 * * * *", "minute", 0, 90, 60),
                ("*/61 * * * *", "minute", 0, 61, 60),
                ("5,*/061 * * * *", "minute", 0, "061", 60),
                ("*/61 0 0 * * *", "second", 0, 61, 60),
                ("50/11 0 * * *", "minute", 0, 11, 10),
                ("0 */25 * * *", "hour", 1, 25, 24),
                ("0 9-17/10 * * *", "hour", 1, 10, 9),
                ("0 0 1-31/40 * *", "day of month", 2, 40, 31),
                ("0 0 1 */13 *", "month", 3, 13, 12),
                ("0 0 * * */8", "day of week", 4, 8, 7),
                ("0 0 * * 5/4", "day of week", 4, 4, 3),
                (f"*/{'9' * 99} * * * *", "minute", 0, "9" * 99, 60),
            )
        ),
    ],
)
def test_a_rejection_names_the_field_the_value_and_the_rule(expression: str, message: str) -> None:
    with pytest.raises(BadInputError) as raised:
        Cron(expression)
    assert str(raised.value).startswith(message)


def test_the_longest_expression_is_still_read_and_blanks_around_do_not_count() -> None:
    expression = f"0   5\t*{' ' * 189} * *"
    assert len(expression) == 200
    assert shown(after(f"  {expression}\n", NEW_YEAR, ZONE_OF_UTC), 2) == ["01-01 05:00:00", "01-02 05:00:00"]


@given(st.text(max_size=30) | st.text("0123456789*/,-L#W@ MON", max_size=20))
def test_any_text_is_a_cron_or_is_rejected_and_nothing_else_is_raised(text: str) -> None:
    try:
        cron = Cron(text)
    except BadInputError:
        return
    (first, _), (second, _) = islice(cron.after(NEW_YEAR, NEW_YORK), 2)
    assert NEW_YEAR < first < second


@pytest.mark.parametrize(
    ("alias", "ticks"),
    [
        ("@yearly", ["2027-01-01 00:00", "2028-01-01 00:00"]),
        ("@annually", ["2027-01-01 00:00", "2028-01-01 00:00"]),
        ("@monthly", ["2026-02-01 00:00", "2026-03-01 00:00"]),
        ("@weekly", ["2026-01-04 00:00", "2026-01-11 00:00"]),
        ("@daily", ["2026-01-02 00:00", "2026-01-03 00:00"]),
        ("@midnight", ["2026-01-02 00:00", "2026-01-03 00:00"]),
        ("@hourly", ["2026-01-01 01:00", "2026-01-01 02:00"]),
        ("@HOURLY", ["2026-01-01 01:00", "2026-01-01 02:00"]),
        (" @Daily ", ["2026-01-02 00:00", "2026-01-03 00:00"]),
    ],
)
def test_an_alias_means_what_it_says(alias: str, ticks: list[str]) -> None:
    assert shown(after(alias, NEW_YEAR, ZONE_OF_UTC), 2, "%Y-%m-%d %H:%M") == ticks


def test_every_alias_is_tried() -> None:
    assert set(ALIASES) == {"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"}


@pytest.mark.parametrize(
    ("expression", "ticks"),
    [
        ("5 4 * * *", ["01-01 04:05:00", "01-02 04:05:00"]),
        ("0,30 9-10 * * *", ["01-01 09:00:00", "01-01 09:30:00", "01-01 10:00:00", "01-01 10:30:00", "01-02 09:00:00"]),
        ("10-50/20 0 * * *", ["01-01 00:10:00", "01-01 00:30:00", "01-01 00:50:00", "01-02 00:10:00"]),
        ("50/5 0 * * *", ["01-01 00:50:00", "01-01 00:55:00", "01-02 00:50:00"]),
        ("*/25 * * * *", ["01-01 00:25:00", "01-01 00:50:00", "01-01 01:00:00"]),
        ("0 0 1 feb,Jun *", ["02-01 00:00:00", "06-01 00:00:00", "02-01 00:00:00"]),
        ("0 0 1 NOV-DEC *", ["11-01 00:00:00", "12-01 00:00:00", "11-01 00:00:00"]),
        ("0 0 * * sat", ["01-03 00:00:00", "01-10 00:00:00"]),
        ("0 0 * * MON-FRI", ["01-02 00:00:00", "01-05 00:00:00", "01-06 00:00:00"]),
        ("0 0 * * 6-7", ["01-03 00:00:00", "01-04 00:00:00", "01-10 00:00:00"]),
        ("0 0 L * *", ["01-31 00:00:00", "02-28 00:00:00", "03-31 00:00:00"]),
        ("0 0 LW * *", ["01-30 00:00:00", "02-27 00:00:00", "03-31 00:00:00"]),
        ("0 0 1,L * *", ["01-31 00:00:00", "02-01 00:00:00", "02-28 00:00:00"]),
        ("0 0 * * MON#1", ["01-05 00:00:00", "02-02 00:00:00", "03-02 00:00:00"]),
        ("0 0 * * 5#5", ["01-30 00:00:00", "05-29 00:00:00"]),
        ("0 0 * * 5L", ["01-30 00:00:00", "02-27 00:00:00"]),
        ("0 0 * * 7L", ["01-25 00:00:00", "02-22 00:00:00"]),
        ("0 0 13 * FRI", ["01-02 00:00:00", "01-09 00:00:00", "01-13 00:00:00", "01-16 00:00:00"]),
        ("0 0 */2 * FRI", ["01-09 00:00:00", "01-23 00:00:00"]),
        ("*/60 */24 * * *", ["01-02 00:00:00", "01-03 00:00:00"]),
        ("0 0 * * */7", ["01-04 00:00:00", "01-11 00:00:00"]),
        ("0 0 * * 5/2", ["01-02 00:00:00", "01-04 00:00:00", "01-09 00:00:00"]),
        ("0 0 1,lw 2-3 *", ["02-01 00:00:00", "02-27 00:00:00", "03-01 00:00:00", "03-31 00:00:00"]),
        ("0 0 * * tue#2,5l", ["01-13 00:00:00", "01-30 00:00:00", "02-10 00:00:00"]),
        ("0 0 */10 * MON", ["05-11 00:00:00", "06-01 00:00:00", "08-31 00:00:00"]),
        ("0 0 31 4 MON", ["04-06 00:00:00", "04-13 00:00:00"]),
        ("30 0 0 * * *", ["01-01 00:00:30", "01-02 00:00:30"]),
        ("*/20 0 0 * * *", ["01-01 00:00:20", "01-01 00:00:40", "01-02 00:00:00"]),
        ("5,10-11 59 23 * * *", ["01-01 23:59:05", "01-01 23:59:10", "01-01 23:59:11", "01-02 23:59:05"]),
        ("*/30 * * * * *", ["01-01 00:00:30", "01-01 00:01:00", "01-01 00:01:30"]),
        ("* * * * * *", ["01-01 00:00:01", "01-01 00:00:02", "01-01 00:00:03"]),
    ],
)
def test_fields_mean_what_cron_means_by_them(expression: str, ticks: list[str]) -> None:
    assert shown(after(expression, NEW_YEAR, ZONE_OF_UTC), len(ticks)) == ticks


def test_a_leap_day_waits_for_its_year() -> None:
    assert shown(after("0 12 29 2 *", NEW_YEAR, ZONE_OF_UTC), 2, "%Y-%m-%d") == ["2028-02-29", "2032-02-29"]


def test_sunday_is_0_and_7_and_its_name() -> None:
    sundays = ["01-04 00:00:00", "01-11 00:00:00", "01-18 00:00:00"]
    for name in ("0", "7", "SUN", "0,7"):
        assert shown(after(f"0 0 * * {name}", NEW_YEAR, ZONE_OF_UTC), 3) == sundays


def test_ticks_are_in_utc_whatever_the_zone_and_the_moment_are_in() -> None:
    moment = datetime(2026, 7, 1, 12, tzinfo=ZoneInfo("Asia/Tokyo"))
    ticks = list(islice(after("10 18 * * *", moment, NEW_YORK), 2))
    assert ticks == [datetime(2026, 7, 1, 22, 10, tzinfo=UTC), datetime(2026, 7, 2, 22, 10, tzinfo=UTC)]
    assert [tick.tzinfo for tick in ticks] == [UTC, UTC]


def test_a_tick_is_later_than_its_moment_by_a_microsecond_or_more() -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    for expression in ("0 12 * * *", "0 0 12 * * *", "0 * * * *"):
        ticks = after(expression, noon - timedelta(microseconds=1), ZONE_OF_UTC)
        assert next(ticks) == noon
        assert next(after(expression, noon, ZONE_OF_UTC)) > noon


@pytest.mark.parametrize(("zone", "day", "hours"), HOURS_OF_CHANGES)
def test_the_days_of_change_are_those_of_the_time_zone(zone: ZoneInfo, day: date, hours: int) -> None:
    assert midnight(zone, day + DAY) - midnight(zone, day) == timedelta(hours=hours)


@pytest.mark.parametrize("clock", ["30 2", "30 1", "0 1", "0 2", "59 2", "0 3", "10 18", "0 0", "59 23"])
@pytest.mark.parametrize(("zone", "day"), CHANGES)
def test_a_fixed_time_fires_once_on_each_day_also_when_the_clocks_change(zone: ZoneInfo, day: date, clock: str) -> None:
    days = [day + timedelta(days=offset) for offset in (-2, -1, 0, 1, 2)]
    start, end = midnight(zone, days[0]) - timedelta(microseconds=1), midnight(zone, days[-1] + DAY)
    for seconds in ("", "0 ", "59 "):
        ticks = between(f"{seconds}{clock} * * *", zone, start, end)
        assert [tick.astimezone(zone).date() for tick in ticks] == days


@pytest.mark.parametrize(
    ("zone", "day", "clock", "fires"),
    [
        (NEW_YORK, date(2026, 3, 8), "30 2", "03:00:00-04:00"),
        (NEW_YORK, date(2026, 3, 8), "30 1", "01:30:00-05:00"),
        (NEW_YORK, date(2026, 3, 8), "30 3", "03:30:00-04:00"),
        (NEW_YORK, date(2026, 11, 1), "30 1", "01:30:00-04:00"),
        (NEW_YORK, date(2026, 11, 1), "30 2", "02:30:00-05:00"),
        (LONDON, date(2026, 3, 29), "30 1", "02:00:00+01:00"),
        (LONDON, date(2026, 10, 25), "30 1", "01:30:00+01:00"),
        (SYDNEY, date(2026, 10, 4), "30 2", "03:00:00+11:00"),
        (SYDNEY, date(2026, 4, 5), "30 2", "02:30:00+11:00"),
    ],
)
def test_a_time_that_is_missing_fires_at_the_end_of_the_gap_and_a_repeated_one_the_first_time(
    zone: ZoneInfo, day: date, clock: str, fires: str
) -> None:
    (tick,) = on_day(f"{clock} * * *", zone, day)
    assert tick.astimezone(zone).isoformat() == f"{day}T{fires}"
    (tick_with_seconds,) = on_day(f"7 {clock} * * *", zone, day)
    assert tick_with_seconds == tick + timedelta(seconds=7)


@pytest.mark.parametrize(
    ("expression", "seconds"),
    [
        ("0 * * * *", 3600),
        ("*/15 * * * *", 900),
        ("0 */15 * * * *", 900),
        ("0 0-23 * * *", 3600),
        ("0,30 0/1 * * *", 1800),
    ],
)
@pytest.mark.parametrize(("zone", "day", "hours"), HOURS_OF_CHANGES)
def test_an_interval_follows_real_time(zone: ZoneInfo, day: date, hours: int, expression: str, seconds: int) -> None:
    ticks = on_day(expression, zone, day)
    assert len(ticks) == hours * 3600 // seconds
    assert ticks[0] == midnight(zone, day)
    assert {later - earlier for earlier, later in pairwise(ticks)} == {timedelta(seconds=seconds)}


def test_all_minutes_of_one_hour_fire_in_both_passes_of_it_and_not_when_it_is_missing() -> None:
    assert len(on_day("*/10 1 * * *", NEW_YORK, date(2026, 11, 1))) == 12
    assert len(on_day("0-59 1 * * *", NEW_YORK, date(2026, 11, 1))) == 120
    assert on_day("*/10 2 * * *", NEW_YORK, date(2026, 3, 8)) == []
    assert on_day("0-59 2 * * *", NEW_YORK, date(2026, 3, 8)) == []


EXPRESSIONS = [
    "30 2 * * *",
    "30 1 * * *",
    "0,30 1-3 * * *",
    "10 18 * * *",
    "*/20 10 2 * * *",
    "5 30 1 * * *",
    "0 * * * *",
    "*/15 * * * *",
    "*/20 1 * * *",
    "*/20 2,3 * * *",
    "5 */2 * * *",
    "30 */7 1-3 * * *",
    "0 0 * * SUN",
]


def _same_from_anywhere(expression: str, zone: ZoneInfo, day: date, seconds: float) -> None:
    start, end = midnight(zone, day - 2 * DAY), midnight(zone, day + 2 * DAY)
    moment = start + timedelta(seconds=seconds)
    ticks = between(expression, zone, moment, end)
    assert ticks == [tick for tick in between(expression, zone, start - DAY, end) if tick > moment]
    assert all(earlier < later for earlier, later in pairwise([moment, *ticks]))


@settings(max_examples=400)
@given(st.sampled_from(EXPRESSIONS), st.sampled_from(CHANGES), st.floats(0, 3 * 86_400))
def test_ticks_do_not_depend_on_where_the_iteration_begins(
    expression: str, change: tuple[ZoneInfo, date], seconds: float
) -> None:
    _same_from_anywhere(expression, *change, seconds)


@settings(max_examples=400)
@given(st.sampled_from(EXPRESSIONS), st.sampled_from(CHANGES), st.integers(-30 * 60, 4 * 3600))
def test_ticks_do_not_depend_on_a_beginning_within_the_hour_that_is_missing_or_repeated(
    expression: str, change: tuple[ZoneInfo, date], seconds: int
) -> None:
    _same_from_anywhere(expression, *change, 2 * 86_400 + seconds)


@pytest.mark.parametrize(
    ("expression", "zone", "start", "ticks"),
    [
        # Its clocks go from 00:00 to 01:00 at the beginning of a Friday.
        (
            "*/20 1 * * FRI",
            "Africa/Cairo",
            "2026-04-23T12:00",
            ["24 01:00:00 +0300", "24 01:20:00 +0300", "24 01:40:00 +0300"],
        ),
        ("30 0 * * FRI", "Africa/Cairo", "2026-04-23T12:00", ["24 01:00:00 +0300"]),
        ("*/30 0 * * FRI", "Africa/Cairo", "2026-04-23T12:00", []),
        # From 02:00 to 02:30, and back to 01:30 from 02:00.
        ("*/20 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00", ["04 02:40:00 +1100", "05 02:00:00 +1100"]),
        ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00", ["04 02:30:00 +1100", "05 02:15:00 +1100"]),
        (
            "*/20 1 * * *",
            "Australia/Lord_Howe",
            "2026-04-05T01:30",
            ["05 01:40:00 +1100", "05 01:40:00 +1030", "06 01:00:00 +1030"],
        ),
        ("40 1 * * *", "Australia/Lord_Howe", "2026-04-05T01:30", ["05 01:40:00 +1100", "06 01:40:00 +1030"]),
        # From Saturday 23:00 to Sunday 00:00: a time that Saturday lacks ticks at midnight, and is Saturday's.
        ("30 23 * * SAT", "America/Nuuk", "2026-03-27T12:00", ["29 00:00:00 -0100"]),
        ("0,59 30,59 23,0 * * SAT", "America/Nuuk", "2026-03-28T12:00", ["29 00:00:00 -0100", "29 00:00:59 -0100"]),
        (
            "0,59 30 23 * * *",
            "America/Nuuk",
            "2026-03-28T12:00",
            ["29 00:00:00 -0100", "29 00:00:59 -0100", "29 23:30:00 -0100"],
        ),
        # By three hours, and by two.
        ("0 1 * * *", "Antarctica/Casey", "2020-10-03T12:00", ["04 03:01:00 +1100", "05 01:00:00 +1100"]),
        ("30 2 * * *", "Antarctica/Troll", "2026-03-28T12:00", ["29 03:00:00 +0200", "30 02:30:00 +0200"]),
        # 30 December 2011 was no day there.
        ("0 12 * * *", "Pacific/Apia", "2011-12-29T00:00", ["29 12:00:00 -1000", "31 12:00:00 +1400"]),
        ("0 */12 * * *", "Pacific/Apia", "2011-12-29T06:00", ["29 12:00:00 -1000", "31 00:00:00 +1400"]),
        # Sunday begins, and a minute later it is Saturday again.
        ("30 23 * * SAT", "America/St_Johns", "2010-11-06T23:00", ["06 23:30:00 -0230", "13 23:30:00 -0330"]),
        ("*/30 23 * * SAT", "America/St_Johns", "2010-11-06T23:10", ["06 23:30:00 -0230", "06 23:30:00 -0330"]),
        (
            "* 0 * * SUN",
            "America/St_Johns",
            "2010-11-06T23:10",
            ["07 00:00:00 -0230", "07 00:00:00 -0330", "07 00:01:00 -0330"],
        ),
        # Clocks of 1971 were 44 minutes and 30 seconds behind.
        ("0 0 * * *", "Africa/Monrovia", "1971-12-31T00:00", ["01 00:00:00 -004430"]),
        ("* * * * *", "Africa/Monrovia", "1972-01-06T23:59", ["07 00:45:00 +0000"]),
    ],
)
def test_unusual_changes_of_the_clocks_follow_the_same_rule(
    expression: str, zone: str, start: str, ticks: list[str]
) -> None:
    begin = datetime.fromisoformat(start).replace(tzinfo=ZoneInfo(zone))
    found = islice(after(expression, begin, ZoneInfo(zone)), len(ticks))
    assert shown((tick.astimezone(ZoneInfo(zone)) for tick in found), len(ticks), "%d %H:%M:%S %z") == ticks
    if not ticks:
        assert next(after(expression, begin, ZoneInfo(zone))) > begin.astimezone(UTC) + 3 * DAY


def test_a_time_that_the_clocks_skip_on_each_of_its_days_is_rejected_in_that_zone() -> None:
    expression = "*/13 2 * MAR 0L"
    with pytest.raises(BadInputError) as raised:
        next(after(expression, NEW_YEAR, ZoneInfo("Europe/Belgrade")))
    assert str(raised.value) == f"cron {expression!r} never fires in Europe/Belgrade: its clocks skip that time"
    assert shown(after(expression, NEW_YEAR, LONDON), 1) == ["03-29 01:00:00"]


def test_a_tick_knows_the_local_day_that_it_is_of() -> None:
    nuuk = ZoneInfo("America/Nuuk")
    ticks = list(islice(Cron("30 23 * * *").after(datetime(2026, 3, 28, tzinfo=UTC), nuuk), 2))
    assert [day for _, day in ticks] == [date(2026, 3, 27), date(2026, 3, 28)]
    assert ticks[1][0].astimezone(nuuk).date() == date(2026, 3, 29)


def test_a_rare_day_is_found_without_a_look_at_every_change_of_the_clocks() -> None:
    local_time._list_spans.cache_clear()
    found = shown(after("0 */6 29 2 */7", NEW_YEAR, NEW_YORK), 1, "%Y-%m-%d %H:%M")
    assert found == ["2032-02-29 05:00"]
    assert local_time._list_spans.cache_info().currsize <= 2


def _rows_of_the_guide() -> list[list[str]]:
    text = (Path(__file__).parents[3] / "docs/guides/scheduling.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in text.splitlines() if "times |" in line]
    assert len(rows) >= 10
    return rows


@pytest.mark.parametrize(
    ("name", "day", "hours", "first", "second", "evening", "hourly", "quarters"), _rows_of_the_guide()
)
def test_the_table_of_the_guide_is_what_happens(
    name: str, day: str, hours: str, first: str, second: str, evening: str, hourly: str, quarters: str
) -> None:
    zone, on = ZoneInfo(name), date.fromisoformat(day)
    assert midnight(zone, on + DAY) - midnight(zone, on) == timedelta(hours=float(hours))
    for expression, shown_time in (("30 1 * * *", first), ("30 2 * * *", second), ("10 18 * * *", evening)):
        (tick,) = on_day(expression, zone, on)
        assert f"{tick.astimezone(zone):%H:%M %Z}" == shown_time
    for expression, count in (("0 * * * *", hourly), ("*/15 * * * *", quarters)):
        assert f"{len(on_day(expression, zone, on))} times" == count
