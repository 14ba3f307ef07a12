"""Notifies the owners of alerts that bars are missing, once for each blindness, and that they are there again."""

from collections.abc import Iterable
from datetime import datetime

import structlog
from psycopg_pool import ConnectionPool

from streamworkers.alerts.blindness import BlindnessCheck
from streamworkers.alerts.engine.events import system_notice
from streamworkers.alerts.store.blindness import (
    BlindAlert,
    WatchedSeries,
    clear_blind,
    mark_blind,
    read_watched,
)
from streamworkers.database import Connection, fetch_value
from streamworkers.engine import ledger
from streamworkers.engine.outcome import Event
from streamworkers.market.calendar.timeframes import timeframe_named
from streamworkers.results.bar_times import to_table_time

log = structlog.get_logger()
_MOST_ALERTS = 1000


class AlertBlindness:
    """A background service of schedulers.

    The notice is written in the transaction that records the blindness, and a row that has it recorded is not marked
    again: so there is one notice, whatever number of schedulers looks.
    """

    name = "alert-blindness"
    scope = "all"
    interval_seconds = 30.0

    def __init__(
        self, pool: "ConnectionPool[Connection]", default_calendar: str, most_alerts: int = _MOST_ALERTS
    ) -> None:
        self._pool = pool
        self._default_calendar = default_calendar
        self._most_alerts = most_alerts

    def run_once(self) -> float | None:
        """Record what began and what ended, with notices; at once again if there may be more."""
        with self._pool.connection() as connection:
            now: datetime = fetch_value(connection, "SELECT clock_timestamp()")
            return self.look(connection, now)

    def look(self, connection: Connection, now: datetime) -> float | None:
        """Do the step of a moment."""
        watched, check = read_watched(connection), BlindnessCheck(connection, now, self._default_calendar)
        blind = {each: check.is_blind(each.symbol, each.timeframe, each.complete_through) for each in watched}
        begun = [each for each in watched if each.is_open and blind[each]]
        ended = [each for each in watched if each.is_marked and not blind[each]]
        counts = self._notify(connection, begun, ended) if begun or ended else (0, 0)
        return 0.0 if max(counts) >= self._most_alerts else None

    def _notify(
        self, connection: Connection, begun: list[WatchedSeries], ended: list[WatchedSeries]
    ) -> tuple[int, int]:
        newest = {(each.timeframe, each.symbol): each.complete_through for each in begun}
        with connection.transaction():
            marked = mark_blind(connection, begun, self._most_alerts)
            cleared = clear_blind(connection, ended, self._most_alerts)
            ledger.add_events(connection, [*_begin_notices(marked, newest), *_end_notices(cleared)])
        if marked or cleared:
            log.info("alerts_blind", begun=len(marked), ended=len(cleared))
        return len(marked), len(cleared)


def _begin_notices(marked: Iterable[BlindAlert], newest: dict[tuple[str, str], datetime | None]) -> Iterable[Event]:
    for each in marked:
        bar = newest[each.timeframe, each.symbol]
        text = f"no {each.timeframe} bars of {each.symbol} are stored"
        if bar is not None:
            newest_bar = to_table_time(timeframe_named(each.timeframe), bar).isoformat()
            text = f"{each.timeframe} bars of {each.symbol} are missing after that of {newest_bar}"
        yield _notice("alert_blind", each, f"{text}, so the alert cannot be decided")


def _end_notices(cleared: Iterable[BlindAlert]) -> Iterable[Event]:
    for each in cleared:
        yield _notice("alert_sees_again", each, f"{each.timeframe} bars of {each.symbol} are stored again")


def _notice(kind: str, each: BlindAlert, text: str) -> Event:
    return system_notice(each.user, kind, each.alert_id, each.name, each.symbol, each.blind_since, text)
