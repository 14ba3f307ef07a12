"""The job `cache_maintenance`: universes read anew everywhere, common queries warm, and what is short reported."""

import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

from pydantic import Field

from streamworkers.database import Connection
from streamworkers.diagnosis.components import ComponentStatus, make_monitoring_event, save_statuses
from streamworkers.engine.job import Context, Job, JobParameters
from streamworkers.engine.outcome import Completed, Event, Outcome
from streamworkers.engine.redis.entry import Item
from streamworkers.market.bars.read import newest_bar_of_all, read_series
from streamworkers.market.calendar.timeframes import TIMEFRAMES
from streamworkers.market.universes.cache import NOTIFY_CHANNEL
from streamworkers.market.universes.store import list_universes, memberships
from streamworkers.results.store import latest_indicators, recent_patterns

PARTS = ("universe_cache", "common_queries", "quality")
_SYMBOLS_AT_ONCE = 50


class CacheParameters(JobParameters):
    """How many groups of type ETF and UNIVERSE there should be, and how many bars of each symbol are read to warm."""

    min_etfs: int = Field(24, ge=0)
    min_universes: int = Field(3, ge=0)
    warm_bars: int = Field(500, ge=1, le=10_000)


class CacheMaintenance(Job[CacheParameters]):
    """Each of `PARTS` is an item."""

    name: ClassVar[str] = "cache_maintenance"
    queue: ClassVar[str] = "maintenance"
    batch_size: ClassVar[int] = len(PARTS)
    timeout_seconds: ClassVar[float] = 900.0
    parameters: ClassVar[type[JobParameters]] = CacheParameters
    parts: ClassVar[tuple[str, ...]] = PARTS

    def execute(self, items: Sequence[Item], context: Context[CacheParameters]) -> Iterator[Outcome]:
        """Do the parts that the items name."""
        for item in items:
            match item.symbol:
                case "universe_cache":
                    sizes = {name: len(symbols) for name, symbols in memberships(context.connection).items()}
                    yield Completed(item, None, {"universes": len(sizes), "symbols": sum(sizes.values())})
                case "common_queries":
                    yield Completed(item, None, warm(context.connection, context.parameters.warm_bars))
                case _:
                    found = quality(context.connection, context.parameters)
                    yield Completed(item, found, {"status": found.status, **found.detail})

    def save(self, connection: Connection, completed: Sequence[Completed]) -> Iterable[Event]:
        """Make every process read its universes again; keep and publish what is short."""
        if any(outcome.item.symbol == "universe_cache" for outcome in completed):
            connection.execute("SELECT pg_notify(%s, '')", (NOTIFY_CHANNEL,))
        for outcome in completed:
            if outcome.value is not None:
                save_statuses(connection, [outcome.value], outcome.item.run_id)
                yield make_monitoring_event([outcome.value], outcome.item.run_id, datetime.now(UTC))


def warm(connection: Connection, bars: int) -> dict[str, Any]:
    """Ask what people and jobs ask most, so that PostgreSQL has it in memory; the number of queries and the seconds."""
    started = time.monotonic()
    symbols = sorted(frozenset[str]().union(*memberships(connection).values()))
    day = TIMEFRAMES["day"]
    newest = newest_bar_of_all(connection, day)
    queries = 2
    if newest is not None:
        for start in range(0, len(symbols), _SYMBOLS_AT_ONCE):
            read_series(connection, symbols[start : start + _SYMBOLS_AT_ONCE], day, newest, bars)
            queries += 1
    for symbol in symbols[:_SYMBOLS_AT_ONCE]:
        latest_indicators(connection, symbol, day.name)
        queries += 1
    recent_patterns(connection, timeframe=day.name, min_confidence=0.0, direction=None, limit=1000)
    return {"queries": queries + 1, "symbols": len(symbols), "seconds": round(time.monotonic() - started, 3)}


def quality(connection: Connection, rules: CacheParameters) -> ComponentStatus:
    """Are there as many ETFs and universes as there should be, and none without symbols?"""
    groups = list_universes(connection)
    etfs = sum(type_name == "ETF" for _, type_name, _, _ in groups)
    universes = sum(type_name == "UNIVERSE" for _, type_name, _, _ in groups)
    empty = [name for name, _, _, count in groups if not count]
    short = []
    if etfs < rules.min_etfs:
        short.append(f"{etfs} ETFs of at least {rules.min_etfs}")
    if universes < rules.min_universes:
        short.append(f"{universes} universes of at least {rules.min_universes}")
    if empty:
        short.append(f"without symbols: {', '.join(empty)}")
    detail = {"etfs": etfs, "universes": universes, "empty": empty, "short": short}
    message = f"short: {'; '.join(short)}" if short else f"{etfs} ETFs and {universes} universes, none empty"
    return ComponentStatus("universes", "degraded" if short else "ok", message, detail)
