"""What the plan of a key includes: how far back, how new, and which endpoints. The rest is answered with 403."""

from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from typing import Final

from streamworkers.errors import BadInputError, UnknownNameError
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE
from streamworkers_fakes.massive.trading_days import new_york_date

_DAYS_OF_YEAR = 365.25
_UPGRADE = "Please upgrade your plan at https://massive.com/pricing"
NOT_INCLUDED: Final = f"You are not entitled to this data. {_UPGRADE}"
TOO_OLD: Final = f"Your plan doesn't include this data timeframe. {_UPGRADE}"
NOT_YET: Final = f"Attempted to request today's data before end of day. {_UPGRADE}"
EXCLUDABLE: Final = ("aggregates", "minute", "hour", "day", "week", "month", "grouped", "splits", "stock_splits",
                     "tickers", "ticker", "events", "status")  # fmt: skip


class NotAuthorizedError(Exception):
    """The plan does not include a call; the message is that of the API."""


@dataclass(frozen=True, slots=True)
class FakePlan:
    """A plan of the API.

    History begins `history_years` before today; a range that begins earlier is rejected, or answered from there on if
    `clipped`. With `end_of_day` the bars of a day are there once it has ended in New York. `without` names endpoints
    and timespans that the plan does not include.
    """

    name: str
    calls_per_minute: int | None = None
    history_years: float | None = None
    end_of_day: bool = False
    clipped: bool = False
    without: frozenset[str] = frozenset()

    def first_day(self, now: datetime) -> date:
        """Return the first day of the plan's history."""
        if self.history_years is None:
            return date.min
        return new_york_date(now) - timedelta(days=round(self.history_years * _DAYS_OF_YEAR))

    def newest_moment(self, now: datetime) -> datetime:
        """Return the moment up to which the plan has bars: now, or the midnight in New York before it."""
        if not self.end_of_day:
            return now
        return datetime.combine(new_york_date(now), time(), tzinfo=EXCHANGE_ZONE)

    def require(self, *names: str) -> None:
        """Raise NotAuthorizedError if the plan is without one of these endpoints or timespans."""
        if self.without.intersection(names):
            raise NotAuthorizedError(NOT_INCLUDED)

    def first_of_range(self, first: date, last: date, now: datetime) -> date:
        """Return the day from which a range is answered. Raises NotAuthorizedError if it is not answered at all."""
        floor = self.first_day(now)
        if last < floor or (first < floor and not self.clipped):
            raise NotAuthorizedError(TOO_OLD)
        if self.end_of_day and first >= new_york_date(now):
            raise NotAuthorizedError(NOT_YET if first == new_york_date(now) else TOO_OLD)
        return max(first, floor)


PLANS = {
    plan.name: plan
    for plan in (
        FakePlan("unlimited"),
        FakePlan("free", calls_per_minute=5, history_years=2, end_of_day=True),
        FakePlan("starter", history_years=5),
        FakePlan("developer", history_years=10),
    )
}


def parse_plan(text: str) -> FakePlan:
    """Parse a plan written as `NAME[,clipped][,years=N][,calls=N][,without=ENDPOINT]…`.

    Raises UnknownNameError for the name and BadInputError for the rest.
    """
    name, *words = text.split(",")
    if name not in PLANS:
        raise UnknownNameError("plan", name, PLANS)
    plan = PLANS[name]
    for word in words:
        key, _, value = word.partition("=")
        try:
            if word == "clipped":
                plan = replace(plan, clipped=True)
            elif key == "years":
                plan = replace(plan, history_years=float(value))
            elif key == "calls":
                plan = replace(plan, calls_per_minute=int(value) or None)
            elif key == "without" and value in EXCLUDABLE:
                plan = replace(plan, without=plan.without | {value})
            else:
                known = ", ".join(EXCLUDABLE)
                raise BadInputError(f"plan {text!r}: {word!r} is none of clipped, years=, calls=, without= ({known})")
        except ValueError:
            raise BadInputError(f"plan {text!r}: {key} {value!r} is not a number") from None
    return plan
