"""Durations and ends of the commands of alerts."""

from datetime import UTC, datetime, timedelta

import pytest

from streamworkers.alerts.duration import parse_duration
from streamworkers.cli.alert_options import parse_end
from streamworkers.errors import BadInputError


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("5m", 300), ("1.5h", 5400), ("1D", 86_400), (" 2w ", 1_209_600)]
)
def test_a_duration_is_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "5", "h", "0m", "-1h", "1h30m", "1 hour", "1e3s", "nand"])
def test_anything_else_is_rejected(text: str) -> None:
    with pytest.raises(BadInputError) as raised:
        parse_duration(text)
    assert str(raised.value) == f"{text!r} is not a time such as 90s, 5m, 2h, 1d or 1w"


def test_an_end_beyond_all_years_is_rejected() -> None:
    with pytest.raises(BadInputError) as raised:
        parse_duration("999999w")
    assert str(raised.value) == "'999999w' ends after the year 9999"


def test_an_end_is_a_duration_or_a_moment() -> None:
    before = datetime.now(UTC)
    found = parse_end("1h", None)
    assert found is not None
    assert before + timedelta(hours=1) <= found <= datetime.now(UTC) + timedelta(hours=1)
    assert parse_end(None, "2027-01-01T00:00Z") == datetime(2027, 1, 1, tzinfo=UTC)
    assert parse_end(None, None) is None
    with pytest.raises(BadInputError, match="--for or --until, not both"):
        parse_end("1h", "2027-01-01")
