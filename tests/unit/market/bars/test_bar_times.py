"""Times of bars: strict patterns, the zone and day that a stamp stands for, labels, sane years, sessions."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamworkers.market.bars.bar_times import DAYS, MOMENTS, BarTimes, Home
from streamworkers.market.bars.rules import BrokenRuleError, Rule
from streamworkers.market.bars.time_text import TimeSpelling, find_order, to_strptime
from streamworkers.market.calendar.exchange import exchange_named
from streamworkers.market.calendar.timeframes import TIMEFRAMES

DAY, WEEK, MONTH = TIMEFRAMES["day"], TIMEFRAMES["week"], TIMEFRAMES["month"]


def error_of(times: BarTimes, text: str) -> tuple[Rule, str]:
    with pytest.raises(BrokenRuleError) as raised:
        times.parse(text)
    return raised.value.rule, str(raised.value)


@pytest.mark.parametrize(
    ("text", "intraday", "expected"),
    [
        ("2024-01-02", False, "2024-01-02"),
        ("2024-01-02 16:00:00", False, "2024-01-02"),
        ("2024-01-02T14:30:00Z", False, "2024-01-02"),
        ("2024-01-02T00:00:00Z", False, "2024-01-02"),
        ("2024-01-02T23:00:00-05:00", False, "2024-01-02"),
        ("20240102", False, "2024-01-02"),
        ("2024/1/2", False, "2024-01-02"),
        ("02.01.2024", False, "2024-01-02"),
        ("02-JAN-2024", False, "2024-01-02"),
        ("2 Jan 24", False, "2024-01-02"),
        ("Jan 2, 2024", False, "2024-01-02"),
        ("1704171600", False, "2024-01-02"),
        ("1704171600.0", False, "2024-01-02"),
        ("1704171600000", False, "2024-01-02"),
        ("1704171600000000", False, "2024-01-02"),
        ("1704171600000000000", False, "2024-01-02"),
        ("345427200000", False, "1980-12-12"),
        ("-252288000", False, "1962-01-03"),
        ("2024-01-02 09:30:00", True, "2024-01-02T14:30:00+00:00"),
        ("2024-07-02 09:30", True, "2024-07-02T13:30:00+00:00"),
        ("2024-01-02T09:30:00+01:00", True, "2024-01-02T08:30:00+00:00"),
        ("2024-11-03 01:30:00", True, "2024-11-03T05:30:00+00:00"),
        ("202401020930", True, "2024-01-02T14:30:00+00:00"),
        ("20240102093015", True, "2024-01-02T14:30:15+00:00"),
        ("2024-01-02 9:30 AM", True, "2024-01-02T14:30:00+00:00"),
        ("2024-01-02 12:05 am", True, "2024-01-02T05:05:00+00:00"),
        ("2024-01-02 09:30:00 Europe/Berlin", True, "2024-01-02T08:30:00+00:00"),
        ("2024.01.02 09:30:00.250 GMT+0100", True, "2024-01-02T08:30:00.250000+00:00"),
    ],
)
def test_a_time_is_read_in_the_sense_of_its_timeframe(text: str, intraday: bool, expected: str) -> None:
    times = MOMENTS if intraday else DAYS
    assert times.parse(text) == expected
    assert times.known(text) == expected


@pytest.mark.parametrize(
    ("times", "text", "rule", "detail"),
    [
        (MOMENTS, "2024-01-02", Rule.BAD_TIME, "'2024-01-02' is a date; an intraday bar needs a time of day"),
        (MOMENTS, "noon", Rule.BAD_TIME, "'noon' is not a date or time like YYYY-MM-DD HH:MM:SS (ISO 8601)"),
        (
            DAYS,
            "0001-01-01 00:00+14:00",
            Rule.BAD_YEAR,
            "'0001-01-01 00:00+14:00' is in the year 1, outside of 1800 to",
        ),
        (DAYS, "2024-02-30", Rule.BAD_TIME, "'2024-02-30' is not a date or time like YYYY-MM-DD (ISO 8601)"),
        (DAYS, "2024-W01-1", Rule.BAD_TIME, "'2024-W01-1' is not a date or time like YYYY-MM-DD (ISO 8601)"),
        (DAYS, "45000", Rule.BAD_TIME, "'45000' is not a date or time like YYYY-MM-DD (ISO 8601)"),
        (DAYS, "9999-12-31", Rule.BAD_YEAR, "'9999-12-31' is in the year 9999, outside of 1800 to"),
        (DAYS, "2024-01-02 13:70", Rule.BAD_TIME, "'2024-01-02 13:70' is not a date or time like YYYY-MM-DD"),
        (DAYS, "2024-01-02 14:00 PM", Rule.BAD_TIME, "'2024-01-02 14:00 PM' is not a date or time like"),
        (DAYS, "2024-01-02 09:30 No/Where", Rule.BAD_TIME, "'2024-01-02 09:30 No/Where' is not a date or time like"),
        (
            DAYS,
            "03/04/2024",
            Rule.BAD_TIME,
            "'03/04/2024' can be of two months; add --date-format DD/MM/YYYY or --date-format MM/DD/YYYY",
        ),
        (
            MOMENTS,
            "2024-03-10 02:30:00",
            Rule.BAD_TIME,
            "'2024-03-10 02:30:00' does not exist in America/New_York: clocks go forward",
        ),
        (
            DAYS,
            "2024-01-04T15:00:00Z",
            Rule.BAD_TIME,
            (
                "'2024-01-04T15:00:00Z' leaves open which day it is: it is midnight in Asia/Tokyo; name the exchange"
                " with --calendar, or the zone with --timezone"
            ),
        ),
        (
            DAYS,
            "2024-01-02T03:00:00Z",
            Rule.BAD_TIME,
            "'2024-01-02T03:00:00Z' leaves open which day it is: it is outside of trading hours in New York; name the",
        ),
        (
            BarTimes(WEEK),
            "2024-01-07",
            Rule.AMBIGUOUS_WEEK,
            "'2024-01-07' is a Sunday, which can begin or end a week; add --week-label start or --week-label end",
        ),
        (
            BarTimes(DAY, home=Home(exchange_named("XNYS"))),
            "2024-01-01",
            Rule.OFF_SESSION,
            "2024-01-01 (Monday) is no session of XNYS; another calendar is named with --calendar, such as 24/7",
        ),
    ],
)
def test_what_is_no_time_of_a_bar_is_rejected_by_its_rule(times: BarTimes, text: str, rule: Rule, detail: str) -> None:
    found = error_of(times, text)
    assert found[0] == rule
    assert found[1].startswith(detail)
    assert times.known(text) is None


@given(st.integers(-(10**19), 10**19))
def test_a_number_is_a_moment_from_1900_on_a_date_or_nothing(number: int) -> None:
    """Python's own parser takes one of thirty for a date of another century."""
    day = DAYS.known(str(number))
    assert day is None or "1800-01-01" <= day <= f"{datetime.now(UTC).year + 1}-12-31"


