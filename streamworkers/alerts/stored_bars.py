"""Reads the stored bars of a symbol that an alert would have decided, and those before them that its rule needs."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np

from streamworkers.analysis.history import CONFIDENCE_BARS
from streamworkers.analysis.warmup import WHOLE, bars_needed
from streamworkers.database import Connection
from streamworkers.errors import BadInputError
from streamworkers.market.bars.bars import NO_BARS, Bars
from streamworkers.market.bars.changes import read_complete_through
from streamworkers.market.bars.read import count_bars, read_series
from streamworkers.market.calendar.closes import EARLIEST, days_around, find_newest_closed, require_covered
from streamworkers.market.calendar.session_table import read_windows
from streamworkers.market.calendar.symbol_calendars import read_calendar_rules
from streamworkers.market.calendar.timeframes import Timeframe
from streamworkers.results.bar_times import to_moment, to_table_time
from streamworkers.rules.market_functions import BAR_FIELDS
from streamworkers.rules.market_vocabulary import function_of
from streamworkers.rules.tree import Condition, Move, leaves, needed_fields, needed_patterns

DEFAULT_BARS = 5_000
MOST_BARS = 500_000
_EVERY_BAR = 100_000_000
_MARGIN = timedelta(days=40)


@dataclass(frozen=True, slots=True)
class StoredBars:
    """Bars of one symbol: `closes` are those of the last ones, which are decided; the others are history."""

    timeframe: Timeframe
    bars: Bars
    closes: list[datetime]

    def start_of(self, place: int) -> datetime:
        """When the bar at a place began."""
        return to_moment(self.timeframe, self.bars.times[place])


@dataclass(frozen=True, slots=True)
class BarPeriod:
    """Which closed bars to decide: those that began at `since` or later and were closed at `until`.

    Without `since`, the `newest`; without both, `DEFAULT_BARS`.
    """

    until: datetime
    since: datetime | None = None
    newest: int | None = None


def read_stored_bars(
    connection: Connection, symbol: str, timeframe: Timeframe, before: int | None, period: BarPeriod, calendar: str
) -> StoredBars:
    """The bars of a period, and so many before them (None: all). `calendar` is that of symbols without one.

    Raises BadInputError if the period has more than `MOST_BARS`, or a stored value is not finite.
    """
    require_covered(period.until)
    name = read_calendar_rules(connection, calendar).calendar_of(symbol)
    bound = find_newest_closed(read_windows(connection, name, *days_around(period.until)), timeframe, period.until)
    through = read_complete_through(connection, timeframe, symbol)
    newest = bound if through is None else min(bound, to_table_time(timeframe, through))
    wanted = DEFAULT_BARS if period.newest is None else period.newest
    if period.since is not None:
        wanted = count_bars(connection, symbol, timeframe, to_table_time(timeframe, period.since), newest)
    if wanted > MOST_BARS:
        raise BadInputError(f"{wanted:,} bars of {symbol} are more than {MOST_BARS:,}: choose a later start")
    most = _EVERY_BAR if before is WHOLE else max(1, wanted + before)
    bars = read_series(connection, [symbol], timeframe, newest, most).get(symbol, NO_BARS)
    bars.require_valid(symbol)
    decided = bars.at(slice(max(0, len(bars) - wanted), None)) if wanted else NO_BARS
    return StoredBars(timeframe, bars, _find_closes(connection, name, timeframe, decided))


def bars_before(rule: Condition, timeframe: Timeframe) -> int | None:
    """The bars before a bar that the values of a rule at it need, so that they are those of the whole history."""
    needed = [1]  # the bar that gives the sides
    for field in needed_fields(rule):
        if field.name not in BAR_FIELDS:
            bars = bars_needed(function_of(field.name), dict(field.params), timeframe.name)
            if bars is WHOLE:
                return WHOLE
            needed.append(bars)
    needed += [CONFIDENCE_BARS + pattern.lookback for pattern in needed_patterns(rule)]
    return max(needed) + max((leaf.bars for leaf in leaves(rule) if isinstance(leaf, Move)), default=1)


def _find_closes(connection: Connection, calendar: str, timeframe: Timeframe, bars: Bars) -> list[datetime]:
    if not len(bars):
        return []
    days = bars.times[[0, -1]].astype("datetime64[D]").tolist()
    first: date = max(days[0] - _MARGIN, EARLIEST.date())
    ends = read_windows(connection, calendar, first, days[1] + _MARGIN).ends(timeframe, bars.starts)
    return [datetime.fromtimestamp(end / 1000, UTC) for end in np.asarray(ends).tolist()]
