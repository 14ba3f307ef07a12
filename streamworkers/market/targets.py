"""What a request may name of the market, as the engine asks for it: universes and timeframes."""

from collections.abc import Callable
from dataclasses import dataclass

from streamworkers.database import Connection
from streamworkers.market.calendar.timeframes import timeframe_named
from streamworkers.market.universes.store import resolve


@dataclass(frozen=True, slots=True)
class MarketTargets:
    """Resolves universes, from the database or as a given function does, and knows the timeframes."""

    resolve_universe: Callable[[Connection, str], tuple[str, ...]] = resolve

    def resolve(self, connection: Connection, universe: str) -> tuple[str, ...]:
        """Return the symbols of a universe, such as `sp500:nasdaq100`. Raises UsageError for an unknown one."""
        return self.resolve_universe(connection, universe)

    def name_timeframe(self, text: str) -> str:
        """Return the name of a timeframe. Raises UsageError for an unknown one."""
        return timeframe_named(text).name