@given(st.datetimes(datetime(1974, 1, 1), datetime(2026, 1, 1)), st.sampled_from([1, 10**3, 10**6, 10**9]))  # noqa: DTZ001
def test_any_number_since_1970_is_its_moment_in_every_unit(moment: datetime, unit: int) -> None:
    whole = moment.replace(microsecond=0, tzinfo=UTC)
    digits = str(round(whole.timestamp()) * unit)
    ambiguous = len(digits) == 12 and digits.startswith(("19", "20"))
    if not ambiguous:
        assert MOMENTS.parse(digits) == whole.isoformat()
    assert TimeSpelling(unit={1: "s", 10**3: "ms", 10**6: "us", 10**9: "ns"}[unit]).read(digits) == whole  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("calendar", "text", "day"),
    [
        ("XTKS", "2024-01-04T15:00:00Z", "2024-01-05"),
        ("XHKG", "2024-01-04T16:00:00Z", "2024-01-05"),
        ("XHKG", "2024-01-05T01:30:00Z", "2024-01-05"),
        ("XBOM", "2024-01-04T18:30:00Z", "2024-01-05"),
        ("XASX", "2024-01-04T13:00:00Z", "2024-01-05"),
        ("XETR", "2024-07-04T22:00:00Z", "2024-07-05"),
        ("XTKS", "2024-01-05T00:00:00+09:00", "2024-01-05"),
        ("XNYS", "2024-01-05T05:00:00Z", "2024-01-05"),
    ],
)
def test_a_day_stamped_in_utc_is_that_of_its_exchange(calendar: str, text: str, day: str) -> None:
    assert BarTimes(DAY, home=Home(exchange_named(calendar), is_named=True)).parse(text) == day


