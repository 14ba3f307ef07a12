"""Reads moments and dates as files write them, by strict patterns: what matches none is no time.

Python's own parser of ISO 8601 takes many numbers for dates: `1698849000` would be a day of week 98.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

DateOrder = Literal["MDY", "DMY"]
EpochUnit = Literal["s", "ms", "us", "ns"]

EPOCH_UNITS: dict[EpochUnit, int] = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Seconds from 1973 to 2099; the same range in another unit has three digits more, so that no number is of two units.
_LEAST_SECONDS, _MOST_SECONDS = 10**8, 4_102_444_800
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")

_NUMBER = re.compile(r"(-?[0-9]{1,20})(?:\.0*)?")
_ISO_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_ISO_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)?"
)
_CLOCK = re.compile(
    r"(?P<hour>[0-9]{1,2}):?(?P<minute>[0-9]{2})(?::?(?P<second>[0-9]{2})(?:[.,](?P<fraction>[0-9]{1,9}))?)?"
    r"(?:\s*(?P<half>[AaPp])\.?[Mm]\.?)?(?:\s*(?P<zone>Z|(?:UTC|GMT)?[+-][0-9]{2}:?[0-9]{2}|UTC|GMT|[A-Za-z_]+/[A-Za-z_/]+))?"
)
_YEAR_FIRST = re.compile(r"(?P<year>[0-9]{4})([-/.])(?P<month>[0-9]{1,2})\2(?P<day>[0-9]{1,2})")
_YEAR_LAST = re.compile(r"(?P<one>[0-9]{1,2})(?P<mark>[-/.])(?P<two>[0-9]{1,2})(?P=mark)(?P<year>[0-9]{4})")
_COMPACT = re.compile(r"(?P<year>[0-9]{4})(?P<month>[0-9]{2})(?P<day>[0-9]{2})")
_DAY_NAMED = re.compile(r"(?P<day>[0-9]{1,2})[- ](?P<name>[A-Za-z]{3})[a-z]*[- ,]+(?P<year>[0-9]{4}|[0-9]{2})")
_NAMED_DAY = re.compile(r"(?P<name>[A-Za-z]{3})[a-z]*\.? (?P<day>[0-9]{1,2}),? (?P<year>[0-9]{4})")
_TOKENS = {"YYYY": "%Y", "YY": "%y", "DD": "%d", "HH": "%H", "mm": "%M", "SS": "%S", "ss": "%S", "MON": "%b"}
_FORMAT = re.compile("YYYY|YY|MON|MM|DD|HH|mm|SS|ss")


@dataclass(frozen=True, slots=True)
class TimeSpelling:
    """How a file writes its times; what is None shows in the text itself.

    `date_format` is in the form of `strptime`, `unit` the unit of numbers since 1970, `unit_of_file` that of numbers
    too small to show it, `order` that of dates such as 11/12/2026.
    """

    date_format: str | None = None
    unit: EpochUnit | None = None
    unit_of_file: EpochUnit | None = None
    order: DateOrder | None = None

    def read(self, text: str) -> date | datetime | None:
        """Return the date, or the moment (naive if it names no zone), or None if the text is neither."""
        stripped = text.strip()
        try:
            if self.date_format is not None:
                return _by_format(stripped, self.date_format)
            if _ISO_DATE.fullmatch(stripped):
                return date.fromisoformat(stripped)
            if _ISO_TIME.fullmatch(stripped):
                return datetime.fromisoformat(stripped)
            if number := _NUMBER.fullmatch(stripped):
                return self._number(number[1])
            return self._date_and_clock(stripped)
        except (ValueError, OverflowError):
            return None

    def _number(self, digits: str) -> date | datetime | None:
        if self.unit is not None:
            return _since_epoch(int(digits), self.unit)
        if len(digits) == 8 and self.unit_of_file is None:
            return _date_of(_COMPACT.fullmatch(digits))
        if len(digits) in (12, 14) and digits.startswith(("19", "20")):
            try:
                return datetime.strptime(digits, "%Y%m%d%H%M%S" if len(digits) == 14 else "%Y%m%d%H%M")  # noqa: DTZ007
            except ValueError:
                pass  # milliseconds of 1976
        unit = find_unit(digits) or self.unit_of_file
        return None if unit is None else _since_epoch(int(digits), unit)

    def _date_and_clock(self, text: str) -> date | datetime | None:
        for pattern in (_YEAR_FIRST, _YEAR_LAST, _COMPACT, _DAY_NAMED, _NAMED_DAY):
            found = pattern.match(text)
            if found is None:
                continue
            day = self._year_last(found) if pattern is _YEAR_LAST else _date_of(found)
            rest = text[found.end() :].lstrip("T, ")
            if day is None or not rest:
                return day
            clock = _CLOCK.fullmatch(rest) if text[found.end()] in "T, " else None
            return None if clock is None else _add_clock(day, clock)
        return None

    def _year_last(self, found: re.Match[str]) -> date | None:
        order = self.order or ("DMY" if found["mark"] == "." else None)
        one, two, year = int(found["one"]), int(found["two"]), int(found["year"])
        if order is None:
            return None
        return date(year, one, two) if order == "MDY" else date(year, two, one)


def find_unit(text: str) -> EpochUnit | None:
    """Return the unit of a number since 1970 that only one unit makes a moment from 1973 to 2099, else None."""
    if (number := _NUMBER.fullmatch(text.strip())) is None:
        return None
    value = abs(int(number[1]))
    return next(
        (unit for unit, parts in EPOCH_UNITS.items() if _LEAST_SECONDS * parts <= value <= _MOST_SECONDS * parts), None
    )


def to_strptime(words: str) -> str:
    """Return a format such as `DD.MM.YYYY HH:mm` in the form of `strptime`; one with a % is returned as it is."""
    if "%" in words:
        return words

    def token(found: re.Match[str]) -> str:
        if found[0] == "MM":
            return "%M" if words[: found.start()].endswith(("HH:", "HH")) else "%m"
        return _TOKENS[found[0]]

    return _FORMAT.sub(token, words)


def find_order(texts: list[str]) -> DateOrder | None:
    """Return the order of day and month in dates such as 24/11/2026, None if the texts leave it open."""
    found = [match for text in texts if (match := _YEAR_LAST.match(text.strip())) and match["mark"] != "."]
    if any(int(match["one"]) > 12 for match in found):
        return "DMY"
    return "MDY" if any(int(match["two"]) > 12 for match in found) else None


def has_open_order(text: str) -> bool:
    """True if a date such as 11/12/2026 can be of two months."""
    found = _YEAR_LAST.match(text.strip())
    return found is not None and found["mark"] != "."


def _by_format(text: str, date_format: str) -> date | datetime:
    moment = datetime.strptime(text, date_format)  # noqa: DTZ007  # a naive time gets its zone from the caller
    return moment if re.search("%[HIMSfpzZXc]", date_format) else moment.date()


def _since_epoch(value: int, unit: EpochUnit) -> datetime:
    return _EPOCH + timedelta(microseconds=value * 10**6 // EPOCH_UNITS[unit])


def _date_of(found: re.Match[str] | None) -> date | None:
    if found is None:
        return None
    groups = found.groupdict()
    year = int(groups["year"])
    if len(groups["year"]) == 2:
        year += 2000 if year < 70 else 1900
    if "name" not in groups:
        return date(year, int(groups["month"]), int(groups["day"]))
    name = groups["name"].lower()
    return date(year, _MONTHS.index(name) + 1, int(groups["day"])) if name in _MONTHS else None


def _add_clock(day: date, found: re.Match[str]) -> datetime:
    hour = int(found["hour"])
    if found["half"]:
        if not 1 <= hour <= 12:
            raise ValueError(f"{hour} is not an hour of half a day")
        hour = hour % 12 + (12 if found["half"] in "Pp" else 0)
    micros = int((found["fraction"] or "0").ljust(6, "0")[:6])
    clock = time(hour, int(found["minute"]), int(found["second"] or 0), micros)
    return datetime.combine(day, clock, tzinfo=_zone(found["zone"]))


def _zone(text: str | None) -> tzinfo | None:
    if text is None:
        return None
    if text in ("Z", "UTC", "GMT"):
        return UTC
    if "/" in text:
        try:
            return ZoneInfo(text)
        except (ZoneInfoNotFoundError, ValueError):
            raise ValueError(f"{text} is not a zone") from None
    digits = text.removeprefix("UTC").removeprefix("GMT")
    sign = -1 if digits[0] == "-" else 1
    return timezone(sign * timedelta(hours=int(digits[1:3]), minutes=int(digits[-2:])))
