"""What a path asks for, snapped to windows, and what a fake Massive may be made of."""

from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamworkers.errors import BadInputError
from streamworkers_fakes.massive import FakeMassive
from streamworkers_fakes.massive.pages import number_in, read_request

WORDS = ("KO", "1", "minute", "2025-11-03", "2025-11-28")


def ms(text: str) -> str:
    return str(int(datetime.fromisoformat(text).timestamp() * 1000))


@given(st.integers(0, 1439), st.integers(0, 1439), st.integers(1, 1440))
def test_a_range_begins_and_ends_with_whole_windows(first: int, last: int, width: int) -> None:
    first, last = sorted((first, last))
    day = "2025-11-03T%02d:%02d-05:00"
    words = [ms(day % divmod(minute, 60)) for minute in (first, last)]
    request = read_request("KO", str(width), "minute", *words)
    assert request.first_minute % width == 0
    assert first - width < request.first_minute <= first
    assert last < request.end_minute <= min(last + width, 1440)
    assert request.end_minute % width == 0 or request.end_minute == 1440
    assert request.first == request.last == date(2025, 11, 3)


@pytest.mark.parametrize(
    ("timespan", "first", "last"),
    [
        ("day", date(2025, 11, 5), date(2025, 11, 12)),
        ("week", date(2025, 11, 2), date(2025, 11, 15)),
        ("month", date(2025, 11, 1), date(2025, 11, 30)),
    ],
)
def test_a_calendar_range_is_snapped_to_whole_weeks_and_months(timespan: str, first: date, last: date) -> None:
    request = read_request("KO", "1", timespan, "2025-11-05", ms("2025-11-12T01:00-05:00"))
    assert (request.first, request.last) == (first, last)
    assert request.first_ms == int(ms(f"{first}T00:00-0{4 if first.day == 1 or first.day == 2 else 5}:00"))


@pytest.mark.parametrize("timespan", ["minute", "hour", "day", "week", "month"])
def test_the_ends_of_the_calendar_are_a_range_too(timespan: str) -> None:
    request = read_request("KO", "1", timespan, "0001-01-01", "9999-12-31")
    assert request.first.year < 2003
    assert request.last.year > 9000


@pytest.mark.parametrize(
    ("place", "word", "message"),
    [
        (1, "0", "multiplier '0' is not a whole number from 1"),
        (1, "x", "multiplier 'x' is not a whole number from 1"),
        (1, "٣", "multiplier '٣' is not a whole number from 1"),
        (1, "9" * 5000, f"multiplier '{'9' * 5000}' is not a whole number from 1"),
        (1, "1441", "windows of 1441 minute are not served: at most a day, or 1 minute"),
        (2, "year", "timespan 'year' is not one of minute, hour, day, week, month"),
        (3, "2025-11-31", "'from' '2025-11-31' is neither YYYY-MM-DD nor Unix milliseconds"),
        (3, "20251103", "'to' 2025-11-28 is before 'from' 20251103"),
        (3, "2025-W45-1", "'from' '2025-W45-1' is neither YYYY-MM-DD nor Unix milliseconds"),
        (4, "", "'to' '' is neither YYYY-MM-DD nor Unix milliseconds"),
        (4, "9" * 17, f"'to' '{'9' * 17}' is neither YYYY-MM-DD nor Unix milliseconds"),
        (4, "9" * 99, f"'to' '{'9' * 99}' is neither YYYY-MM-DD nor Unix milliseconds"),
        (4, "2025-11-02", "'to' 2025-11-02 is before 'from' 2025-11-03"),
    ],
)
def test_a_path_that_breaks_a_rule_is_rejected(place: int, word: str, message: str) -> None:
    words = list(WORDS)
    words[place] = word
    if message.startswith("'to' 2025-11-28 is before"):
        words[3] = ms("2025-11-29T00:00-05:00")
        message = message.replace(word, words[3])
    with pytest.raises(BadInputError) as raised:
        read_request(*words)
    assert str(raised.value) == message


@pytest.mark.parametrize("timespan", ["day", "week", "month"])
def test_only_single_days_weeks_and_months_are_served(timespan: str) -> None:
    with pytest.raises(BadInputError) as raised:
        read_request("KO", "2", timespan, "2025-11-03", "2025-11-28")
    assert str(raised.value) == f"windows of 2 {timespan} are not served: at most a day, or 1 {timespan}"


@given(st.text(max_size=20))
def test_a_number_is_one_of_ascii_digits_alone(text: str) -> None:
    assert number_in(text) == (int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else -1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"latency": -1.0}, "latency -1 s is not a finite number of seconds from 0"),
        ({"latency": float("inf")}, "latency inf s is not a finite number of seconds from 0"),
        ({"calls_per_minute": 0}, "a limit of 0 calls in 60 s must be at least 1 in more than 0 s"),
        ({"extended_share": 2.0}, "extended_share is 2; it must be from 0 to 1"),
        ({"api_keys": ()}, "api_keys must be one key or more, and none of them empty"),
        ({"api_keys": ("key", "")}, "api_keys must be one key or more, and none of them empty"),
        (
            {"now": datetime(2025, 11, 28, 12)},  # noqa: DTZ001  # that it is naive is the point
            "now 2025-11-28T12:00:00 has no offset from UTC; write it as 2025-11-28T12:00:00+00:00",
        ),
    ],
)
def test_a_fake_that_breaks_a_rule_is_rejected(words: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInputError) as raised:
        FakeMassive(**words)
    assert str(raised.value) == message


def test_the_clock_stands_where_it_is_set_and_else_it_is_the_real_one() -> None:
    fake = FakeMassive(now=datetime(2031, 1, 2, tzinfo=UTC))
    assert fake.now() == datetime(2031, 1, 2, tzinfo=UTC)
    assert fake.market.sessions(date(2031, 1, 2), date(2031, 1, 2)) == [date(2031, 1, 2)]
    fake.set_now(None)
    before = datetime.now(UTC)
    assert before <= fake.now() <= datetime.now(UTC)


def test_a_clock_at_the_end_of_time_is_no_trouble() -> None:
    fake = FakeMassive(now=datetime(9999, 12, 30, tzinfo=UTC))
    assert fake.market.sessions(date(2100, 12, 30), date(9999, 12, 31)) == [date(2100, 12, 30), date(2100, 12, 31)]
