"""Notifies the owners of alerts that bars are missing, once for each blindness, and that they are there again.

Also, once, that a symbol was delisted: the alert has ended for it.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

from psycopg_pool import ConnectionPool

from streamworkers.alerts.blindness import BlindnessCheck, Sight
from streamworkers.alerts.engine.events import system_notice
from streamworkers.alerts.store.blindness import (
    BlindAlert,
    WatchedSeries,
    clear_blind,
    mark_blind,
    mark_ended,
    read_watched,
)
from streamworkers.database import Connection, fetch_value
from streamworkers.engine import ledger
from streamworkers.engine.outcome import Event
from streamworkers.logger import get_logger
from streamworkers.market.calendar.timeframes import timeframe_named
from streamworkers.results.bar_times import to_table_time

log = get_logger()
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
        sights: dict[Sight, list[WatchedSeries]] = {"blind": [], "ended": [], "sees": []}
        for each in watched:
            sight = check.sight_of(each.symbol, each.timeframe, each.complete_through, each.delisted_after)
            if {"blind": each.is_open, "ended": each.is_going_on, "sees": each.is_marked}[sight]:
                sights[sight].append(each)
        count = self._notify(connection, sights) if any(sights.values()) else 0
        return 0.0 if count >= self._most_alerts else None

    def _notify(self, connection: Connection, sights: Mapping[Sight, list[WatchedSeries]]) -> int:
        series = {(each.timeframe, each.symbol): each for each in (*sights["blind"], *sights["ended"])}
        with connection.transaction():
            blind = mark_blind(connection, sights["blind"], self._most_alerts)
            ended = mark_ended(connection, sights["ended"], self._most_alerts)
            cleared = clear_blind(connection, sights["sees"], self._most_alerts)
            notices = *_begin_notices(blind, series), *_ended_notices(ended, series), *_clear_notices(cleared)
            ledger.add_events(connection, notices)
        if blind or ended or cleared:
            log.info("alerts_blind", blind=len(blind), ended=len(ended), cleared=len(cleared))
        return max(len(blind), len(ended), len(cleared))


def _begin_notices(marked: Iterable[BlindAlert], series: Mapping[tuple[str, str], WatchedSeries]) -> Iterable[Event]:
    for each in marked:
        bar = series[each.timeframe, each.symbol].complete_through
        text = f"no {each.timeframe} bars of {each.symbol} are stored"
        if bar is not None:
            newest_bar = to_table_time(timeframe_named(each.timeframe), bar).isoformat()
            text = f"{each.timeframe} bars of {each.symbol} are missing after that of {newest_bar}"
        yield _notice("alert_blind", each, f"{text}, so the alert cannot be decided")


def _ended_notices(ended: Iterable[BlindAlert], series: Mapping[tuple[str, str], WatchedSeries]) -> Iterable[Event]:
    for each in ended:
        day = series[each.timeframe, each.symbol].delisted_after
        text = f"{each.symbol} was delisted after {day} and has no more {each.timeframe} bars, so the alert has ended"
        yield _notice("alert_ended", each, text)


def _clear_notices(cleared: Iterable[BlindAlert]) -> Iterable[Event]:
    for each in cleared:
        yield _notice("alert_sees_again", each, f"{each.timeframe} bars of {each.symbol} are stored again")


def _notice(kind: str, each: BlindAlert, text: str) -> Event:
    return system_notice(each.user, kind, each.alert_id, each.name, each.symbol, each.since, text)
