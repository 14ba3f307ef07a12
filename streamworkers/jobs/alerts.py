"""The job `alerts`: decides the closed bars of symbols for all alerts about them."""

from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar

from streamworkers.alerts.engine.compiled import CompiledVersions
from streamworkers.alerts.engine.correcting import check_corrections
from streamworkers.alerts.engine.deciding import SymbolDecision, decide_symbol
from streamworkers.alerts.engine.events import correction_events, firing_events, system_notice
from streamworkers.alerts.engine.missing import find_missing_bars
from streamworkers.alerts.engine.reading import SymbolWork, read_work
from streamworkers.alerts.store.decisions import (
    Correction,
    ShardMark,
    advance_shards,
    lock_shards,
    write_corrections,
    write_firings,
    write_states,
)
from streamworkers.alerts.store.mutes import mute_for_split
from streamworkers.alerts.store.work import read_progress, read_stopped
from streamworkers.database import Connection, fetch_value
from streamworkers.engine.job import Context, Job, JobParameters, RunRequest
from streamworkers.engine.outcome import Completed, Event, Item, Outcome
from streamworkers.errors import BadInputError
from streamworkers.market.calendar.timeframes import timeframe_named


class Alerts(Job[JobParameters, SymbolWork | None]):
    """Decides the alerts about changed series.

    One item for each symbol, in one timeframe. `execute` reads bars and computes columns; `save` locks the marks of its
    symbols, and decides the bars after them. So two runs about one symbol take turns, and the later one finds nothing
    to do.
    """

    name: ClassVar[str] = "alerts"
    queue: ClassVar[str] = "alerts"
    batch_size: ClassVar[int] = 100
    timeout_seconds: ClassVar[float] = 300.0
    preload: ClassVar[tuple[str, ...]] = ("streamworkers.analysis.indicators", "streamworkers.analysis.patterns")

    def __init__(self) -> None:
        self.versions = CompiledVersions()

    def prepare(self, connection: Connection, request: RunRequest) -> RunRequest:
        """Require a timeframe. Raises BadInputError without one."""
        del connection
        if request.timeframe is None:
            raise BadInputError("job 'alerts' needs a timeframe")
        return request

    def execute(self, items: Sequence[Item], context: Context[JobParameters]) -> Iterator[Outcome[SymbolWork | None]]:
        """Read what is needed to decide the symbols; the result of an item names bars that are missing."""
        assert context.timeframe is not None  # `prepare` requires it
        timeframe = timeframe_named(context.timeframe)
        works = read_work(context.connection, timeframe, [item.symbol for item in items], self.versions)
        missing = find_missing_bars(context.connection, timeframe, works)
        for item in items:
            work = works.get(item.symbol)
            if work is None:
                yield Completed(item, None)
            else:
                gaps = {"gaps": missing[item.symbol]} if item.symbol in missing else {}
                yield Completed(item, work, {"alerts": len(work.alerts), **gaps})

    def save(self, connection: Connection, completed: Sequence[Completed[SymbolWork | None]]) -> Iterable[Event]:
        """Decide under the lock, and write marks, changed states, firings and corrections."""
        works = {each.item.symbol: each.value for each in completed if each.value is not None}
        if not works:
            return []
        run_id, timeframe = completed[0].item.run_id, next(iter(works.values())).timeframe.name
        shards = lock_shards(connection, timeframe, list(works))
        works = {symbol: work for symbol, work in works.items() if not _is_decided(work, shards[symbol])}
        if not works:
            return []
        _leave_out_stopped(connection, works)
        states = read_progress(
            connection, [(live.alert_id, symbol) for symbol, work in works.items() for live in work.alerts]
        )
        now = fetch_value(connection, "SELECT clock_timestamp()")
        decisions = {symbol: decide_symbol(work, shards[symbol], states, now) for symbol, work in sorted(works.items())}
        events = self._write(connection, works, decisions, (run_id, timeframe))
        return [*events, *self._mute_for_splits(connection, works, shards)]

    def _write(
        self,
        connection: Connection,
        works: dict[str, SymbolWork],
        decisions: dict[str, SymbolDecision],
        run: tuple[int, str],
    ) -> list[Event]:
        run_id, timeframe = run
        write_states(connection, [state for each in decisions.values() for state in each.states])
        firings = [firing for each in decisions.values() for firing in each.firings]
        new = write_firings(connection, run_id, firings)
        corrections = [each for work in works.values() for each in check_corrections(work)]
        found = write_corrections(connection, corrections)
        advance_shards(connection, timeframe, [each.advance(works[symbol]) for symbol, each in decisions.items()])
        newest = {live.alert_id: live.versions[-1].version for work in works.values() for live in work.alerts}
        written: list[Correction] = [each for each in corrections if each[:4] in found]
        return [
            *firing_events([each for each in firings if each.key in new], self.versions, timeframe, run_id),
            *correction_events(written, self.versions, newest, timeframe),
        ]

    def _mute_for_splits(
        self, connection: Connection, works: dict[str, SymbolWork], shards: dict[str, ShardMark]
    ) -> list[Event]:
        """Snooze symbols after a split of unknown factor, once for each, and notify the owners."""
        events = []
        for symbol, work in works.items():
            for live in work.alerts:
                version = live.versions[-1]
                split = work.unknown_split(version.rule_from)
                if split is None or split.change <= shards[symbol].change_seen:
                    continue
                mute_for_split(
                    connection, live.alert_id, symbol, min(split.at, shards[symbol].evaluated_through or split.at)
                )
                found = self.versions[live.alert_id, version.version]
                text = f"prices of {symbol} were multiplied by an unknown factor, so its firings are suppressed"
                notice = (found.user, "alert_muted", live.alert_id, found.alert.name, symbol, split.at, text)
                events.append(system_notice(*notice))
        return events


def _leave_out_stopped(connection: Connection, works: dict[str, SymbolWork]) -> None:
    """Forget alerts that were paused or removed since they were read: from then on they decide nothing."""
    stopped = read_stopped(connection, {live.alert_id for work in works.values() for live in work.alerts})
    for work in works.values() if stopped else ():
        work.alerts = [live for live in work.alerts if live.alert_id not in stopped]


def _is_decided(work: SymbolWork, shard: ShardMark) -> bool:
    """True if another run has seen this change, or a later one, while this one read."""
    return shard.change_seen >= (work.mark.last_change or 0) and shard.change_seen > work.mark.change_seen
