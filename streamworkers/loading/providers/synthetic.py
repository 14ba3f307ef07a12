"""Synthetic daily bars for demonstrations and benchmarks: valid, plausible, the same for the same seed."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from math import exp, sqrt
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from streamworkers.errors import BadInputError
from streamworkers.loading.providers.provider import BarOrigin, BarsRequest, Page, Provider
from streamworkers.loading.providers.rows import build_page
from streamworkers.market.bars.text_rows import BarRows
from streamworkers.market.calendar.closes import days_around, find_newest_closed
from streamworkers.market.calendar.sessions import sessions_between
from streamworkers.market.calendar.timeframes import TIMEFRAMES
from streamworkers.market.calendar.windows import windows_between

_VARIANCE_MEMORY = 0.90  # weights of a GARCH(1,1) process: yesterday's variance, yesterday's squared return, the rest
_VARIANCE_SHOCK = 0.08
_DRIFT = 0.0003
_BEGIN = date(2000, 1, 3)
_GAP_SHARE = 0.4  # the part of a day's variance that falls between two sessions


def generate_bars(symbols: int, days: int, seed: int, end: date | None = None) -> Iterator[BarRows]:
    """Yield daily bars of `SYN001`, `SYN002`, … on the last `days` sessions of the New York exchange up to `end`.

    Without `end` they end with the last session that has closed. There is one BarRows for each symbol, which depends
    on `seed`, `days` and `end` only, not on the number of symbols. Raises BadInputError if a number is below 1
    (`seed`: below 0).
    """
    for name, value, least in (("symbols", symbols, 1), ("days", days, 1), ("seed", seed, 0)):
        if value < least:
            raise BadInputError(f"{name} is {value}; it must be at least {least}")
    dates = _list_sessions(days, end)

    def generate_all() -> Iterator[BarRows]:
        for number in range(1, symbols + 1):
            random = np.random.default_rng([seed, number])
            yield _generate(f"SYN{number:03d}", (number - 1) * days, dates, random)

    return generate_all()


class Synthetic(Provider):
    """The provider `synthetic`: daily bars of any symbol, from 2000 on, by `STREAMWORKERS_SYNTHETIC_SEED`.

    A bar is the same whenever and in whatever range it is requested.
    """

    name: ClassVar[str] = "synthetic"
    origin = BarOrigin.INVENTED

    def pages(self, request: BarsRequest, cursor: str | None = None) -> Iterator[Page]:
        """Yield the generated bars as one page."""
        del cursor
        dates = [day.isoformat() for day in _days_until(request.last.year) if day <= request.last]
        if dates:
            draws = _Draws([self.settings.synthetic_seed, *request.symbol.encode()])
            yield build_page(request, TIMEFRAMES["day"], _generate(request.symbol, 0, dates, draws))


@lru_cache(maxsize=8)
def _days_until(year: int) -> tuple[date, ...]:
    return sessions_between("XNYS", _BEGIN, date(max(year, _BEGIN.year), 12, 31)).days


class _Draws:
    """Random numbers; each call draws from a stream of its own, so that its length does not change the next calls."""

    def __init__(self, seed: list[int]) -> None:
        self._seed = seed
        self._requests = 0

    def _next(self) -> np.random.Generator:
        self._requests += 1
        return np.random.default_rng([*self._seed, self._requests])

    def uniform(self, low: float, high: float) -> float:
        """Return a number from `low` to `high`."""
        return float(self._next().uniform(low, high))

    def standard_normal(self, count: int) -> NDArray[np.float64]:
        """Return normal numbers; the first ones are the same for any `count`."""
        return self._next().standard_normal(count)


def _list_sessions(days: int, end: date | None) -> list[str]:
    now = datetime.now(UTC)
    last = end or find_newest_closed(windows_between(*days_around(now)), TIMEFRAMES["day"], now)
    try:
        first = last - timedelta(days=days * 3 // 2 + 30)
    except OverflowError as error:
        raise BadInputError(f"there are no {days} sessions of the exchange up to {last}: {error}") from error
    sessions = sessions_between("XNYS", first, last).days
    if len(sessions) < days:
        raise BadInputError(f"there are no {days} sessions of the exchange up to {last}, only {len(sessions)}")
    return [day.isoformat() for day in sessions[-days:]]


def _generate(symbol: str, lines_before: int, dates: list[str], random: np.random.Generator | _Draws) -> BarRows:
    count = len(dates)
    start = float(random.uniform(20, 400))
    usual_volatility = float(random.uniform(0.010, 0.025))
    volatility = _clustered_volatility(usual_volatility, random.standard_normal(count))
    gaps = sqrt(_GAP_SHARE) * volatility * random.standard_normal(count)
    moves = sqrt(1 - _GAP_SHARE) * volatility * random.standard_normal(count) + _DRIFT
    closes = start * np.exp(np.cumsum(gaps + moves))
    opens = np.concatenate(([start], closes[:-1])) * np.exp(gaps)
    reach = 0.5 * volatility
    highs = np.maximum(opens, closes) * np.exp(reach * np.abs(random.standard_normal(count)))
    lows = np.minimum(opens, closes) * np.exp(-reach * np.abs(random.standard_normal(count)))
    usual_volume = exp(float(random.uniform(13, 17)))
    excitement = np.abs(gaps + moves) / usual_volatility
    volumes = usual_volume * np.exp(0.3 * random.standard_normal(count)) * (0.7 + 0.4 * excitement)
    # Rounding is monotonic, so low <= open, close <= high still holds in cents.
    opened, high, low, closed = (_format_cents(prices) for prices in (opens, highs, lows, closes))
    return BarRows(
        lines=list(range(lines_before + 1, lines_before + count + 1)),
        symbols=[symbol] * count,
        times=dates,
        open=opened,
        high=high,
        low=low,
        close=closed,
        volume=[str(int(volume)) for volume in volumes],
    )


def _clustered_volatility(usual: float, shocks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return daily standard deviations with volatility clusters: GARCH(1,1) around `usual`."""
    mean_variance = usual * usual
    variance = mean_variance
    result = np.empty(len(shocks))
    for day, shock in enumerate(shocks):
        result[day] = sqrt(variance)
        variance = (
            (1 - _VARIANCE_MEMORY - _VARIANCE_SHOCK) * mean_variance
            + _VARIANCE_MEMORY * variance
            + _VARIANCE_SHOCK * variance * float(shock) ** 2
        )
    return result


def _format_cents(prices: NDArray[np.float64]) -> list[str]:
    return [f"{cents / 100:.2f}" for cents in np.maximum(np.rint(prices * 100), 1).astype(np.int64).tolist()]
