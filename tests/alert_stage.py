"""What tests of the job `alerts` share: bars that come day by day, runs of the real job, and what has fired."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import cache
from typing import Any

from consumer import Consumer
from harness import start_run
from streamworkers.actor import LOCAL
from streamworkers.alerts.document import parse_alert
from streamworkers.alerts.engine.compiled import CompiledVersions
from streamworkers.alerts.store.alerts import StoredAlert
from streamworkers.alerts.store.changes import add_alert
from streamworkers.database import Connection
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.jobs.alerts import Alerts
from streamworkers.market.bars.text_rows import BarRows
from streamworkers.market.bars.write import load_rows
from streamworkers.market.calendar.sessions import compute_sessions
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE, TIMEFRAMES
from streamworkers.rules.canonical import rule_to_json
from streamworkers.rules.market_vocabulary import MarketVocabulary
from streamworkers.rules.text import parse_rule_text

WORDS = MarketVocabulary()
DAY = TIMEFRAMES["day"]
Path = Sequence[float | None]


@cache
def session_days() -> list[date]:
    """The sessions of New York from September 2025 on."""
    return list(compute_sessions("XNYS", date(2025, 9, 2), date(2026, 3, 31)).days)


def before_day(place: int) -> datetime:
    """A moment before the session at a place opens, and after the one before has closed."""
    return datetime.combine(session_days()[place], time(6), UTC)


@dataclass
class AlertStage:
    """Bars of days, decided by the real job."""

    connection: Connection
    streams: Streams
    registry: Registry
    consumer: Consumer

    def __post_init__(self) -> None:
        """Forget the versions of the database of another test."""
        job = self.registry["alerts"]
        assert isinstance(job, Alerts)
        job.versions = CompiledVersions()

    def add(self, rule: str, rearm: dict[str, Any] | None = None, **members: Any) -> StoredAlert:
        """Add an alert that decides all bars."""
        at = members.pop("at", before_day(0))
        alert = parse_alert(document(rule, rearm, **members), WORDS)
        return add_alert(self.connection, LOCAL, alert, at=at)

    def load(self, closes: Path, first: int = 0, symbol: str = "AAA") -> None:
        """Store the bars of sessions from a place on; None is 101 with an unknown volume."""
        count = len(closes)
        prices = [str(101.0 if close is None else close) for close in closes]
        load_rows(self.connection, DAY, [BarRows(
            lines=list(range(1, count + 1)), symbols=[symbol] * count,
            times=[day.isoformat() for day in session_days()[first : first + count]],
            open=prices, high=prices, low=prices, close=prices,
            volume=["\\N" if close is None else "1" for close in closes],
        )])  # fmt: skip

    def run(self, *symbols: str) -> None:
        """One run of the job."""
        start_run(self.connection, self.streams, self.registry, "alerts", *(symbols or ("AAA",)), timeframe="day")
        while self.consumer.work("alerts"):
            continue
        states = self.connection.execute("SELECT DISTINCT status FROM run_items").fetchall()
        assert states == [("completed",)], self.connection.execute("SELECT last_error FROM run_items").fetchall()

    def bar_by_bar(self, closes: Path, first: int = 0) -> None:
        """Each bar is stored and decided before the next one."""
        for place, close in enumerate(closes, first):
            self.load([close], place)
            self.run()

    def fired(self, alert: StoredAlert | None = None, kind: str = "fire") -> list[int]:
        """The places of the bars at which alerts fired."""
        rows = self.connection.execute(
            "SELECT bar_time FROM alert_firings WHERE kind = %s AND (%s::bigint IS NULL OR alert_id = %s)"
            " ORDER BY bar_time",
            (kind, alert and alert.id, alert and alert.id),
        )
        return [session_days().index(bar.astimezone(EXCHANGE_ZONE).date()) for (bar,) in rows]

    def events(self, channel: str = "tickstock.events.alerts") -> list[dict[str, Any]]:
        """The payloads in the outbox, in order."""
        rows = self.connection.execute("SELECT payload FROM outbox WHERE channel = %s ORDER BY id", (channel,))
        return [payload for (payload,) in rows]

    def corrections(self) -> list[tuple[int, str]]:
        """Place and kind of all corrections."""
        rows = self.connection.execute("SELECT bar_time, kind FROM alert_corrections ORDER BY bar_time, change")
        return [(session_days().index(bar.astimezone(EXCHANGE_ZONE).date()), kind) for bar, kind in rows]


def document(rule: str, rearm: dict[str, Any] | None = None, *, symbol: str = "AAA", **members: Any) -> dict[str, Any]:
    """The document of an alert about days."""
    found = {"ticker": symbol, "timeframe": "day", "rule": rule_to_json(parse_rule_text(rule, WORDS))}
    return found | ({} if rearm is None else {"rearm": rearm}) | members
