"""The calendar of each symbol: the table `symbol_calendars`, and for all other symbols the setting."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import psycopg

from streamworkers.errors import BadInputError, UnknownNameError
from streamworkers.market.bars.rules import require_symbol
from streamworkers.market.calendar.sessions import require_calendar
from streamworkers.market.calendar.windows import EXCHANGE_CALENDAR
from streamworkers.symbols import find_symbol_error

ANY = "*"


@dataclass(frozen=True, slots=True)
class CalendarRules:
    """Which calendar a symbol has, by patterns: a symbol, or a text with one `*`, as `X:*` or `*-USD`.

    A symbol's own rule comes first, then the longest pattern that matches, of equally long ones the first by its text.
    There is always a rule for `*`.
    """

    patterns: Mapping[str, str]

    def calendar_of(self, symbol: str) -> str:
        """Return the name of the calendar of a symbol."""
        if len(self.patterns) == 1 or symbol in self.patterns:
            return self.patterns.get(symbol, self.patterns[ANY])
        return self.patterns[min(filter(lambda each: _matches(each, symbol), self.patterns), key=_order)]

    def group(self, symbols: Iterable[str]) -> dict[str, list[str]]:
        """Return the symbols by calendar; without symbols, the calendar of `*` with none."""
        groups: dict[str, list[str]] = {}
        for symbol in symbols:
            groups.setdefault(self.calendar_of(symbol), []).append(symbol)
        return groups or {self.patterns[ANY]: []}


def read_calendar_rules(connection: psycopg.Connection, default: str) -> CalendarRules:
    """Return the rules of the table, with `default` for symbols of which it says nothing."""
    rows = connection.execute("SELECT pattern, calendar FROM symbol_calendars ORDER BY pattern").fetchall()
    return CalendarRules({ANY: default} | dict(rows))


def list_calendars(connection: psycopg.Connection, default: str) -> list[str]:
    """Return the calendars whose sessions are stored: those that symbols have, and that of loads."""
    return list(dict.fromkeys((EXCHANGE_CALENDAR, *read_calendar_rules(connection, default).patterns.values())))


def set_calendar(connection: psycopg.Connection, patterns: Sequence[str], calendar: str) -> None:
    """Store the calendar of symbols and patterns. Raises BadInputError for a pattern or calendar that is none."""
    require_calendar(calendar)
    wanted = list(dict.fromkeys(map(require_pattern, patterns)))
    connection.execute(
        "INSERT INTO symbol_calendars (pattern, calendar) SELECT unnest(%s::text[]), %s"
        " ON CONFLICT (pattern) DO UPDATE SET calendar = excluded.calendar",
        (wanted, calendar),
    )


def unset_calendar(connection: psycopg.Connection, patterns: Sequence[str]) -> None:
    """Remove rules. Raises UnknownNameError for the first that does not exist, and removes none then."""
    with connection.transaction():
        known = {row[0] for row in connection.execute("SELECT pattern FROM symbol_calendars")}
        for pattern in patterns:
            if pattern not in known:
                raise UnknownNameError("calendar rule", pattern, known)
        connection.execute("DELETE FROM symbol_calendars WHERE pattern = ANY(%s)", (list(patterns),))


def require_pattern(text: str) -> str:
    """Return the pattern unchanged. Raises BadInputError unless it is a symbol with at most one `*`."""
    if text.count(ANY) > 1:
        raise BadInputError(f"the pattern {text!r} has more than one *")
    if ANY not in text:
        return require_symbol(text)
    if find_symbol_error(text.replace(ANY, "A")) is not None:
        raise BadInputError(f"the pattern {text!r} is not a symbol with * for some of its characters, as X:* or *-USD")
    return text


def _matches(pattern: str, symbol: str) -> bool:
    begin, star, end = pattern.partition(ANY)
    return bool(star) and len(symbol) >= len(begin) + len(end) and symbol.startswith(begin) and symbol.endswith(end)


def _order(pattern: str) -> tuple[int, str]:
    return -len(pattern), pattern
