"""The job `cache_maintenance`.

Reloads the universes in every process, warms PostgreSQL's cache, and reports universes that are missing or too small.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

from pydantic import Field

from streamworkers.database import Connection
from streamworkers.diagnosis.components import ComponentStatus, make_monitoring_event, save_statuses
from streamworkers.engine.job import Context, Job, JobParameters
from streamworkers.engine.outcome import Completed, Event, Item, Outcome
from streamworkers.market.bars.read import read_newest_of_all, read_series
from streamworkers.market.calendar.timeframes import TIMEFRAMES
from streamworkers.market.universes.cache import NOTIFY_CHANNEL
from streamworkers.market.universes.store import list_universes, read_memberships
from streamworkers.results.read import list_latest_indicators, list_recent_patterns

PARTS = ("universe_cache", "common_queries", "quality")
_SYMBOLS_AT_ONCE = 50


class CacheParameters(JobParameters):
    """The expected numbers of groups of type ETF and UNIVERSE, and how many bars of each symbol are read to warm up."""

    min_etfs: int = Field(24, ge=0)
    min_universes: int = Field(3, ge=0)
    warm_bars: int = Field(500, ge=1, le=10_000)


class CacheMaintenance(Job[CacheParameters]):
    """Reloads universes in every process, warms PostgreSQL's cache, and reports universes that are too small."""

    name: ClassVar[str] = "cache_maintenance"
    queue: ClassVar[str] = "maintenance"
    batch_size: ClassVar[int] = len(PARTS)
    timeout_seconds: ClassVar[float] = 900.0
    parameters: ClassVar[type[JobParameters]] = CacheParameters
    parts: ClassVar[tuple[str, ...]] = PARTS

    def execute(self, items: Sequence[Item], context: Context[CacheParameters]) -> Iterator[Outcome]:
        """Carry out the parts that the items name."""
        for item in items:
            match item.symbol:
                case "universe_cache":
                    sizes = {name: len(symbols) for name, symbols in read_memberships(context.connection).items()}
                    yield Completed(item, None, {"universes": len(sizes), "symbols": sum(sizes.values())})
                case "common_queries":
                    yield Completed(item, None, warm(context.connection, context.parameters.warm_bars))
                case _:
                    found = quality(context.connection, context.parameters)
                    yield Completed(item, found, {"status": found.status, **found.detail})

    def save(self, connection: Connection, completed: Sequence[Completed]) -> Iterable[Event]:
        """Make every process reload its universes; store and publish the finding about them."""
        if any(outcome.item.symbol == "universe_cache" for outcome in completed):
            connection.execute("SELECT pg_notify(%s, '')", (NOTIFY_CHANNEL,))
        for outcome in completed:
            if outcome.value is not None:
                save_statuses(connection, [outcome.value], outcome.item.run_id)
                yield make_monitoring_event([outcome.value], outcome.item.run_id, datetime.now(UTC))


def warm(connection: Connection, bars: int) -> dict[str, Any]:
    """Run frequent queries, so that PostgreSQL has their pages in memory; returns queries, symbols, and seconds."""
    started = time.monotonic()
    symbols = sorted(frozenset[str]().union(*read_memberships(connection).values()))
    day = TIMEFRAMES["day"]
    newest = read_newest_of_all(connection, day, datetime.now(UTC))
    queries = 2
    if newest is not None:
        for start in range(0, len(symbols), _SYMBOLS_AT_ONCE):
            read_series(connection, symbols[start : start + _SYMBOLS_AT_ONCE], day, newest, bars)
            queries += 1
    for symbol in symbols[:_SYMBOLS_AT_ONCE]:
        list_latest_indicators(connection, symbol, day.name)
        queries += 1
    list_recent_patterns(connection, timeframe=day.name, min_confidence=0.0, direction=None, limit=1000)
    return {"queries": queries + 1, "symbols": len(symbols), "seconds": round(time.monotonic() - started, 3)}


def quality(connection: Connection, rules: CacheParameters) -> ComponentStatus:
    """Check that there are enough ETFs and universes, and that none of them is empty."""
    groups = list_universes(connection)
    etfs = sum(type_name == "ETF" for _, type_name, _, _ in groups)
    universes = sum(type_name == "UNIVERSE" for _, type_name, _, _ in groups)
    empty = [name for name, _, _, count in groups if not count]
    problems = []
    if etfs < rules.min_etfs:
        problems.append(f"{etfs} ETFs, at least {rules.min_etfs} expected")
    if universes < rules.min_universes:
        problems.append(f"{universes} universes, at least {rules.min_universes} expected")
    if empty:
        problems.append(f"without symbols: {', '.join(empty)}")
    detail = {"etfs": etfs, "universes": universes, "empty": empty, "short": problems}
    message = "; ".join(problems) if problems else f"{etfs} ETFs and {universes} universes, none empty"
    return ComponentStatus("universes", "degraded" if problems else "ok", message, detail)
