"""Durations as people write them: `90s`, `5m`, `2h`, `1d`, `1w`."""

import re
from datetime import UTC, datetime, timedelta

from streamworkers.errors import BadInputError

_UNITS = {"w": 7 * 86_400, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_DURATION = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)([smhdw])")


def parse_duration(text: str) -> timedelta:
    """The time of a text such as 90s, 5m, 2h, 1d or 1w. Raises BadInputError."""
    found = _DURATION.fullmatch(text.strip().lower())
    if found is None or float(found[1]) == 0:
        raise BadInputError(f"{text!r} is not a time such as 90s, 5m, 2h, 1d or 1w")
    try:
        seconds = float(found[1]) * _UNITS[found[2]]
        datetime.now(UTC) + timedelta(seconds=seconds)
    except OverflowError:
        raise BadInputError(f"{text!r} ends after the year 9999") from None
    return timedelta(seconds=seconds)


def show_duration(seconds: float) -> str:
    """The seconds as `parse_duration` takes them, in the largest unit that says them exactly."""
    texts = (f"{round(seconds / size, 3):.10g}{unit}" for unit, size in _UNITS.items())
    return next((text for text in texts if _is_exactly(text, seconds)), f"{seconds:g}s")


def _is_exactly(text: str, seconds: float) -> bool:
    found = _DURATION.fullmatch(text)
    if found is None:
        return False
    return timedelta(seconds=float(found[1]) * _UNITS[found[2]]) == timedelta(seconds=seconds)
