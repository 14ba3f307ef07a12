"""The text of a cron expression: what is accepted, and what each field means."""

from dataclasses import dataclass
from typing import NoReturn

from streamworkers.errors import BadInputError
from streamworkers.schedules.cron_days import LAST, DayRule

ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MOST_CHARACTERS = 200
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_FORM = (
    "each number alone, as a list a,b, a range a-b from low to high, or with a step /n from 1 to the number of values"
    " in the range"
)


@dataclass(frozen=True, slots=True)
class CronFields:
    """The matched seconds, minutes and hours in ascending order, and the days.

    `is_fixed` says that it is a fixed time of day: neither minute nor hour is every one or begins with `*`.
    """

    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: DayRule
    is_fixed: bool


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of field: the values of `*`, the highest number, and the names of the numbers from the first on."""

    name: str
    every: range
    last: int
    rule: str
    names: tuple[str, ...] = ()


_SECOND = _Kind("second", range(60), 59, "0-59")
_MINUTE = _Kind("minute", range(60), 59, "0-59")
_HOUR = _Kind("hour", range(24), 23, "0-23")
_DAY_OF_MONTH = _Kind("day of month", range(1, 32), 31, "1-31, L (the last day) or LW (the last weekday)")
_MONTH = _Kind("month", range(1, 13), 12, "1-12 or JAN-DEC", _MONTHS)
_DAY_OF_WEEK = _Kind(
    "day of week",
    range(7),
    7,
    "0-7 or SUN-SAT (0 and 7 are Sunday), MON#1 (the first Monday) or 5L (the last Friday)",
    _WEEKDAYS,
)


def parse_cron(expression: str) -> CronFields:
    """Parse a cron expression. Raises BadInputError naming field, value and rule."""
    texts = _split_fields(expression)
    second, minute, hour, day, month, weekday = (
        _Field(expression, kind, text)
        for kind, text in zip((_SECOND, _MINUTE, _HOUR, _DAY_OF_MONTH, _MONTH, _DAY_OF_WEEK), texts, strict=True)
    )
    seconds, minutes, hours = (tuple(sorted(field.read_numbers(field.terms))) for field in (second, minute, hour))
    days = _read_days(day, month, weekday)
    if not days.is_possible():
        on_weekday = "" if weekday.text == "*" else f" on the day of week {weekday.text}"
        raise BadInputError(
            f"cron {expression!r} never fires: no year has the day {day.text} in the month {month.text}{on_weekday}"
        )
    # 0-23 means every hour, as `*` does.
    is_fixed = not (minute.has_star or hour.has_star or len(minutes) == 60 or len(hours) == 24)
    return CronFields(seconds, minutes, hours, days, is_fixed)


def _split_fields(expression: str) -> list[str]:
    """The six fields of an expression; the second is 0 if it is not given."""
    text = expression.strip()
    if len(text) > _MOST_CHARACTERS:
        raise BadInputError(f"cron {text[:40]!r}… is longer than {_MOST_CHARACTERS} characters")
    if text.startswith("@"):
        if text.lower() not in ALIASES:
            raise BadInputError(f"cron {expression!r} is not one of {', '.join(ALIASES)}; an interval is: every 90m")
        text = ALIASES[text.lower()]
    fields = text.split()
    if len(fields) not in (5, 6):
        raise BadInputError(
            f"cron {expression!r} has {len(fields)} fields, not 5 (minute, hour, day of month, month, day of week)"
            " or 6 with seconds first"
        )
    return fields if len(fields) == 6 else ["0", *fields]


def _read_days(day: "_Field", month: "_Field", weekday: "_Field") -> DayRule:
    nth = [term for term in weekday.terms if "#" in term or term.endswith("L")]
    return DayRule(
        months=frozenset(month.read_numbers(month.terms)),
        days_of_month=frozenset(day.read_numbers([term for term in day.terms if term not in ("L", "LW")])),
        last_day="L" in day.terms,
        last_weekday="LW" in day.terms,
        weekdays=frozenset(n % 7 for n in weekday.read_numbers([term for term in weekday.terms if term not in nth])),
        nth_weekdays=frozenset(weekday.read_nth(term) for term in nth),
        both=day.has_star or weekday.has_star,
    )


@dataclass(frozen=True, slots=True)
class _Field:
    """The text of a field, in an expression that its errors name."""

    expression: str
    kind: _Kind
    text: str

    @property
    def has_star(self) -> bool:
        return self.text.startswith("*")

    @property
    def terms(self) -> list[str]:
        """The members of its list, in capitals."""
        return self.text.upper().split(",") if self.text.isascii() else self.reject()

    def read_numbers(self, terms: list[str]) -> set[int]:
        """The numbers that terms stand for."""
        return {number for term in terms for number in self._read_term(term)}

    def read_nth(self, term: str) -> tuple[int, int]:
        """A weekday and which of the month: `MON#1`, or `5L`, the last Friday."""
        if term.endswith("L") and term[:-1].isdigit():
            return self._read_number(term[:-1]) % 7, LAST
        weekday, _, count = term.partition("#")
        if count not in ("1", "2", "3", "4", "5"):
            self.reject()
        return self._read_number(weekday) % 7, int(count)

    def reject(self) -> NoReturn:
        raise BadInputError(
            f"cron {self.expression!r}: {self.kind.name} {self.text!r} is not * or of {self.kind.rule}; {_FORM}"
        )

    def _read_term(self, term: str) -> range:
        base, slash, step = term.partition("/")
        low, dash, high = base.partition("-")
        if base == "*":
            values = self.kind.every
        elif dash:
            values = range(self._read_number(low), self._read_number(high) + 1)
        else:
            first = self._read_number(base)
            values = range(first, (self.kind.last if slash else first) + 1)
        if not values:
            self.reject()
        return values[:: self._read_step(step, len(values))] if slash else values

    def _read_number(self, text: str) -> int:
        if text in self.kind.names:
            return self.kind.every[self.kind.names.index(text)]
        if not text.isdigit() or not self.kind.every[0] <= int(text) <= self.kind.last:
            self.reject()
        return int(text)

    def _read_step(self, text: str, most: int) -> int:
        if not text.isdigit() or int(text) == 0:
            self.reject()
        if int(text) > most:
            raise BadInputError(
                f"cron {self.expression!r}: {self.kind.name} {self.text!r} has a step of {text}, over its {most} values"
            )
        return int(text)
