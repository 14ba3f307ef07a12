"""Writes what was decided, in the transaction that closes the items. The rows of `alert_shards` are the lock."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from streamworkers.alerts.decide_bars import AlertProgress
from streamworkers.alerts.store.work import progress_to_json
from streamworkers.database import Connection

_LOCK = """
SELECT symbol, evaluated_through, change_seen FROM alert_shards
WHERE timeframe = %s AND symbol = ANY(%s) ORDER BY symbol FOR UPDATE"""

_CREATE = """
INSERT INTO alert_shards (timeframe, symbol) SELECT %s, s.symbol FROM unnest(%s::text[]) AS s (symbol) ORDER BY 2
ON CONFLICT DO NOTHING"""

_ADVANCE = """
UPDATE alert_shards h
SET evaluated_through = greatest(h.evaluated_through, s.through), change_seen = greatest(h.change_seen, s.change),
    evaluations = h.evaluations + s.evaluations, unknown = h.unknown + s.unknown, firings = h.firings + s.firings,
    late = h.late + s.late, suppressed = h.suppressed + s.suppressed
FROM unnest(%s::text[], %s::timestamptz[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[],
            %s::bigint[]) AS s (symbol, through, change, evaluations, unknown, firings, late, suppressed)
WHERE h.timeframe = %s AND h.symbol = s.symbol"""

_STATES = """
INSERT INTO alert_state (alert_id, symbol, epoch, since, status, streak, release_streak, fired_at, fire_count,
                         cooldown_until, cooldown_bars, sides)
SELECT w.alert_id, w.symbol, w.epoch, w.since, w.status, w.streak, w.release_streak, w.fired_at, w.fire_count,
       w.cooldown_until, w.cooldown_bars, w.sides::jsonb
FROM unnest(%s::bigint[], %s::text[], %s::int[], %s::timestamptz[], %s::text[], %s::int[], %s::int[], %s::timestamptz[],
            %s::int[], %s::timestamptz[], %s::int[], %s::text[])
     AS w (alert_id, symbol, epoch, since, status, streak, release_streak, fired_at, fire_count, cooldown_until,
           cooldown_bars, sides)
JOIN alerts a ON a.id = w.alert_id AND a.removed_at IS NULL
ON CONFLICT (alert_id, symbol) DO UPDATE SET
    epoch = excluded.epoch, since = excluded.since, status = excluded.status, streak = excluded.streak,
    release_streak = excluded.release_streak, fired_at = excluded.fired_at, fire_count = excluded.fire_count,
    cooldown_until = excluded.cooldown_until, cooldown_bars = excluded.cooldown_bars, sides = excluded.sides,
    changed_at = now()"""

_FIRINGS = """
INSERT INTO alert_firings (alert_id, symbol, bar_time, kind, closed_at, version, epoch, price, is_live, suppressed,
                           earlier, state_after, run_id, lateness_seconds)
SELECT w.alert_id, w.symbol, w.bar_time, w.kind, w.closed_at, w.version, w.epoch, w.price, w.is_live, w.suppressed,
       w.earlier, w.state_after::jsonb, %s, extract(epoch FROM clock_timestamp() - w.changed_at)
FROM unnest(%s::bigint[], %s::text[], %s::timestamptz[], %s::text[], %s::timestamptz[], %s::int[], %s::int[],
            %s::float8[], %s::bool[], %s::text[], %s::int[], %s::text[], %s::timestamptz[])
     AS w (alert_id, symbol, bar_time, kind, closed_at, version, epoch, price, is_live, suppressed, earlier,
           state_after, changed_at)
ON CONFLICT (alert_id, symbol, bar_time, kind) DO NOTHING
RETURNING alert_id, symbol, bar_time, kind"""

_CORRECTIONS = """
INSERT INTO alert_corrections (alert_id, symbol, bar_time, change, kind)
SELECT * FROM unnest(%s::bigint[], %s::text[], %s::timestamptz[], %s::bigint[], %s::text[])
ON CONFLICT DO NOTHING RETURNING alert_id, symbol, bar_time, change"""


class ShardMark(NamedTuple):
    """How far a series is decided; its row is locked."""

    evaluated_through: datetime | None
    change_seen: int


class ShardAdvance(NamedTuple):
    """How far a series is decided now, and what was counted on the way."""

    symbol: str
    through: datetime | None
    change: int
    evaluations: int = 0
    unknown: int = 0
    firings: int = 0
    late: int = 0
    suppressed: int = 0


class NewState(NamedTuple):
    """A state that changed, or was written for the first time."""

    alert_id: int
    symbol: str
    epoch: int
    since: datetime
    progress: AlertProgress


@dataclass(frozen=True, slots=True)
class Firing:
    """A firing or release; `suppressed` is `mute` or `snooze`, `changed_at` when the series was written.

    `at_bar` are numbers for its message; no table keeps them.
    """

    alert_id: int
    symbol: str
    bar_time: datetime
    kind: str
    closed_at: datetime
    version: int
    epoch: int
    price: float
    is_live: bool
    suppressed: str | None
    earlier: int
    after: AlertProgress
    changed_at: datetime | None
    at_bar: Mapping[str, float | None] = field(default_factory=dict, compare=False)

    @property
    def key(self) -> tuple[int, str, datetime, str]:
        """What there is one row of."""
        return self.alert_id, self.symbol, self.bar_time, self.kind


class Correction(NamedTuple):
    """A bar at which the corrected series would have decided otherwise, or `not_checked`."""

    alert_id: int
    symbol: str
    bar_time: datetime
    change: int
    kind: str


def lock_shards(connection: Connection, timeframe: str, symbols: Sequence[str]) -> dict[str, ShardMark]:
    """Lock the rows of series to the end of the transaction, in the order of symbols; rows are made where needed."""
    wanted = sorted(symbols)
    found = _lock(connection, timeframe, wanted)
    if len(found) < len(wanted):
        connection.execute(_CREATE, (timeframe, [symbol for symbol in wanted if symbol not in found]))
        found = _lock(connection, timeframe, wanted)
    return found


def advance_shards(connection: Connection, timeframe: str, advances: Sequence[ShardAdvance]) -> None:
    """Record how far series are decided, in one statement."""
    columns = [list(column) for column in zip(*advances, strict=True)]
    connection.execute(_ADVANCE, (*columns, timeframe))


def write_states(connection: Connection, states: Sequence[NewState]) -> None:
    """Write states that changed; those of alerts that were removed meanwhile are left out."""
    if not states:
        return
    rows = []
    for alert_id, symbol, epoch, since, progress in states:
        state = progress.state
        rows.append(
            (
                *(alert_id, symbol, epoch, since, state.status.value, state.streak, state.release_streak),
                *(state.fired_at, state.fire_count, state.cooldown_until, state.cooldown_bars),
                json.dumps(dict(progress.sides)),
            )
        )
    connection.execute(_STATES, [list(column) for column in zip(*rows, strict=True)])


def write_firings(
    connection: Connection, run_id: int, firings: Sequence[Firing]
) -> set[tuple[int, str, datetime, str]]:
    """Write firings and releases; returns the keys of those that were not there yet."""
    if not firings:
        return set()
    rows = [
        (
            *(each.alert_id, each.symbol, each.bar_time, each.kind, each.closed_at, each.version, each.epoch),
            *(each.price, each.is_live, each.suppressed, each.earlier, progress_to_json(each.after), each.changed_at),
        )
        for each in firings
    ]
    columns = [list(column) for column in zip(*rows, strict=True)]
    return set(connection.execute(_FIRINGS, (run_id, *columns)).fetchall())


def write_corrections(connection: Connection, corrections: Sequence[Correction]) -> set[tuple[int, str, datetime, int]]:
    """Write corrections, each once for a change; returns the keys of those that are new."""
    if not corrections:
        return set()
    return set(connection.execute(_CORRECTIONS, [list(column) for column in zip(*corrections, strict=True)]).fetchall())


def _lock(connection: Connection, timeframe: str, symbols: Sequence[str]) -> dict[str, ShardMark]:
    return {symbol: ShardMark(*mark) for symbol, *mark in connection.execute(_LOCK, (timeframe, list(symbols)))}
