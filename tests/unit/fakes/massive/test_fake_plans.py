"""What each plan includes: history, the newest day, endpoints; and how a plan is written."""

from datetime import date, datetime

import pytest

from streamworkers.errors import BadInputError, UnknownNameError
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE
from streamworkers_fakes.massive import PLANS, FakePlan, parse_plan
from streamworkers_fakes.massive.plans import NOT_INCLUDED, NOT_YET, TOO_OLD, NotAuthorizedError

NOW = datetime(2025, 11, 25, 18, 0, tzinfo=EXCHANGE_ZONE)
TODAY, FLOOR = date(2025, 11, 25), date(2023, 11, 26)
FREE = PLANS["free"]


def answer(plan: FakePlan, first: date, last: date) -> date | str:
    """The first day that is answered, or the message of the rejection."""
    try:
        return plan.first_of_range(first, last, NOW)
    except NotAuthorizedError as error:
        return str(error)


@pytest.mark.parametrize(
    ("plan", "first", "last", "expected"),
    [
        (FREE, FLOOR, TODAY, FLOOR),
        (FREE, date(2023, 11, 25), TODAY, TOO_OLD),
        (parse_plan("free,clipped"), date(2020, 1, 1), TODAY, FLOOR),
        (parse_plan("free,clipped"), date(2020, 1, 1), date(2021, 1, 1), TOO_OLD),
        (FREE, TODAY, TODAY, NOT_YET),
        (FREE, date(2025, 11, 26), date(2025, 11, 26), TOO_OLD),  # the API says the same of days to come
        (PLANS["starter"], TODAY, TODAY, TODAY),
        (PLANS["unlimited"], date(1970, 1, 1), TODAY, date(1970, 1, 1)),
    ],
)
def test_a_range_is_answered_as_far_as_the_plan_goes(
    plan: FakePlan, first: date, last: date, expected: date | str
) -> None:
    assert answer(plan, first, last) == expected


def test_bars_of_a_day_are_there_once_it_has_ended() -> None:
    assert FREE.newest_moment(NOW) == datetime(2025, 11, 25, tzinfo=EXCHANGE_ZONE)
    assert PLANS["starter"].newest_moment(NOW) == NOW


def test_a_plan_may_be_without_some_endpoints() -> None:
    plan = parse_plan("free,without=grouped,without=minute,years=5,calls=7")
    assert (plan.history_years, plan.calls_per_minute) == (5, 7)
    plan.require("aggregates", "day")
    for name in ("grouped", "minute"):
        with pytest.raises(NotAuthorizedError) as raised:
            plan.require("aggregates", name)
        assert str(raised.value) == NOT_INCLUDED


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("fre", UnknownNameError, "no plan is named 'fre'; did you mean 'free'?"),
        ("free,years=x", BadInputError, "plan 'free,years=x': years 'x' is not a number"),
    ],
)
def test_a_plan_that_breaks_a_rule_is_rejected(text: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as raised:
        parse_plan(text)
    assert str(raised.value) == message


def test_an_unknown_change_of_a_plan_is_rejected() -> None:
    with pytest.raises(BadInputError, match="'without=news' is none of clipped, years=, calls=, without="):
        parse_plan("free,without=news")
