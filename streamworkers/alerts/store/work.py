"""Reads what there is to decide: how far series are, the alerts about them, and their states."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import prod
from typing import Any, NamedTuple

from streamworkers.alerts.decide_bars import AlertProgress
from streamworkers.alerts.step import AlertState, AlertStatus
from streamworkers.database import Connection

_MARKS = """
SELECT e.symbol, e.complete_through, e.last_change, c.created_at, h.evaluated_through, coalesce(h.change_seen, 0)
FROM series_state e
LEFT JOIN alert_shards h ON h.timeframe = e.timeframe AND h.symbol = e.symbol
LEFT JOIN series_changes c ON c.timeframe = e.timeframe AND c.n = e.last_change
WHERE e.timeframe = %s AND e.symbol = ANY(%s)"""

_LIVE = """
SELECT y.symbol, y.alert_id, y.since, s.epoch, s.since, s.forgotten_through,
       v.version, v.epoch, v.effective_from, v.rule_from, v.is_active
FROM alert_symbols y
JOIN alerts a ON a.id = y.alert_id AND a.removed_at IS NULL AND a.paused_at IS NULL
JOIN alert_versions v ON v.alert_id = y.alert_id
LEFT JOIN alert_state s ON s.alert_id = y.alert_id AND s.symbol = y.symbol
WHERE y.timeframe = %s AND y.symbol = ANY(%s) AND y.until IS NULL
ORDER BY y.symbol, y.alert_id, v.version"""

_STATES = """
SELECT s.alert_id, s.symbol, s.epoch, s.since, s.status, s.streak, s.release_streak, s.fired_at, s.fire_count,
       s.cooldown_until, s.cooldown_bars, s.sides
