"""Which schedules load the bars of a series."""

from collections.abc import Iterator

from streamworkers.database import Connection
from streamworkers.market.calendar.timeframes import timeframe_named
from streamworkers.market.universes.store import parse_names, read_memberships, union
from streamworkers.schedules.definition import ScheduleDefinition
from streamworkers.schedules.store import list_schedules

_LOAD = "load_ohlcv"


def find_loaded_symbols(connection: Connection, timeframe: str) -> frozenset[str]:
    """The symbols whose bars of a timeframe some enabled schedule loads."""
    definitions = [each.definition for each in list_schedules(connection) if each.definition is not None]
    loads = [each for each in definitions if each.job == _LOAD and each.enabled and timeframe in _timeframes(each)]
    members = read_memberships(connection) if loads else {}
    found: set[str] = set()
    for each in loads:
        if each.target is not None and each.target.universe is not None:
            known = [name for name in parse_names(each.target.universe) if name in members]
            found.update(union(members, known))
        elif each.target is not None:
            found.update(each.target.symbols or ())
    return frozenset(found)


def _timeframes(definition: ScheduleDefinition) -> Iterator[str]:
    named = definition.parameters.get("timeframes") or [definition.timeframe or "day"]
    return (timeframe_named(str(name)).name for name in named)
