"""A synthetic stock market; every bar is a function of (seed, symbol, session).

A day's open, high, low, close and volume are cheap functions of the date (a sum of sines and hashed noise), and its
minutes are drawn so that they add up to exactly these. Daily bars therefore need no minutes.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from streamworkers.errors import BadInputError
from streamworkers_fakes.massive.bar_windows import by_calendar, wider
from streamworkers_fakes.massive.bars import FakeBars, Floats, Ints, concat_bars, no_bars
from streamworkers_fakes.massive.drawn_days import DrawnDays, Keys, Prices, draw_days, typical, uniform
from streamworkers_fakes.massive.listings import FakeListings
from streamworkers_fakes.massive.splits import FakeSplit, FakeSplits
from streamworkers_fakes.massive.symbols import DEFAULT_SYMBOLS
from streamworkers_fakes.massive.trading_days import (
    FIRST_DAY,
    MINUTE_MS,
    PRE_MARKET_MINUTE,
    TradingDays,
    all_days,
    midnight_ms,
    milliseconds,
    new_york_date,
    trading_days,
)
from streamworkers_fakes.massive.walks import (
    Bounds,
    choose_minutes,
    draw_regular,
    draw_wandering,
    share_out,
    weigh_minutes,
)

_EXTENDED_DRIFT = 0.01
_CACHED_SESSIONS = 512


class FakeMarket:
    """The data that the fake API serves; every method returns the same for the same arguments.

    `extended_share` is the part of the pre-market and post-market minutes that have a bar. `unknown` symbols have no
    bars, `listings` says which symbols have them on some days only; all others have them from `FIRST_DAY` on.
    `fillers` symbols more are in grouped bars and lists, `F00001` and so on. With `fractional` volumes are not whole.
    Methods take `now` (aware): later minutes do not exist, and splits after its date do not adjust. Without it all
    sessions have ended and all splits happened. Raises BadInputError for an `extended_share` beyond 0 to 1.
    """

    def __init__(
        self,
        *,
        seed: int = 1,
        symbols: Iterable[str] = DEFAULT_SYMBOLS,
        splits: Iterable[FakeSplit] = (),
        unknown: Iterable[str] = (),
        listed_from: Mapping[str, date] | None = None,
        listings: FakeListings | None = None,
        fillers: int = 0,
        fractional: bool = False,
        extended_share: float = 0.6,
    ) -> None:
        if not 0 <= extended_share <= 1:
            raise BadInputError(f"extended_share is {extended_share:g}; it must be from 0 to 1")
        self.seed = seed
        self.symbols = tuple(sorted(set(symbols)))
        self.splits = FakeSplits(splits)
        self.unknown = frozenset(unknown)
        listings = listings or FakeListings()
        self.listings = replace(listings, listed_from={**listings.listed_from, **(listed_from or {})})
        # Symbols with a day of listing of their own are in lists also if nobody names them.
        own = (*self.listings.listed_from, *self.listings.delisted_after, *self.listings.thin)
        renamed = (name for rename in self.listings.renames for name in (rename.old, rename.new))
        more = (f"F{number:05d}" for number in range(1, fillers + 1))
        self.symbols = tuple(sorted({*self.symbols, *renamed, *more}))
        self.listed_symbols = tuple(sorted({*self.symbols, *own}))
        self._fractional = fractional
        self._extended_share = extended_share
        self._last = datetime.now(UTC).date()
        self._key = lru_cache(maxsize=65_536)(self._new_key)
        self._session = lru_cache(maxsize=_CACHED_SESSIONS)(self._new_session)

    def sessions(self, first: date, last: date) -> list[date]:
        """Return the days from `first` to `last`, both included, that have a session; none before `FIRST_DAY`."""
        table = self.table
        return [date.fromordinal(int(table.ordinal[position])) for position in table.between(first, last)]

    def minutes(self, symbol: str, day: date, *, now: datetime | None = None, adjusted: bool = False) -> FakeBars:
        """Return the minute bars of a day from 04:00 to 20:00 (17:00 after an early close) that have ended."""
        positions = self.positions(symbol, day, day)
        if not len(positions) or not self._trades_on(symbol, np.array([day.toordinal()]))[0]:
            return no_bars()
        bars = self._session(symbol, positions[0])
        if now is not None:
            bars = bars.part(0, int(np.searchsorted(bars.start_ms, milliseconds(now) - MINUTE_MS, "right")))
        return bars.adjusted(self.ratio(symbol, day, now)) if adjusted else bars

    def hours(
        self, symbol: str, day: date, *, now: datetime | None = None, adjusted: bool = False, minutes: int = 60
    ) -> FakeBars:
        """Return bars of `minutes` minutes, counted from 00:00 in New York; the last may be unfinished."""
        bars = self.minutes(symbol, day, now=now)
        bars = wider(bars, midnight_ms(day), minutes)
        return bars.adjusted(self.ratio(symbol, day, now)) if adjusted else bars

    def days(
        self, symbol: str, first: date, last: date, *, now: datetime | None = None, adjusted: bool = False
    ) -> FakeBars:
        """Return the daily bars from `first` to `last`, both included; that of a session at `now` is unfinished.

        Prices are of the regular session; volume and trades of all minutes. `vwap` is the mean of the four prices.
        """
        positions, table = self.positions(symbol, first, last), self.table_of(symbol)
        closed = positions
        parts = []
        if now is not None:
            now_ms = milliseconds(now)
            ended = int(np.searchsorted(table.midnight_ms, now_ms, "right"))
            while ended and table.end_ms(ended - 1) > now_ms:
                ended -= 1
            closed = range(positions.start, max(positions.start, min(positions.stop, ended)))
            parts = [self._unfinished(symbol, position, now) for position in positions[len(closed) :][:1]]
        bars = self.listings.correct(symbol, concat_bars([self._whole_days(symbol, closed), *parts]), now)
        if not adjusted or not len(bars):
            return bars
        ordinals = table.ordinal[np.searchsorted(table.midnight_ms, bars.start_ms)]
        return bars.adjusted(self.splits.ratios(symbol, ordinals, _date_of(now)))

    def weeks(
        self, symbol: str, first: date, last: date, *, now: datetime | None = None, adjusted: bool = False
    ) -> FakeBars:
        """Return the weekly bars of the days from `first` to `last`; they start on Sundays at 00:00 in New York."""
        return by_calendar(self.days(symbol, first, last, now=now, adjusted=adjusted), "week")

    def months(
        self, symbol: str, first: date, last: date, *, now: datetime | None = None, adjusted: bool = False
    ) -> FakeBars:
        """Return the monthly bars of the days from `first` to `last`; they start on the first of a month at 00:00."""
        return by_calendar(self.days(symbol, first, last, now=now, adjusted=adjusted), "month")

    def grouped(
        self, day: date, *, now: datetime | None = None, adjusted: bool = False
    ) -> tuple[tuple[str, ...], FakeBars]:
        """Return the symbols that have a daily bar on a day, and these bars in the same order."""
        ordinal = np.array([day.toordinal()])
        known = [
            symbol
            for symbol in self.symbols
            if len(self.positions(symbol, day, day)) and self._trades_on(symbol, ordinal)[0]
        ]
        if not known or not len(self.table.between(day, day)):
            return (), no_bars()
        position = self.table.between(day, day)[0]
        if now is not None and self.table.end_ms(position) > milliseconds(now):
            found = {symbol: self.days(symbol, day, day, now=now, adjusted=adjusted) for symbol in known}
            return tuple(symbol for symbol in known if len(found[symbol])), concat_bars(list(found.values()))
        ordinals = self.table.ordinal[position : position + 1]
        raw_ratios = self.splits.ratios_of(known, ordinals, date.max)
        keys = np.array([self._key(symbol) for symbol in known], np.uint64)
        days = draw_days(keys, ordinals, raw_ratios, self.minute_counts(range(position, position + 1)))
        bars = days.bars(np.repeat(self.table.midnight_ms[position], len(known)), self._fractions(keys, ordinals))
        for place, symbol in enumerate(known):
            if any(correction.ticker == symbol for correction in self.listings.corrections):
                bars = bars.with_bar(place, self.listings.correct(symbol, bars.part(place, place + 1), now))
        return tuple(known), bars.adjusted(self.splits.ratios_of(known, ordinals, _date_of(now))) if adjusted else bars

    def ratio(self, symbol: str, day: date, now: datetime | None = None) -> float:
        """Return the divisor that adjusts prices of a day for the splits after it and up to `now`."""
        return float(self.splits.ratios(symbol, np.array([day.toordinal()]), _date_of(now))[0])

    @property
    def table(self) -> TradingDays:
        """All sessions."""
        return trading_days(self._last)

    def know_until(self, day: date) -> None:
        """Extend the sessions to a day at least; by default they reach a year beyond the real today."""
        self._last = max(self._last, day)

    def positions(self, symbol: str, first: date, last: date) -> range:
        """Return the positions in `table` of the sessions from `first` to `last` on which a symbol trades."""
        if symbol in self.unknown:
            return range(0)
        begin, end = self.listings.first_day(symbol), self.listings.last_day(symbol)
        return self.table_of(symbol).between(max(first, begin, FIRST_DAY), min(last, end))

    def table_of(self, symbol: str) -> TradingDays:
        """Return the sessions on which a symbol trades."""
        return all_days(self._last) if symbol in self.listings.always_open else self.table

    def is_regular(self, symbol: str) -> bool:
        """True if a symbol has all minutes of `minute_counts` on each of its days."""
        return symbol not in self.listings.thin and symbol not in self.listings.always_open

    def minute_counts(self, positions: range, table: TradingDays | None = None) -> Ints:
        """Return the number of minute bars of ended sessions, shape (len(positions),); for all regular symbols."""
        table, chosen = table or self.table, slice(positions.start, positions.stop)
        opens, closes, ends = table.open_minute[chosen], table.close_minute[chosen], table.end_minute[chosen]
        extended = self._present(np.maximum(opens - PRE_MARKET_MINUTE, 0)) + self._present(ends - closes)
        counts: Ints = closes - opens + extended
        return counts

    def _present(self, slots: Ints) -> Ints:
        present: Ints = np.rint(slots * self._extended_share).astype(np.int64)
        return present

    def _new_key(self, symbol: str) -> int:
        name = f"{self.seed}/{self.listings.family(symbol)}"
        return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")

    def _trades_on(self, symbol: str, ordinals: Ints) -> NDArray[np.bool_]:
        share = self.listings.thin.get(symbol, 1.0)
        traded: NDArray[np.bool_] = uniform(np.array([self._key(symbol)], np.uint64), ordinals, 8) < share
        return traded

    def _fractions(self, keys: Keys, numbers: Ints) -> Floats | None:
        """Return what is added to whole volumes: shares are traded in parts, too."""
        return np.rint(uniform(keys, numbers, 9) * 9999) / 1e4 if self._fractional else None

    def _days(self, symbol: str, positions: range) -> DrawnDays:
        table = self.table_of(symbol)
        ordinals = table.ordinal[positions.start : positions.stop]
        ratios = self.splits.ratios(symbol, ordinals, date.max)
        keys = np.array([self._key(symbol)], np.uint64)
        return draw_days(keys, ordinals, ratios, self.minute_counts(positions, table))

    def _whole_days(self, symbol: str, positions: range) -> FakeBars:
        if not len(positions):
            return no_bars()
        chosen, table = slice(positions.start, positions.stop), self.table_of(symbol)
        starts, ordinals = table.midnight_ms[chosen], table.ordinal[chosen]
        fractions = self._fractions(np.array([self._key(symbol)], np.uint64), ordinals)
        return self._days(symbol, positions).bars(starts, fractions).where(self._trades_on(symbol, ordinals))

    def _unfinished(self, symbol: str, position: int, now: datetime) -> FakeBars:
        table = self.table_of(symbol)
        bars = self.minutes(symbol, date.fromordinal(int(table.ordinal[position])), now=now)
        clock = (bars.start_ms - table.midnight_ms[position]) // MINUTE_MS
        opens, closes = np.searchsorted(clock, (table.open_minute[position], table.close_minute[position]))
        regular = bars.part(int(opens), int(closes))
        if not len(regular):
            return no_bars()
        day = regular.merged(np.zeros(1, np.int64), table.midnight_ms[position : position + 1])
        volume, trades = bars.volume.sum(keepdims=True), bars.trades.sum(keepdims=True)
        vwap = typical(day.open, day.high, day.low, day.close)
        return FakeBars(day.start_ms, day.open, day.high, day.low, day.close, volume, vwap, trades)

    def _new_session(self, symbol: str, position: int) -> FakeBars:
        table, days = self.table_of(symbol), self._days(symbol, range(position, position + 1))
        opens, closes, ends = (
            int(column[position]) for column in (table.open_minute, table.close_minute, table.end_minute)
        )
        low, high, first, last = (int(column[0]) for column in (days.low, days.high, days.open, days.close))
        random = np.random.default_rng([self._key(symbol), int(table.ordinal[position])])
        before = choose_minutes(random, min(PRE_MARKET_MINUTE, opens), opens, self._extended_share)
        after = choose_minutes(random, closes, ends, self._extended_share)
        drift = 1 + _EXTENDED_DRIFT * random.uniform(-1, 1, 2)
        regular = draw_regular(random, Bounds(first, last, low, high), closes - opens)
        morning = draw_wandering(random, round(first * drift[0]), first, len(before))
        evening = draw_wandering(random, last, round(last * drift[1]), len(after))
        weights = weigh_minutes(random, len(before), closes - opens, len(after))
        clock = np.concatenate((before, np.arange(opens, closes), after))
        prices = Prices(*(np.concatenate(columns) / 100 for columns in zip(morning, regular, evening, strict=True)))
        starts = table.midnight_ms[position] + clock * MINUTE_MS
        volume = share_out(int(days.volume[0]), weights).astype(float)
        parts = self._fractions(np.array([self._key(symbol)], np.uint64), starts // MINUTE_MS)
        bars = FakeBars(
            starts,
            *prices,
            volume if parts is None else volume + parts,
            typical(*prices),
            share_out(int(days.trades[0]), weights),
        )
        return self._thinned(symbol, bars, len(before), len(before) + closes - opens)

    def _thinned(self, symbol: str, bars: FakeBars, opens: int, closes: int) -> FakeBars:
        """Return the minutes in which a thin symbol trades; they have the open, high, low and close of its day."""
        if symbol not in self.listings.thin:
            return bars
        keys = np.array([self._key(symbol)], np.uint64)
        kept = uniform(keys, bars.start_ms // MINUTE_MS, 10) < self.listings.thin[symbol]
        regular = slice(opens, closes)
        extremes = opens + np.array([0, np.argmax(bars.high[regular]), np.argmin(bars.low[regular])])
        kept[[*extremes, closes - 1]] = True
        return bars.where(kept)


def _date_of(now: datetime | None) -> date:
    return date.max if now is None else new_york_date(now)
