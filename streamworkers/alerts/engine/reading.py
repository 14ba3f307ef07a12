"""Reads what deciding series takes: their bars once for all alerts, and only the columns that some alert needs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from streamworkers.alerts.decide_bars import AlertProgress
from streamworkers.alerts.engine.compiled import CompiledVersions
from streamworkers.alerts.engine.spans import first_needed
from streamworkers.alerts.store.mutes import Mute, read_mutes
from streamworkers.alerts.store.work import (
    LiveAlert,
    Rebase,
    SeriesMark,
    factor_since,
    read_corrected,
    read_fired,
    read_live,
    read_marks,
    read_rebases,
)
from streamworkers.config import load_settings
from streamworkers.database import Connection
from streamworkers.market.bars.bars import Bars
from streamworkers.market.bars.read import count_bars_between, read_series
from streamworkers.market.calendar.session_table import read_sessions
from streamworkers.market.calendar.symbol_calendars import read_calendar_rules
from streamworkers.market.calendar.timeframes import Timeframe
from streamworkers.market.calendar.windows import Windows, windows_between
from streamworkers.results.bar_times import to_moment, to_series_time, to_table_time
from streamworkers.rules.bar_columns import compute_columns
from streamworkers.rules.evaluate import Columns

MOST_REPLAYED = 5000
_WIDTH = {
    "1min": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=2),
    "week": timedelta(days=8),
    "month": timedelta(days=32),
}
_LIVE = {"1min": timedelta(hours=1), "hour": timedelta(hours=4)}
_EVERY_BAR = 100_000_000
_ROUND = 64  # counts are rounded up, so that few queries read many symbols

Fired = list[tuple[datetime, AlertProgress]]


@dataclass(slots=True)
class SymbolWork:
    """A series with the alerts about it.

    `closes` and `starts` are those of the last bars, from `offset` on; bars before are history. `live_until` is until
    when a firing of the newest bar is live. `corrected` are the first corrected bar and the newest change that
    corrected one, `fired` the firings of each alert that a replay is compared with; `is_cut` says that a
    replay would need more bars than `MOST_REPLAYED`.
    """

    symbol: str
    timeframe: Timeframe
    mark: SeriesMark
    alerts: list[LiveAlert]
    versions: CompiledVersions
    rebases: list[Rebase] = field(default_factory=list)
    mutes: dict[int, list[Mute]] = field(default_factory=dict)
    corrected: tuple[datetime, int] | None = None
    fired: dict[int, Fired] = field(default_factory=dict)
    bars: Bars | None = None
    columns: Columns | None = None
    offset: int = 0
    is_cut: bool = False
    closes: list[datetime] = field(default_factory=list)
    starts: list[datetime] = field(default_factory=list)
    live_until: datetime | None = None

    def factor(self, since: datetime) -> float:
        """What prices were multiplied by since a moment; an unknown factor counts as 1."""
        return factor_since(self.rebases, since)

    def unknown_split(self, since: datetime) -> Rebase | None:
        """The newest rebase of unknown factor since a moment."""
        return next((each for each in reversed(self.rebases) if each.factor is None and each.at > since), None)


def read_work(
    connection: Connection, timeframe: Timeframe, symbols: Sequence[str], versions: CompiledVersions
) -> dict[str, SymbolWork]:
    """The work of series that have changed since they were decided; the others, and those without alerts, are absent.

    All of it is as of one moment, so that no change falls between two reads.
    """
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        marks = read_marks(connection, timeframe.name, symbols)
        live = read_live(connection, timeframe.name, list(marks))
        works = {
            symbol: SymbolWork(symbol, timeframe, marks[symbol], alerts, versions) for symbol, alerts in live.items()
        }
        keys = [(each.alert_id, head.version) for alerts in live.values() for each in alerts for head in each.versions]
        versions.load(connection, keys, timeframe)
        _read_context(connection, timeframe, works)
        _read_bars(connection, timeframe, works)
        _add_closes(connection, timeframe, works)
    for work in works.values():
        _compute(work)
    return works


def _read_context(connection: Connection, timeframe: Timeframe, works: Mapping[str, SymbolWork]) -> None:
    """Mutes, rebases, and what a replay of corrected series begins with."""
    for symbol, rebases in read_rebases(connection, timeframe.name, list(works)).items():
        works[symbol].rebases = rebases
    by_alert: dict[int, list[Mute]] = {}
    for mute in read_mutes(connection, sorted({each.alert_id for work in works.values() for each in work.alerts})):
        by_alert.setdefault(mute.alert_id, []).append(mute)
    for work in works.values():
        work.mutes = {each.alert_id: by_alert[each.alert_id] for each in work.alerts if each.alert_id in by_alert}
    seen = {symbol: work.mark.change_seen for symbol, work in works.items()}
    for symbol, (first, change) in read_corrected(connection, timeframe.name, seen).items():
        work, decided = works[symbol], works[symbol].mark.evaluated_through
        if decided is None or first > decided:
            continue
        work.corrected = first, change
        epochs = {each.alert_id: each.decided[0] for each in work.alerts if _is_up_to_date(each) and each.decided}
        work.fired = read_fired(connection, symbol, epochs, first, decided)


def _is_up_to_date(live: LiveAlert) -> bool:
    return live.decided == (live.versions[-1].epoch, live.since)


def _read_bars(connection: Connection, timeframe: Timeframe, works: Mapping[str, SymbolWork]) -> None:
    ranges = {}
    replayed = {}
    for symbol, work in works.items():
        through = work.mark.complete_through
        if through is None:
            continue
        end = to_table_time(timeframe, through)
        ranges[symbol] = (to_table_time(timeframe, _first_start(work)), end)
        if work.corrected is not None:
            replayed[symbol] = (to_table_time(timeframe, _first_replayed(work)), end)
    counts = count_bars_between(connection, timeframe, ranges)
    for symbol, count in count_bars_between(connection, timeframe, replayed).items():
        works[symbol].is_cut = count > counts[symbol] + MOST_REPLAYED
        counts[symbol] = max(counts[symbol], min(count, counts[symbol] + MOST_REPLAYED))
    groups: dict[tuple[datetime, int], list[str]] = {}
    for symbol, count in counts.items():
        through = works[symbol].mark.complete_through
        assert through is not None
        most = _bars_before(works[symbol])
        wanted = _EVERY_BAR if most is None else -(-(count + most) // _ROUND) * _ROUND
        groups.setdefault((through, wanted), []).append(symbol)
    for (through, wanted), members in groups.items():
        found = read_series(connection, members, timeframe, to_table_time(timeframe, through), wanted)
        for symbol, bars in found.items():
            works[symbol].bars = bars
            works[symbol].offset = max(0, len(bars) - counts[symbol])


def _first_start(work: SymbolWork) -> datetime:
    """The time after which a bar may be undecided for some alert."""
    begins = [begin for begin in map(first_needed, work.alerts) if begin is not None]
    times = [begin - _WIDTH[work.timeframe.name] for begin in begins]
    if work.mark.evaluated_through is not None:
        times.append(work.mark.evaluated_through)
    return min(times, default=work.mark.complete_through or datetime.now(UTC))


def _first_replayed(work: SymbolWork) -> datetime:
    """The time after which the replays of a corrected series begin."""
    assert work.corrected is not None
    times = [work.corrected[0]]
    for live in work.alerts:
        if _is_up_to_date(live):
            before = [bar for bar, _ in work.fired.get(live.alert_id, ()) if bar < work.corrected[0]]
            current = [each.effective_from for each in live.versions if each.epoch == live.versions[-1].epoch]
            times.append(before[0] if before else max(min(current), live.since))
    return min(times) - _WIDTH[work.timeframe.name]


def _bars_before(work: SymbolWork) -> int | None:
    needed = [work.versions[live.alert_id, head.version].before for live in work.alerts for head in live.versions]
    return None if None in needed else max(filter(None, needed), default=1) + 1


def _add_closes(connection: Connection, timeframe: Timeframe, works: Mapping[str, SymbolWork]) -> None:
    """When the bars close, by the calendar of each symbol, and until when a firing of the newest one is live."""
    with_bars = {symbol: work for symbol, work in works.items() if work.bars is not None and len(work.bars)}
    rules = read_calendar_rules(connection, load_settings().calendar)
    for calendar, members in rules.group(with_bars).items():
        read_sessions(connection, calendar)
        for symbol in members:
            work = with_bars[symbol]
            assert work.bars is not None
            days = work.bars.times[[work.offset if work.offset < len(work.bars) else -1, -1]].astype("datetime64[D]")
            begin, end = days.tolist()
            windows = windows_between(begin, end, calendar=calendar)
            tail = work.bars.at(slice(work.offset, None))
            work.closes = [
                datetime.fromtimestamp(end / 1000, UTC) for end in windows.ends(timeframe, tail.starts).tolist()
            ]
            work.starts = [to_moment(timeframe, time) for time in tail.times]
            if work.closes:
                work.live_until = _live_until(timeframe, windows, work.closes[-1])


def _live_until(timeframe: Timeframe, windows: Windows, close: datetime) -> datetime:
    if timeframe.name in _LIVE:
        return close + _LIVE[timeframe.name]
    return next((each.closes for each in windows.sessions.sessions if each.closes > close), close + timedelta(days=7))


def _compute(work: SymbolWork) -> None:
    """The columns of all fields and patterns of the alerts, each once."""
    if work.bars is None or not work.closes:
        return
    work.bars.require_valid(work.symbol)
    found = [work.versions[live.alert_id, head.version] for live in work.alerts for head in live.versions]
    fields = dict.fromkeys(each for version in found for each in version.fields)
    patterns = dict.fromkeys(each for version in found for each in version.patterns)
    # One bar before those that may be decided gives the sides.
    work.columns = compute_columns(work.bars, fields, patterns, len(work.bars) - work.offset + 1)


def place_after(work: SymbolWork, moment: datetime) -> int:
    """The place of the first bar that begins after a moment."""
    assert work.bars is not None
    wanted = to_series_time(to_table_time(work.timeframe, moment))
    return int(work.bars.times.searchsorted(wanted, side="right"))
