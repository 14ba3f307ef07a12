"""Reads the parameters of a call, and the cursors in which they travel from page to page."""

import base64
import operator
from collections.abc import Callable, Mapping
from datetime import date
from urllib.parse import parse_qsl, urlencode

from streamworkers.errors import BadInputError
from streamworkers_fakes.massive.pages import date_in, number_in

_COMPARISONS = {"": operator.eq, ".gte": operator.ge, ".gt": operator.gt, ".lte": operator.le, ".lt": operator.lt}


def read_parameters(query: str) -> dict[str, str]:
    """Return the parameters of a query, completed by those in its `cursor`."""
    given = dict(parse_qsl(query, keep_blank_values=True))
    cursor = given.pop("cursor", None)
    if cursor is None:
        return given
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        return {**dict(parse_qsl(text)), **given}
    except ValueError:
        return given


def make_cursor(parameters: Mapping[str, str]) -> str:
    """Return parameters as a cursor, without any key."""
    kept = {name: value for name, value in parameters.items() if name.lower() != "apikey"}
    return base64.urlsafe_b64encode(urlencode(kept).encode()).decode().rstrip("=")


def read_limit(parameters: Mapping[str, str], default: int, most: int) -> int:
    """Return the parameter `limit`. Raises BadInputError beyond 1 to `most`."""
    text = parameters.get("limit", str(default))
    number = number_in(text)
    if not 1 <= number <= most:
        raise BadInputError(f"limit {text!r} is not a whole number from 1 to {most}")
    return number


def is_true(parameters: Mapping[str, str], name: str, *, default: bool) -> bool:
    """Return a parameter that is true or false. Raises BadInputError for anything else."""
    text = parameters.get(name, show_truth(default))
    if text not in ("true", "false"):
        raise BadInputError(f"{name} {text!r} is neither true nor false")
    return text == "true"


def show_truth(value: bool) -> str:
    """Return a truth value as the API writes it."""
    return "true" if value else "false"


def is_ascending(parameters: Mapping[str, str], name: str, default: str) -> bool:
    """Return whether an order is `asc`. Raises BadInputError unless it is `asc` or `desc`."""
    text = parameters.get(name, default)
    if text not in ("asc", "desc"):
        raise BadInputError(f"{name} {text!r} is neither asc nor desc")
    return text == "asc"


def read_date(text: str, name: str) -> date:
    """Return a date. Raises BadInputError for all but YYYY-MM-DD."""
    try:
        return date_in(text)
    except ValueError:
        raise BadInputError(f"{name} {text!r} is not YYYY-MM-DD") from None


def day_filter(parameters: Mapping[str, str], name: str) -> Callable[[date], bool]:
    """Return whether `name`, `name.gte`, `.gt`, `.lte` and `.lt`, as far as they are given, leave a day."""
    bounds = [
        (compare, read_date(parameters[name + end], name + end))
        for end, compare in _COMPARISONS.items()
        if name + end in parameters
    ]
    return lambda day: all(compare(day, bound) for compare, bound in bounds)
