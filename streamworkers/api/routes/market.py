"""Routes about universes, bars and results."""

import hashlib
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from streamworkers.api.call import ApiAnswer, ApiCall
from streamworkers.api.conditions import require_version, tag_answer
from streamworkers.api.operation import Operation
from streamworkers.api.problem import NotFound
from streamworkers.errors import UnknownNameError
from streamworkers.market.bars.read import read_recent
from streamworkers.market.bars.rules import require_symbol
from streamworkers.market.calendar.timeframes import timeframe_named
from streamworkers.market.universes import store
from streamworkers.market.universes.members import UniverseMembers, replace_members
from streamworkers.results.read import list_latest_indicators, list_symbol_patterns

_PRICES = ("open", "high", "low", "close")


class UniverseView(msgspec.Struct):
    """A universe, with the number of its symbols."""

    name: str
    type: str
    symbols: int
    description: str


class UniverseList(msgspec.Struct):
    """The stored universes, by name."""

    universes: list[UniverseView]


class UniverseSymbols(msgspec.Struct):
    """The symbols of a universe, or of the union of several."""

    universe: str
    count: int
    symbols: list[str]


class UniverseBody(msgspec.Struct, forbid_unknown_fields=True):
    """The symbols that a universe has from now on, and its type; without a description it keeps its own."""

    symbols: list[str]
    type: str = "UNIVERSE"
    description: str = ""


class ReplacedUniverse(msgspec.Struct):
    """How many symbols were added to a universe and removed from it."""

    universe: str
    added: int
    removed: int


class BarList(msgspec.Struct):
    """The newest bars of a symbol, oldest first."""

    symbol: str
    timeframe: str
    bars: list[dict[str, Any]]


class ResultList(msgspec.Struct):
    """The newest value of each indicator of a symbol, and its newest patterns."""

    symbol: str
    timeframe: str
    indicators: list[dict[str, Any]]
    patterns: list[dict[str, Any]]


class SeriesQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Which series, and how many of its newest bars or patterns."""

    symbol: str
    timeframe: str = "day"
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100


def _list_universes(call: ApiCall) -> ApiAnswer:
    """List the universes, with the number of their symbols."""
    rows = store.list_universes(call.connection)
    names = ("name", "type", "description", "symbols")
    return ApiAnswer({"universes": [dict(zip(names, row, strict=True)) for row in rows]})


def _show_universe(call: ApiCall) -> ApiAnswer:
    """Show the symbols of a universe; `sp500:nasdaq100` is the union of two."""
    name = call.path["universe"]
    try:
        symbols = store.resolve(call.connection, name)
    except UnknownNameError as error:
        raise NotFound("universe", error.name) from None
    answer = ApiAnswer({"universe": name, "count": len(symbols), "symbols": symbols})
    return tag_answer(call, answer, _version_of(symbols))


def _replace_universe(call: ApiCall) -> ApiAnswer:
    """Replace the symbols of a universe whose symbols are those that If-Match names, or add it with `*`."""
    body: UniverseBody = call.body
    name, type_name = store.require_universe_name(call.path["universe"]), store.require_universe_type(body.type)
    store.ensure_group(call.connection, name, type_name)  # others wait here
    require_version(call, _version_of(store.resolve(call.connection, name)))
    weights: dict[str, str | None] = dict.fromkeys(map(require_symbol, body.symbols))
    kept = store.read_weights(call.connection, name, type_name)
    wanted = UniverseMembers(body.description, {symbol: kept.get(symbol) for symbol in weights})
    added, removed = replace_members(call.connection, name, type_name, wanted, call.caller.actor)
    answer = ApiAnswer({"universe": name, "added": added, "removed": removed})
    return tag_answer(call, answer, _version_of(store.resolve(call.connection, name)))


def _version_of(symbols: Sequence[str]) -> int:
    """A universe has no number of its version: what it has stands for it."""
    return int.from_bytes(hashlib.sha256("\n".join(symbols).encode()).digest()[:6])


def _list_bars(call: ApiCall) -> ApiAnswer:
    """List the newest bars of a symbol, oldest first; none for a symbol without any."""
    query: SeriesQuery = call.query
    frame = timeframe_named(query.timeframe)
    rows = [bar._asdict() for bar in read_recent(call.connection, query.symbol, frame, query.limit)]
    bars = [{**row, **{name: float(row[name]) for name in _PRICES}} for row in rows]
    return ApiAnswer({"symbol": query.symbol, "timeframe": frame.name, "bars": bars})


def _list_results(call: ApiCall) -> ApiAnswer:
    """Show the newest value of each indicator of a symbol, and its newest patterns."""
    query: SeriesQuery = call.query
    frame = timeframe_named(query.timeframe)
    indicators = list_latest_indicators(call.connection, query.symbol, frame.name)
    patterns = list_symbol_patterns(call.connection, query.symbol, frame.name, query.limit)
    shown = {"indicators": indicators, "patterns": patterns}
    return ApiAnswer({"symbol": query.symbol, "timeframe": frame.name, **shown})


MARKET_OPERATIONS = (
    Operation("GET", "/universes", "List universes", _list_universes, UniverseList, object_type="universe"),
    Operation(
        *("GET", "/universes/{universe}", "Show the symbols of universes", _show_universe, UniverseSymbols),
        is_tagged=True,
        object_type="universe",
        problems=(404,),
    ),
    Operation(
        *("PUT", "/universes/{universe}", "Replace the symbols of a universe", _replace_universe, ReplacedUniverse),
        scope="admin",
        body=UniverseBody,
        action="universe.replace",
        object_type="universe",
        problems=(412, 428),
        example={"symbols": ["AAPL", "MSFT"], "description": "two large ones"},
    ),
    Operation("GET", "/bars", "List bars", _list_bars, BarList, query=SeriesQuery, object_type="bar"),
    Operation("GET", "/results", "Show results", _list_results, ResultList, query=SeriesQuery, object_type="result"),
)
