"""Decides the stored bars of an alert again from the first one, and compares with what has fired.

The versions, the intervals in which the alert was about a symbol, the mutes and the splits are those of then, and the
function is the one that decides live. Nothing is written.
"""

from bisect import bisect_right
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from streamworkers.alerts.engine.compiled import CompiledVersions
from streamworkers.alerts.engine.deciding import decide_symbol
from streamworkers.alerts.engine.reading import SymbolWork
from streamworkers.alerts.store.alerts import StoredAlert, read_versions
from streamworkers.alerts.store.decisions import Firing, ShardMark
from streamworkers.alerts.store.mutes import read_mutes
from streamworkers.alerts.store.reports import list_firings
from streamworkers.alerts.store.retention import read_forgotten
from streamworkers.alerts.store.symbols import SymbolInterval, read_intervals
from streamworkers.alerts.store.work import LiveAlert, SeriesMark, VersionHead, read_rebases
from streamworkers.alerts.stored_bars import BarPeriod, StoredBars, read_stored_bars
from streamworkers.alerts.trial import first_bars
from streamworkers.database import Connection
from streamworkers.market.calendar.timeframes import timeframe_named
from streamworkers.rules.bar_columns import compute_columns
from streamworkers.rules.evaluate import Columns

Origin = Literal["both", "live", "replay"]
_NOTHING_DECIDED = SeriesMark(None, None, None, None, 0)
_WIDEST = {"1min": timedelta(minutes=1), "hour": timedelta(hours=1)}  # a bar begins so long before its close at most
_WIDEST_OF_DATES = timedelta(days=40)
_MOST_FIRINGS = 1_000_000
_RECORDED = ("symbol", "bar_time", "kind", "closed_at", "version", "price", "suppressed")


class ReplayedFiring(NamedTuple):
    """A firing or release that the live evaluation or the replay has found, or both of them."""

    symbol: str
    bar_time: datetime
    kind: str
    closed_at: datetime
    version: int
    price: float | None
    suppressed: str | None
    found_by: Origin


class Replay(NamedTuple):
    """What a replay of an alert has found, oldest first, over so many bars."""

    bars: int
    firings: list[ReplayedFiring]

    @property
    def differences(self) -> int:
        """The number of firings that only one of both has found; corrected bars are the reason."""
        return sum(each.found_by != "both" for each in self.firings)


def replay_alert(
    connection: Connection, stored: StoredAlert, symbol: str | None, now: datetime, default_calendar: str
) -> Replay:
    """Replay an alert for a symbol (None: all that it has been about) up to the newest complete bar at `now`."""
    intervals = [each for each in read_intervals(connection, stored.id) if symbol in (None, each.symbol)]
    bars, found = 0, []
    for interval in intervals:
        work = _read_interval(connection, stored, interval, now, default_calendar)
        bars += len(work.closes)
        if work.closes:
            found += decide_symbol(work, ShardMark(None, 0), {}, now).firings
    recorded = list_firings(connection, stored.user, _MOST_FIRINGS, alert_id=stored.id, symbol=symbol)
    live = {(row["symbol"], row["bar_time"], row["kind"]): row for row in recorded}
    firings = [_describe(each, live.pop(each.key[1:], None) is not None) for each in found]
    forgotten = read_forgotten(connection, [stored.id])
    firings = [each for each in firings if each.found_by == "both" or not _is_forgotten(each, stored.id, forgotten)]
    firings += [_describe_recorded(row) for row in live.values()]
    return Replay(bars, sorted(firings, key=lambda each: (each.closed_at, each.symbol, each.kind)))


def _read_interval(
    connection: Connection, stored: StoredAlert, interval: SymbolInterval, now: datetime, default_calendar: str
) -> SymbolWork:
    """The series of an interval, as if nothing of it had been decided yet."""
    frame, symbol = timeframe_named(interval.timeframe), interval.symbol
    versions = CompiledVersions()
    heads = [
        VersionHead(each.version, each.epoch, each.effective_from, each.rule_from, each.is_active)
        for each in read_versions(connection, [stored.id])[stored.id]
    ]
    versions.load(connection, [(stored.id, head.version) for head in heads], frame)
    needed = [versions[stored.id, head.version].before for head in heads]
    since = interval.since - _WIDEST.get(frame.name, _WIDEST_OF_DATES)
    before = None if None in needed else max(filter(None, needed), default=1)
    bars = read_stored_bars(connection, symbol, frame, before, BarPeriod(now, since), default_calendar)
    work = SymbolWork(symbol, frame, _NOTHING_DECIDED, [LiveAlert(stored.id, interval.since, None, heads)], versions)
    work.rebases = read_rebases(connection, frame.name, [symbol]).get(symbol, [])
    work.mutes = {stored.id: read_mutes(connection, [stored.id])}
    fields = dict.fromkeys(field for head in heads for field in versions[stored.id, head.version].fields)
    patterns = dict.fromkeys(each for head in heads for each in versions[stored.id, head.version].patterns)
    _fill(work, bars, compute_columns(bars.bars, fields, patterns), interval.until)
    return work


def _fill(work: SymbolWork, stored: StoredBars, columns: Columns, until: datetime | None) -> None:
    """Give the series its bars, up to the end of the interval."""
    count = len(stored.closes) if until is None else bisect_right(stored.closes, until)
    work.offset = len(stored.bars) - len(stored.closes)
    work.bars = stored.bars.at(slice(0, work.offset + count))
    work.columns = first_bars(columns, work.offset + count)
    work.closes = stored.closes[:count]
    work.starts = [stored.start_of(place) for place in range(work.offset, work.offset + count)]


def _describe(firing: Firing, is_recorded: bool) -> ReplayedFiring:
    found_by: Origin = "both" if is_recorded else "replay"
    return ReplayedFiring(
        *(firing.symbol, firing.bar_time, firing.kind, firing.closed_at, firing.version, firing.price),
        *(firing.suppressed, found_by),
    )


def _is_forgotten(firing: ReplayedFiring, alert_id: int, forgotten: Mapping[tuple[int, str], datetime]) -> bool:
    """True if what has fired then may have been deleted by its retention."""
    through = forgotten.get((alert_id, firing.symbol))
    return through is not None and firing.bar_time <= through


def _describe_recorded(row: dict[str, Any]) -> ReplayedFiring:
    return ReplayedFiring(**{name: row[name] for name in _RECORDED}, found_by="live")
