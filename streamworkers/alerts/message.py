"""The text of a message about a firing: a template with typed placeholders, which is checked when it is written.

A placeholder is a name in braces, `{price}`. Numbers take a format, `{price:.2f}` or `{volume:,.0f}`, and times a part,
`{closed_at:date}` or `{closed_at:time}`. `{{` and `}}` are braces. A template is split, never evaluated.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from string import Formatter
from typing import Literal, NamedTuple

from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE
from streamworkers.rules.problem import Path, RuleError, show_value

MessageValue = str | float | datetime
DEFAULT_TEMPLATE = "{ticker}: {rule} ({timeframe}), price {price}"
_UNKNOWN = "unknown"
_NUMBER_FORMAT = re.compile(r",?\.\d{1,2}f")
_TIME_PARTS = {"date": "%Y-%m-%d", "time": "%H:%M", "": "%Y-%m-%d %H:%M %Z"}


@dataclass(frozen=True, slots=True)
class Placeholder:
    """What may stand in a template: the type of its value, what it is, and a value for previews."""

    kind: Literal["text", "number", "time"]
    meaning: str
    example: MessageValue


_EXAMPLE_START = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
PLACEHOLDERS: Mapping[str, Placeholder] = {
    "ticker": Placeholder("text", "the symbol", "AAPL"),
    "symbol": Placeholder("text", "the same", "AAPL"),
    "name": Placeholder("text", "the name of the alert", "my-alert"),
    "rule": Placeholder("text", "the rule in text form", "price > 150"),
    "timeframe": Placeholder("text", "the timeframe", "day"),
    "group": Placeholder("text", "the group of the alert", "watchlist"),
    "priority": Placeholder("text", "the priority of the alert", "normal"),
    "price": Placeholder("number", "the close of the bar", 151.25),
    "open": Placeholder("number", "its open", 149.5),
    "high": Placeholder("number", "its high", 152.0),
    "low": Placeholder("number", "its low", 149.25),
    "volume": Placeholder("number", "its volume", 1_200_000.0),
    "value": Placeholder("number", "the left side of the first comparison of the rule at the bar", 151.25),
    "level": Placeholder("number", "the right side of the same comparison", 150.0),
    "fires": Placeholder("number", "how many times the alert has fired for the symbol, this time included", 1.0),
    "earlier": Placeholder("number", "how many firings the same message stands for beside this one", 0.0),
    "bar_time": Placeholder("time", "when the bar began", _EXAMPLE_START),
    "closed_at": Placeholder("time", "when the bar closed", datetime(2026, 1, 5, 21, tzinfo=UTC)),
}


class _Part(NamedTuple):
    """Text, and the placeholder after it with its format; the last part may have none."""

    text: str
    name: str | None
    form: str


def require_template(template: str, path: Path) -> None:
    """Raise RuleError for an unknown placeholder, a format that does not fit its type, or a brace without its other."""
    for _, name, form in _split(template, path):
        if name is None:
            continue
        if name not in PLACEHOLDERS:
            raise RuleError(path, f"no placeholder is named {name!r}; known: {', '.join(sorted(PLACEHOLDERS))}")
        kind = PLACEHOLDERS[name].kind
        if kind == "number" and form and not _NUMBER_FORMAT.fullmatch(form):
            raise RuleError(path, f"{{{name}:{form}}} is a number: its format is like .2f or ,.0f")
        if kind == "time" and form not in _TIME_PARTS:
            raise RuleError(path, f"{{{name}:{form}}} is a time: its format is date or time")
        if kind == "text" and form:
            raise RuleError(path, f"{{{name}:{form}}} is a text, which has no format")


def render_message(template: str | None, values: Mapping[str, MessageValue | None]) -> str:
    """The message of a checked template; None stands for the default one. A value that is missing is `unknown`."""
    parts = _split(DEFAULT_TEMPLATE if template is None else template, ())
    return "".join(text + ("" if name is None else _show(values.get(name), form)) for text, name, form in parts)


def preview_message(template: str | None, known: Mapping[str, MessageValue]) -> str:
    """The message with example values for everything that is not known before the alert fires."""
    return render_message(template, {name: each.example for name, each in PLACEHOLDERS.items()} | dict(known))


def _split(template: str, path: Path) -> list[_Part]:
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise RuleError(path, f"{show_value(template)}: {error}; a brace that is text is written twice") from None
    for _, name, _, conversion in parts:
        if conversion is not None:
            raise RuleError(path, f"{{{name}!{conversion}}} has a conversion, which no placeholder has")
    return [_Part(text, name, form or "") for text, name, form, _ in parts]


def _show(value: MessageValue | None, form: str) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return _UNKNOWN
    if isinstance(value, datetime):
        return value.astimezone(EXCHANGE_ZONE).strftime(_TIME_PARTS[form])
    if isinstance(value, str):
        return value
    return format(value, form) if form else f"{value:.10g}"
