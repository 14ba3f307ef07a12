"""The table `alert_mutes`: while an alert is muted, or one of its symbols snoozed, its firings are suppressed.

It is decided all the same, so that no side and no streak is lost. What counts is when a bar closes, so that a replay
finds the same firings suppressed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from streamworkers.actor import Actor
from streamworkers.alerts.document import LAST_YEAR
from streamworkers.alerts.store.alerts import find_alert
from streamworkers.alerts.store.symbols import read_symbols
from streamworkers.audit.record import AuditChange, record_change
from streamworkers.database import Connection, fetch_rows
from streamworkers.errors import BadInputError, UnknownNameError

_LONGEST_REASON = 200
_ADD = """
INSERT INTO alert_mutes (alert_id, symbol, since, until, reason, created_by)
SELECT %s, %s, coalesce(%s, clock_timestamp()), %s, %s, %s"""

_END = """
UPDATE alert_mutes SET until = greatest(since, coalesce(%(at)s, clock_timestamp()))
WHERE alert_id = %(alert)s AND (symbol IS NOT DISTINCT FROM %(symbol)s OR %(every)s)
  AND (until IS NULL OR until > coalesce(%(at)s, clock_timestamp()))"""


@dataclass(frozen=True, slots=True)
class Mute:
    """Since when, until when (None: until somebody ends it), by whom and why; without a symbol, for all of them."""

    alert_id: int
    symbol: str | None
    since: datetime
    until: datetime | None
    reason: str | None
    created_by: str

    def covers(self, symbol: str, close: datetime) -> bool:
        """True if the firing of a bar of this symbol that closes then is suppressed."""
        if self.symbol is not None and self.symbol != symbol:
            return False
        return self.since < close and (self.until is None or close <= self.until)

    @property
    def kind(self) -> str:
        """The word with which firings are marked."""
        return "mute" if self.symbol is None else "snooze"


def mute_alert(
    connection: Connection,
    actor: Actor,
    name: str,
    until: datetime | None,
    reason: str | None = None,
    *,
    at: datetime | None = None,
) -> None:
    """Mute an alert until a moment (None: until `unmute_alert`); what mutes it already ends.

    Raises UnknownNameError, and BadInputError for an end that has passed.
    """
    _silence(connection, actor, name, None, (at, until, reason))


def snooze_alert(
    connection: Connection,
    actor: Actor,
    name: str,
    symbol: str,
    until: datetime,
    reason: str | None = None,
    *,
    at: datetime | None = None,
) -> None:
    """Suppress the firings of one symbol of an alert until a moment. Raises UnknownNameError and BadInputError."""
    _silence(connection, actor, name, symbol, (at, until, reason))


def unmute_alert(
    connection: Connection, actor: Actor, name: str, symbol: str | None = None, *, at: datetime | None = None
) -> bool:
    """End the mute of an alert and the snoozes of its symbols, or the snooze of one symbol; False if there is none."""
    with connection.transaction():
        stored = find_alert(connection, actor.user, name, lock=True)
        words = {"alert": stored.id, "symbol": symbol, "every": symbol is None, "at": at}
        was_muted = connection.execute(_END, words).rowcount > 0
        record_change(connection, actor, AuditChange("alert.unmute", "alert", name, after={"symbol": symbol}))
    return was_muted


def read_mutes(connection: Connection, alert_ids: Sequence[int], after: datetime | None = None) -> list[Mute]:
    """The mutes of alerts that end after a moment (None: all), oldest first."""
    rows = fetch_rows(
        connection,
        "SELECT alert_id, symbol, since, until, reason, created_by FROM alert_mutes WHERE alert_id = ANY(%s)"
        " AND (%s::timestamptz IS NULL OR until IS NULL OR until > %s) ORDER BY since, id",
        (list(alert_ids), after, after),
    )
    return [Mute(**row) for row in rows]


def mute_for_split(connection: Connection, alert_id: int, symbol: str, at: datetime) -> None:
    """Snooze a symbol whose prices were multiplied by an unknown factor, until its alert is edited or unmuted."""
    reason = "a split of unknown factor: write the rule in today's prices, then unmute the symbol"
    connection.execute(_ADD, (alert_id, symbol, at, None, reason, "system"))


def _silence(
    connection: Connection,
    actor: Actor,
    name: str,
    symbol: str | None,
    span: tuple[datetime | None, datetime | None, str | None],
) -> None:
    at, until, reason = span
    if reason is not None and not (0 < len(reason) <= _LONGEST_REASON and reason.isprintable()):
        raise BadInputError(f"the reason {reason!r:.110} is not 1 to {_LONGEST_REASON} printable characters")
    with connection.transaction():
        stored = find_alert(connection, actor.user, name, lock=True)
        if symbol is not None and symbol not in (known := read_symbols(connection, stored.id)):
            raise UnknownNameError(f"symbol of alert {name!r}", symbol, known)
        row = connection.execute("SELECT coalesce(%s, clock_timestamp())", (at,)).fetchone()
        assert row is not None
        if until is not None and until <= row[0]:
            raise BadInputError(f"{until.isoformat()} has passed, so nothing would be muted until then")
        if until is not None and until.year > LAST_YEAR:
            raise BadInputError(f"{until.isoformat()} is after the year {LAST_YEAR}")
        connection.execute(_END, {"alert": stored.id, "symbol": symbol, "every": False, "at": row[0]})
        connection.execute(_ADD, (stored.id, symbol, row[0], until, reason, str(actor)))
        after = {"symbol": symbol, "until": None if until is None else until.isoformat(), "reason": reason}
        action = "alert.mute" if symbol is None else "alert.snooze"
        record_change(connection, actor, AuditChange(action, "alert", name, after=after))
