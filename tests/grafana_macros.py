"""Expands a query as Grafana does: variables, and the macros of its PostgreSQL datasource."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

_VARIABLE = re.compile(r"\$\{(\w+)(?::(\w+))?\}|\$(?!__)([a-z]\w*)")
# As in Grafana, an argument ends at the first closing parenthesis.
_MACRO = re.compile(r"\$(__\w+)\(([^)]*)\)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}

Value = str | Sequence[str]


@dataclass(frozen=True, slots=True)
class Range:
    """The time range of a board; both ends are aware datetimes."""

    start: datetime
    end: datetime
    interval: str = "1h"


def expand_sql(text: str, variables: Mapping[str, Value], span: Range) -> str:
    """The SQL that is sent to PostgreSQL.

    Raises ValueError for a macro that is not known here, and for a variable without a format: its value would stand in
    the statement unquoted. KeyError for a variable that the board does not have.
    """

    def variable(match: re.Match[str]) -> str:
        name, form = match[1] or match[3], match[2]
        if form != "sqlstring":
            raise ValueError(f"variable {match[0]!r} is not quoted: write ${{{name}:sqlstring}}")
        chosen = variables[name]
        values = [chosen] if isinstance(chosen, str) else chosen
        return ",".join("'" + value.replace("'", "''") + "'" for value in values)

    text = text.replace("$__interval_ms", str(_seconds(span.interval) * 1000)).replace("$__interval", span.interval)
    return _MACRO.sub(lambda match: _macro(match, span), _VARIABLE.sub(variable, text))


def expand_promql(text: str, variables: Mapping[str, Value], rate_interval: str = "1m", whole: str = "1h") -> str:
    """The PromQL that is sent to Prometheus; several values become alternatives of a regular expression.

    `whole` is the length of the time range, `1h`.
    """

    def variable(match: re.Match[str]) -> str:
        chosen = variables[match[1] or match[3]]
        return chosen if isinstance(chosen, str) else "(" + "|".join(re.escape(value) for value in chosen) + ")"

    for name, value in (("$__rate_interval", rate_interval), ("$__interval", rate_interval), ("$__range", whole)):
        text = text.replace(name, value)
    text = _VARIABLE.sub(variable, text)
    if re.search(r"\$(?!\d)", text):  # $1 is a group of label_replace
        raise ValueError(f"a variable is left in {text!r}")
    return text


def _macro(match: re.Match[str], span: Range) -> str:
    name, arguments = match[1], [part.strip() for part in match[2].split(",")]
    start, end = (moment.isoformat() for moment in (span.start, span.end))
    match name:
        case "__timeFilter":
            return f"{arguments[0]} BETWEEN '{start}' AND '{end}'"
        case "__timeFrom":
            return f"'{start}'"
        case "__timeTo":
            return f"'{end}'"
        case "__timeGroup" | "__timeGroupAlias":
            width = _seconds(arguments[1].strip("'"))
            alias = ' AS "time"' if name.endswith("Alias") else ""
            return f"floor(extract(epoch from {arguments[0]})/{width})*{width}{alias}"
        case _:
            raise ValueError(f"macro ${name} is not one of those that are used: implement it here")


def _seconds(interval: str) -> int:
    return int(timedelta(seconds=int(interval[:-1]) * _SECONDS[interval[-1]]).total_seconds())
