"""Where alerts stand now: the state of each symbol, and every reason for which one is silent."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from streamworkers.alerts.blindness import BlindnessCheck
from streamworkers.alerts.store.alerts import StoredAlert
from streamworkers.alerts.store.mutes import Mute, read_mutes
from streamworkers.alerts.store.reports import read_states
from streamworkers.database import Connection

ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Standing:
    """One alert at a moment: a row of `read_states` for each symbol, the mutes in force, and the blind symbols.

    The status of a symbol that was delisted is `ended`.
    """

    stored: StoredAlert
    at: datetime
    symbols: Sequence[dict[str, Any]]
    mutes: Sequence[Mute]
    blind: Sequence[str]

    @property
    def ended(self) -> dict[str, date]:
        """The symbols that were delisted, with the last day of each."""
        return {row["symbol"]: row["delisted_after"] for row in self.symbols if row["status"] == ENDED}

    @property
    def fires(self) -> int:
        return sum(row["fire_count"] for row in self.symbols)

    @property
    def last_fired(self) -> datetime | None:
        """The close of the newest bar at which it fired for any symbol."""
        return max((row["fired_at"] for row in self.symbols if row["fired_at"] is not None), default=None)

    @property
    def blind_since(self) -> datetime | None:
        """Since when the owner knows that it is blind for some symbol; None if it is not, or nobody was notified."""
        return min(
            (row["blind_since"] for row in self.symbols if row["symbol"] in self.blind and row["blind_since"]),
            default=None,
        )

    @property
    def states(self) -> dict[str, int]:
        """The number of symbols in each state."""
        found = [row["status"] for row in self.symbols]
        return {status: found.count(status) for status in dict.fromkeys(found)}

    @property
    def is_expired(self) -> bool:
        """True by the clock: every bar that closes from now on closes too late."""
        end = self.stored.alert.limits.expires_at
        return end is not None and end < self.at


def read_standings(
    connection: Connection, alerts: Sequence[StoredAlert], now: datetime, default_calendar: str
) -> list[Standing]:
    """Where each alert stands, in their order. `now` is aware."""
    ids = [stored.id for stored in alerts]
    rows = read_states(connection, ids)
    check = BlindnessCheck(connection, now, default_calendar)
    mutes = [mute for mute in read_mutes(connection, ids, now) if mute.since <= now]
    by_alert: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        by_alert.setdefault(row["alert_id"], []).append(row)
    standings = []
    for stored in alerts:
        own, blind = by_alert.get(stored.id, []), []
        for row in own:
            sight = check.sight_of(row["symbol"], stored.timeframe, row["complete_through"], row["delisted_after"])
            if sight == "blind":
                blind.append(row["symbol"])
            elif sight == "ended":
                row["status"] = ENDED
        standings.append(Standing(stored, now, own, [mute for mute in mutes if mute.alert_id == stored.id], blind))
    return standings