FROM unnest(%s::bigint[], %s::text[]) AS w (alert_id, symbol)
JOIN alert_state s ON s.alert_id = w.alert_id AND s.symbol = w.symbol"""

_CORRECTED = """
SELECT c.symbol, min(c.first_bar), max(c.n) FROM unnest(%s::text[], %s::bigint[]) AS w (symbol, after)
JOIN series_changes c ON c.timeframe = %s AND c.symbol = w.symbol AND c.n > w.after
WHERE c.kind = 'correct' AND c.first_bar IS NOT NULL
GROUP BY c.symbol"""

_REBASES = """
SELECT symbol, created_at, factor, n FROM series_changes
WHERE timeframe = %s AND symbol = ANY(%s) AND kind = 'rebase' ORDER BY n"""

_FIRED = """
SELECT f.alert_id, f.bar_time, f.state_after
FROM unnest(%(alerts)s::bigint[], %(epochs)s::int[]) AS w (alert_id, epoch)
CROSS JOIN LATERAL (
    (SELECT * FROM alert_firings b WHERE b.alert_id = w.alert_id AND b.symbol = %(symbol)s AND b.kind = 'fire'
        AND b.epoch = w.epoch AND b.bar_time < %(first)s ORDER BY b.bar_time DESC LIMIT 1)
    UNION ALL
    SELECT * FROM alert_firings b WHERE b.alert_id = w.alert_id AND b.symbol = %(symbol)s AND b.kind = 'fire'
        AND b.epoch = w.epoch AND b.bar_time BETWEEN %(first)s AND %(last)s
) f ORDER BY f.alert_id, f.bar_time"""


class SeriesMark(NamedTuple):
    """How far a series is complete and decided; `changed_at` is when its newest change was written."""

    complete_through: datetime | None
    last_change: int | None
    changed_at: datetime | None
    evaluated_through: datetime | None
    change_seen: int


class VersionHead(NamedTuple):
    """A version without its document."""

    version: int
    epoch: int
    effective_from: datetime
    rule_from: datetime
    is_active: bool


@dataclass(frozen=True, slots=True)
class LiveAlert:
    """An alert about a symbol; `decided` are epoch and start of its state, None before its first evaluation.

    Firings up to `forgotten_through` were deleted by their retention, None if none were.
    """

    alert_id: int
    since: datetime
    decided: tuple[int, datetime] | None
    versions: list[VersionHead]
    forgotten_through: datetime | None = None


@dataclass(frozen=True, slots=True)
class StoredProgress:
    """The state of an alert and symbol as it was last written."""

    epoch: int
    since: datetime
    progress: AlertProgress


class Rebase(NamedTuple):
    """All prices were multiplied by `factor` (None: unknown) at a moment."""

    at: datetime
    factor: float | None
    change: int


def read_marks(connection: Connection, timeframe: str, symbols: Sequence[str]) -> dict[str, SeriesMark]:
    """How far series are; those of which nothing is recorded are absent."""
    rows = connection.execute(_MARKS, (timeframe, list(symbols)))
    return {symbol: SeriesMark(*values) for symbol, *values in rows}


def read_live(connection: Connection, timeframe: str, symbols: Sequence[str]) -> dict[str, list[LiveAlert]]:
    """The alerts about symbols that are neither removed nor paused, with all their versions."""
    found: dict[str, list[LiveAlert]] = {}
    rows = connection.execute(_LIVE, (timeframe, list(symbols)))
    for symbol, alert_id, since, epoch, decided_since, forgotten, *head in rows:
        alerts = found.setdefault(symbol, [])
        if not alerts or alerts[-1].alert_id != alert_id:
            decided = None if epoch is None else (epoch, decided_since)
            alerts.append(LiveAlert(alert_id, since, decided, [], forgotten))
        alerts[-1].versions.append(VersionHead(*head))
    return found


def read_stopped(connection: Connection, alert_ids: Iterable[int]) -> set[int]:
    """Those of the alerts that are removed or paused."""
    rows = connection.execute(
        "SELECT id FROM alerts WHERE id = ANY(%s) AND (removed_at IS NOT NULL OR paused_at IS NOT NULL)",
        (sorted(alert_ids),),
    )
    return {number for (number,) in rows}


def read_documents(connection: Connection, keys: Iterable[tuple[int, int]]) -> dict[tuple[int, int], Any]:
    """Owner, name and document of versions, by alert and version."""
    pairs = [list(column) for column in zip(*keys, strict=True)]
    if not pairs:
        return {}
    rows = connection.execute(
        "SELECT v.alert_id, v.version, a.user_id, v.document"
        " FROM unnest(%s::bigint[], %s::int[]) AS w (alert_id, version)"
        " JOIN alert_versions v ON v.alert_id = w.alert_id AND v.version = w.version"
        " JOIN alerts a ON a.id = v.alert_id",
        pairs,
    )
    return {(alert_id, version): (user, document) for alert_id, version, user, document in rows}


def read_progress(connection: Connection, pairs: Sequence[tuple[int, str]]) -> dict[tuple[int, str], StoredProgress]:
    """The states of alerts and symbols; those that were never evaluated are absent."""
    if not pairs:
        return {}
    columns = [list(column) for column in zip(*pairs, strict=True)]
    return {
        (alert_id, symbol): StoredProgress(epoch, since, AlertProgress(AlertState(AlertStatus(status), *values), sides))
        for alert_id, symbol, epoch, since, status, *values, sides in connection.execute(_STATES, columns)
    }


def read_corrected(connection: Connection, timeframe: str, after: Mapping[str, int]) -> dict[str, tuple[datetime, int]]:
    """The first bar that was corrected since a change of each series, and the newest such change, by symbol."""
    rows = connection.execute(_CORRECTED, (list(after), list(after.values()), timeframe)).fetchall()
    return {symbol: (first, change) for symbol, first, change in rows}


def read_rebases(connection: Connection, timeframe: str, symbols: Sequence[str]) -> dict[str, list[Rebase]]:
    """The rebases of series, oldest first."""
    found: dict[str, list[Rebase]] = {}
    for symbol, *values in connection.execute(_REBASES, (timeframe, list(symbols))):
        found.setdefault(symbol, []).append(Rebase(*values))
    return found


def factor_since(rebases: Iterable[Rebase], since: datetime) -> float:
    """What prices were multiplied by since a moment; an unknown factor counts as 1."""
    return prod(each.factor or 1.0 for each in rebases if each.at > since)


def read_fired(
    connection: Connection, symbol: str, epochs: Mapping[int, int], first: datetime, last: datetime
) -> dict[int, list[tuple[datetime, AlertProgress]]]:
    """The firings of alerts, in these epochs, at bars from `first` to `last`, and the one before them."""
    words = {"alerts": list(epochs), "epochs": list(epochs.values()), "symbol": symbol, "first": first, "last": last}
    found: dict[int, list[tuple[datetime, AlertProgress]]] = {}
    for alert_id, bar_time, state in connection.execute(_FIRED, words):
        found.setdefault(alert_id, []).append((bar_time, progress_from_json(state)))
    return found


def progress_to_json(progress: AlertProgress) -> str:
    """The progress as text of JSON; `progress_from_json` is the inverse."""
    state = progress.state
    return json.dumps(
        {
            "status": state.status.value,
            "streak": state.streak,
            "release_streak": state.release_streak,
            "fired_at": state.fired_at and state.fired_at.isoformat(),
            "fire_count": state.fire_count,
            "cooldown_until": state.cooldown_until and state.cooldown_until.isoformat(),
            "cooldown_bars": state.cooldown_bars,
            "sides": dict(progress.sides),
        }
    )


def progress_from_json(found: Mapping[str, Any]) -> AlertProgress:
    """The progress that `progress_to_json` wrote."""
    moments = [found[name] and datetime.fromisoformat(found[name]) for name in ("fired_at", "cooldown_until")]
    state = AlertState(
        status=AlertStatus(found["status"]),
        streak=found["streak"],
        release_streak=found["release_streak"],
        fired_at=moments[0],
        fire_count=found["fire_count"],
        cooldown_until=moments[1],
        cooldown_bars=found["cooldown_bars"],
    )
    return AlertProgress(state, found["sides"])