@pytest.mark.parametrize("label", ["2024-03-25", "2024-03-28", "2024-03-29", "2024-03-30"])
def test_a_week_is_labelled_with_its_monday_whatever_day_names_it(label: str) -> None:
    assert BarTimes(WEEK).parse(label) == "2024-03-25"


def test_a_sunday_is_the_week_that_the_option_says() -> None:
    assert BarTimes(WEEK, home=Home(week_label="start")).parse("2024-03-31") == "2024-04-01"
    assert BarTimes(WEEK, home=Home(week_label="end")).parse("2024-03-31") == "2024-03-25"


@pytest.mark.parametrize("label", ["2024-02-01", "2024-02-29", "2024-02-15"])
def test_a_month_is_labelled_with_its_first(label: str) -> None:
    assert BarTimes(MONTH).parse(label) == "2024-02-01"


def test_the_zone_of_naive_times_is_the_named_one_or_that_of_the_exchange() -> None:
    minute = TIMEFRAMES["1min"]
    named = BarTimes(minute, home=Home(zone=ZoneInfo("UTC")))
    tokyo = BarTimes(minute, home=Home(exchange_named("XTKS"), is_named=True))
    assert named.parse("2024-01-05 14:30:00") == "2024-01-05T14:30:00+00:00"
    assert tokyo.parse("2024-01-05 09:00:00") == "2024-01-05T00:00:00+00:00"
    assert (named.used.of_naive, tokyo.used.of_naive) == ("UTC", "Asia/Tokyo")


def test_days_before_the_calendar_are_not_judged() -> None:
    exchange = exchange_named("XNYS")
    assert [exchange.has_session(date(*day)) for day in ((1970, 1, 1), (2024, 1, 1), (2024, 1, 2), (2999, 1, 1))] == [
        None,
        False,
        True,
        None,
    ]


@pytest.mark.parametrize(
    ("words", "text", "expected"),
    [
        ("DD.MM.YYYY", "04.03.2024", date(2024, 3, 4)),
        ("MM/DD/YY HH:MM", "03/04/24 09:30", datetime(2024, 3, 4, 9, 30)),  # noqa: DTZ001
        ("%Y%j", "2024064", date(2024, 3, 4)),
        ("DD-MON-YYYY HH:mm:SS", "04-Mar-2024 09:30:15", datetime(2024, 3, 4, 9, 30, 15)),  # noqa: DTZ001
    ],
)
def test_a_format_is_in_letters_or_as_strptime_has_it(words: str, text: str, expected: date) -> None:
    spelling = TimeSpelling(date_format=to_strptime(words))
    assert spelling.read(text) == expected
    assert spelling.read("2024-03-04T00:00") is None


def test_the_order_of_day_and_month_is_found_where_one_is_above_twelve() -> None:
    assert find_order(["03/04/2024", "24/04/2024"]) == "DMY"
    assert find_order(["03/04/2024", "03/24/2024"]) == "MDY"
    assert find_order(["03/04/2024"]) is None
    assert TimeSpelling(order="MDY").read("03/04/2024") == date(2024, 3, 4)
    assert TimeSpelling(order="DMY").read("03/04/2024") == date(2024, 4, 3)
