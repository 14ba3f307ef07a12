"""Printing and parsing that commands share."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from rich.console import Console

from streamworkers.cli import session
from streamworkers.cli.session import (
    parse_parameters,
    print_table,
    show_parameters,
    show_timeframes,
)
from streamworkers.errors import BadInputError
from streamworkers.market.calendar.moments import parse_moment, show_bar_time
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE

ROWS: list[dict[str, Any]] = [
    {"symbol": "[red]A[/]", "count": 7, "price": Decimal("1.50"), "enabled": True, "error": "w" * 100},
    {"symbol": ":smile:", "count": None, "price": Decimal("12.00"), "enabled": False, "error": "two\nlines"},
]
COLUMNS = {"symbol": "symbol", "count": "count", "price": "price", "enabled": "on", "error": "error"}


def test_a_table_in_a_pipe_has_one_line_a_row_and_takes_texts_literally(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(ROWS, COLUMNS, "nothing")
    assert capsys.readouterr().out.splitlines() == [
        "symbol     count  price  on   error",
        f"[red]A[/]      7   1.50  yes  {'w' * 100}",
        ":smile:           12.00  no   two lines",
    ]


def test_a_table_on_a_terminal_keeps_its_width_and_folds_long_texts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "console", Console(force_terminal=True, no_color=True, width=60))
    print_table(ROWS, COLUMNS, "nothing")
    out = capsys.readouterr().out
    assert out.count("w") == 101
    assert "[red]A[/] " in out


def test_an_empty_table_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([], COLUMNS, "no [bold] items")
    assert capsys.readouterr().out == "no [bold] items\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2021-05-14", datetime(2021, 5, 14, 23, 59, 59, 999_999, tzinfo=EXCHANGE_ZONE)),
        ("2021-05-14T10:30", datetime(2021, 5, 14, 10, 30, tzinfo=EXCHANGE_ZONE)),
        ("2021-05-14T10:30:00Z", datetime(2021, 5, 14, 10, 30, tzinfo=UTC)),
    ],
)
def test_a_moment_without_a_zone_is_of_new_york(text: str, expected: datetime) -> None:
    assert parse_moment(text) == expected


@pytest.mark.parametrize("text", ["", "2021-13-01", "yesterday", "2021-05-14T25:00", "1620000000"])
def test_what_is_no_moment_is_rejected(text: str) -> None:
    with pytest.raises(BadInputError, match="is not a date YYYY-MM-DD or a time in ISO 8601"):
        parse_moment(text)


@pytest.mark.parametrize("text", ["9999-12-31", "9999-12-31T23:59:00-12:00", "0001-01-01T00:00:00+14:00"])
def test_a_moment_outside_of_the_calendar_is_rejected(text: str) -> None:
    with pytest.raises(BadInputError, match="is outside of the years 1 to 9999"):
        parse_moment(text)


def test_parameters_are_json_where_they_can_be() -> None:
    values = parse_parameters(["a=1", "b=1.5", "c=true", "d=text", "e=[1,2]", "f=", "g=x=y", 'h="1"'])
    assert values == {"a": 1, "b": 1.5, "c": True, "d": "text", "e": [1, 2], "f": "", "g": "x=y", "h": "1"}
    assert show_parameters({"a": 1, "b": "text", "c": [1]}) == "a=1 b=text c=[1]"


@pytest.mark.parametrize("word", ["a", "=1", ""])
def test_a_parameter_without_name_or_value_is_rejected(word: str) -> None:
    with pytest.raises(BadInputError, match="is not NAME=VALUE"):
        parse_parameters([word])


def test_a_parameter_given_twice_is_rejected() -> None:
    with pytest.raises(BadInputError, match="parameter 'a' is given twice"):
        parse_parameters(["a=1", "a=2"])


def test_a_parameter_nested_too_deep_is_rejected() -> None:
    with pytest.raises(BadInputError, match="parameter 'a' is nested deeper than 32 levels"):
        parse_parameters(["a=" + "[" * 33])


def test_all_timeframes_are_called_all() -> None:
    assert show_timeframes(["day", "1min", "hour", "month", "week"]) == "all"
    assert show_timeframes(["day", "week"]) == "day week"


def test_bar_times_are_dates_or_minutes_in_new_york() -> None:
    moment = datetime(2021, 5, 14, 14, 30, tzinfo=UTC)
    assert show_bar_time(moment, "day") == "2021-05-14"
    assert show_bar_time(moment, "no such thing") == "2021-05-14 10:30"
    assert show_bar_time(moment, "hour") == "2021-05-14 10:30"
    assert show_bar_time(moment, None) == "2021-05-14"
    assert show_bar_time(None, "day") == ""
