"""Times that people write for a schedule, in its time zone."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from streamworkers.errors import BadInputError
from streamworkers.schedules.written_times import parse_end_of_period, parse_time_in_zone

NEW_YORK = ZoneInfo("America/New_York")
NO_TIME = "is not a date with a time, such as 2026-12-01T19:00"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-12-01T19:00", "2026-12-02T00:00Z"),
        ("2026-12-01 19:00:30", "2026-12-02T00:00:30Z"),
        ("2026-12-01T19:00+09:00", "2026-12-01T10:00Z"),
        ("2026-12-01T19:00Z", "2026-12-01T19:00Z"),
        ("2026-11-01T01:30-05:00", "2026-11-01T06:30Z"),
    ],
)
def test_a_time_is_in_the_zone_unless_it_has_an_offset(text: str, expected: str) -> None:
    assert parse_time_in_zone(text, NEW_YORK) == datetime.fromisoformat(expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2026-12-01", f"'2026-12-01' {NO_TIME}"),
        ("tomorrow at seven", f"'tomorrow at seven' {NO_TIME}"),
        ("", f"'' {NO_TIME}"),
        ("0001-01-01T00:00+14:00", f"'0001-01-01T00:00+14:00' {NO_TIME}"),
        ("2026-03-08T02:30", "'2026-03-08T02:30' is a time that the clocks in America/New_York skip"),
        (
            "2026-11-01T01:30",
            "'2026-11-01T01:30' comes twice in America/New_York: name an offset, such as 2026-11-01T01:30:00-04:00",
        ),
    ],
)
def test_a_time_that_is_none_or_two_is_rejected(text: str, message: str) -> None:
    with pytest.raises(BadInputError) as raised:
        parse_time_in_zone(text, NEW_YORK)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-12-31", "2027-01-01T05:00Z"),
        (date(2026, 12, 31), "2027-01-01T05:00Z"),
        ("2026-12-31T12:00", "2026-12-31T17:00Z"),
        (datetime(2026, 12, 31, 12), "2026-12-31T17:00Z"),  # noqa: DTZ001  # as YAML reads it
        (datetime(2026, 12, 31, 12, tzinfo=UTC), "2026-12-31T12:00Z"),
    ],
)
def test_a_day_is_in_the_period_that_it_ends(value: object, expected: str) -> None:
    assert parse_end_of_period(value, NEW_YORK) == datetime.fromisoformat(expected)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("9999-12-31", "'9999-12-31' is not a date such as 2026-12-01, alone or with a time"),
        ("soon", "'soon' is not a date such as 2026-12-01, alone or with a time"),
        ("2026-12-01 noon", f"'2026-12-01 noon' {NO_TIME}"),
        (20261231, "it is not a date such as 2026-12-01, alone or with a time"),
    ],
)
def test_an_end_that_is_no_time_is_rejected(value: object, message: str) -> None:
    with pytest.raises(BadInputError) as raised:
        parse_end_of_period(value, NEW_YORK)
    assert str(raised.value) == message
