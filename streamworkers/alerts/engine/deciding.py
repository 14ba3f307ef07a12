"""Decides a series for all alerts about it: from its mark and the stored states to new states and firings.

Nothing is read or written here, so the same call decides live, after a restart, and again after a correction.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import isfinite

from streamworkers.alerts.decide_bars import AlertProgress, begin, decide_bars
from streamworkers.alerts.engine.reading import SymbolWork, place_after
from streamworkers.alerts.engine.spans import Epoch, plan_epochs
from streamworkers.alerts.step import Step
from streamworkers.alerts.store.decisions import Firing, NewState, ShardAdvance, ShardMark
from streamworkers.alerts.store.work import LiveAlert, StoredProgress, VersionHead
from streamworkers.alerts.trial import first_bars, measured_values

_SPLIT = "snooze"  # of a symbol whose prices were multiplied by an unknown factor


@dataclass(frozen=True, slots=True)
class DecidedBar:
    """What happened at the bar at a place, and by which version; `after` is there if it fired or was released."""

    place: int
    version: VersionHead
    step: Step
    suppressed: str | None
    after: AlertProgress | None


@dataclass(slots=True)
class SymbolDecision:
    """What is to be written about a series."""

    states: list[NewState] = field(default_factory=list)
    firings: list[Firing] = field(default_factory=list)
    evaluations: int = 0
    unknown: int = 0

    def advance(self, work: SymbolWork) -> ShardAdvance:
        """How far the series is decided, with the counts."""
        fired = [each for each in self.firings if each.kind == "fire"]
        return ShardAdvance(
            symbol=work.symbol,
            through=work.starts[-1] if work.starts else None,
            change=work.mark.last_change or 0,
            evaluations=self.evaluations,
            unknown=self.unknown,
            firings=len(fired),
            late=sum(not each.is_live and each.suppressed is None for each in fired),
            suppressed=sum(each.suppressed is not None for each in fired),
        )


def decide_symbol(
    work: SymbolWork, shard: ShardMark, states: Mapping[tuple[int, str], StoredProgress], now: datetime
) -> SymbolDecision:
    """Decide the bars after the mark of a series for every alert about it. `shard` and `states` are locked."""
    decision = SymbolDecision()
    if work.columns is None:
        return decision
    undecided = 0 if shard.evaluated_through is None else place_after(work, shard.evaluated_through)
    for live in work.alerts:
        before = after = states.get((live.alert_id, work.symbol))
        for epoch in plan_epochs(live, work.closes, work.offset):
            after, bars = _decide_epoch(work, live, epoch, after, undecided)
            decision.evaluations += len(bars)
            decision.unknown += sum(each.step.unknown for each in bars)
            if any(each.after is not None for each in bars):
                decision.firings += _make_firings(work, live, bars, now)
        if after is not None and after != before:
            decision.states.append(NewState(live.alert_id, work.symbol, after.epoch, after.since, after.progress))
    return decision


def _decide_epoch(
    work: SymbolWork, live: LiveAlert, epoch: Epoch, stored: StoredProgress | None, undecided: int
) -> tuple[StoredProgress | None, list[DecidedBar]]:
    """Decide what is left of an epoch; returns the state after it, which is the one before if nothing is left."""
    first, before = epoch.segments[0].first, None
    if stored is not None and stored.since == live.since:
        if stored.epoch > epoch.number:
            return stored, []
        if stored.epoch == epoch.number:
            first, before = max(first, undecided), stored.progress
    progress, bars = decide_places(work, live, epoch, (first, None), before)
    if progress is None or not bars:
        return stored, []
    return StoredProgress(epoch.number, live.since, progress), bars


def decide_places(
    work: SymbolWork,
    live: LiveAlert,
    epoch: Epoch,
    places: tuple[int, int | None],
    progress: AlertProgress | None,
) -> tuple[AlertProgress | None, list[DecidedBar]]:
    """Decide the bars of an epoch from one place up to another (None: the newest), from a progress or from none."""
    assert work.columns is not None
    decided: list[DecidedBar] = []
    for segment in epoch.segments:
        first = max(places[0], segment.first)
        end = segment.end if places[1] is None else min(segment.end, places[1])
        if first >= end:
            continue
        version = work.versions[live.alert_id, segment.version.version]
        compiled = version.compiled(work.factor(segment.version.rule_from))
        columns = work.columns if end == work.columns.bars else first_bars(work.columns, end)
        if progress is None:
            progress = begin(compiled, first_bars(columns, first))
        before = progress
        closes = work.closes[first - work.offset : end - work.offset]
        reasons = _find_mutes(work, live, segment.version, closes)
        progress, steps = decide_bars(compiled, before, columns, closes, [each is not None for each in reasons])
        for place, (step, reason) in enumerate(zip(steps, reasons or [None] * len(steps), strict=True), first):
            after = None
            if step.fired or step.released:
                sides = progress.sides
                if place + 1 < end:
                    sides = compiled.rule.evaluate(first_bars(columns, place + 1), before.sides, first).sides
                after = AlertProgress(step.state, sides)
            decided.append(DecidedBar(place, segment.version, step, reason, after))
    return progress, decided


def _find_mutes(work: SymbolWork, live: LiveAlert, version: VersionHead, closes: list[datetime]) -> list[str | None]:
    """Why the firing of each bar would be suppressed; empty if that of none would."""
    if work.unknown_split(version.rule_from) is not None:
        return [_SPLIT] * len(closes)
    mutes = work.mutes.get(live.alert_id)
    if not mutes:
        return []
    return [next((each.kind for each in mutes if each.covers(work.symbol, close)), None) for close in closes]


def _make_firings(work: SymbolWork, live: LiveAlert, bars: list[DecidedBar], now: datetime) -> list[Firing]:
    """The firings and releases at bars; the newest one that is not suppressed stands for the earlier ones."""
    fired = [each for each in bars if each.step.fired and each.suppressed is None]
    found = []
    for bar in bars:
        notify = work.versions[live.alert_id, bar.version.version].alert.notify
        if bar.step.released and notify.on_release:
            found.append(_firing(work, live, bar, ("release", 0), now))
        if bar.step.fired:
            earlier = len(fired) - 1 if fired and bar is fired[-1] else 0
            found.append(_firing(work, live, bar, ("fire", earlier), now))
    return found


def _firing(work: SymbolWork, live: LiveAlert, bar: DecidedBar, kind: tuple[str, int], now: datetime) -> Firing:
    assert work.bars is not None
    assert bar.after is not None
    place = bar.place - work.offset
    return Firing(
        alert_id=live.alert_id,
        symbol=work.symbol,
        bar_time=work.starts[place],
        kind=kind[0],
        closed_at=work.closes[place],
        version=bar.version.version,
        epoch=bar.version.epoch,
        price=float(work.bars.close[bar.place]),
        is_live=_is_live(work, live, bar, now),
        suppressed=bar.suppressed,
        earlier=kind[1],
        after=bar.after,
        changed_at=work.mark.changed_at,
        at_bar=_numbers_at(work, live, bar),
    )


def _numbers_at(work: SymbolWork, live: LiveAlert, bar: DecidedBar) -> dict[str, float | None]:
    """What a message can say of a bar: its prices, and both sides of the first comparison of the rule."""
    assert work.bars is not None
    assert work.columns is not None
    version = work.versions[live.alert_id, bar.version.version]
    value, level = measured_values(version.compiled(work.factor(bar.version.rule_from)), work.columns)
    columns = {name: getattr(work.bars, name) for name in ("open", "high", "low", "volume")}
    found = {name: float(column[bar.place]) for name, column in columns.items()}
    found |= {name: float(each[bar.place]) for name, each in (("value", value), ("level", level)) if each is not None}
    return {name: number if isfinite(number) else None for name, number in found.items()}


def _is_live(work: SymbolWork, live: LiveAlert, bar: DecidedBar, now: datetime) -> bool:
    place = bar.place - work.offset
    if place + 1 < len(work.closes) or work.live_until is None:
        return False
    seconds = work.versions[live.alert_id, bar.version.version].alert.max_age_seconds
    return now < (work.live_until if seconds is None else work.closes[place] + timedelta(seconds=seconds))
