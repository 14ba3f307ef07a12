"""Real bars that come day by day: what the job decides then, in one process, is compared with a replay at once."""

import gzip
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any, cast

from streamworkers.actor import LOCAL
from streamworkers.alerts.document import AlertTarget, build_alert
from streamworkers.alerts.engine.replaying import replay_alert
from streamworkers.alerts.store.alerts import StoredAlert
from streamworkers.alerts.store.changes import add_alert
from streamworkers.database import Connection
from streamworkers.engine.job import Context, JobParameters
from streamworkers.engine.outcome import Completed, Item
from streamworkers.jobs.alerts import Alerts
from streamworkers.market.calendar.timeframes import TIMEFRAMES
from streamworkers.market.files.bars_import import import_bars
from streamworkers.rules.canonical import rule_to_json
from streamworkers.rules.market_vocabulary import MarketVocabulary
from streamworkers.rules.text import parse_rule_text

DAY = TIMEFRAMES["day"]
WORDS = MarketVocabulary()
FIRST, LAST = date(2019, 5, 15), date(2021, 5, 14)  # two years; the bars before them are history

# Every kind of condition, every rearm type, values of short and of long memory, and of one that goes back to the first
# bar that is stored.
ALERTS: Sequence[tuple[str, dict[str, Any]]] = [
    ("price > sma(50)", {}),
    ("price crosses_above sma(20)", {"rearm": {"type": "crossing"}, "notify": {"on_release": True}}),
    ("price crosses ema(100)", {"rearm": {"type": "simple"}}),
    ("rsi(14) < 35", {"rearm": {"type": "edge", "release_bars": 2}}),
    ("rsi(2) > 90 and price > 1.02 * sma(10)", {"rearm": {"type": "cooldown", "cooldown_bars": 5}}),
    ("price moves_down_pct 3", {"rearm": {"type": "simple"}}),
    ("price moves_up_pct 6 in 10 bars", {"rearm": {"type": "cooldown", "cooldown": 7 * 86_400}}),
    ("relative_volume(20) > 1.5", {"rearm": {"type": "simple"}, "max_fires": 25}),
    ("price > ema(30) as x", {"rearm": {"type": "hysteresis", "threshold": 0.03, "leaf": "x"}}),
    ("price < sma(200)", {"rearm": {"type": "persistence", "persistence_bars": 3}}),
    ("price crosses_below kama(30)", {"rearm": {"type": "persistence", "persistence_bars": 2}}),
    ("price exits_channel sma(20) - 2 * atr(14) and sma(20) + 2 * atr(14)", {"rearm": {"type": "crossing"}}),
    ("adx(14) between 20 and 25 or not rsi(14) > 35", {}),
    ("macd(12, 26, 9).macd crosses_above macd(12, 26, 9).macdsignal", {"rearm": {"type": "edge", "cooldown": 864_000}}),
    ("pattern cdlengulfing bullish", {"rearm": {"type": "simple"}}),
    ("pattern cdldoji confidence 0.1 and volume > 1k", {"rearm": {"type": "edge", "cooldown_bars": 4}}),
    ("obv() moves_up 50 in 3 bars", {"rearm": {"type": "edge", "gaps": "reset"}}),
    ("at_least 2 of (price > sma(5), volume > 1.5m, close > open)", {"rearm": {"type": "edge", "initial": "wait"}}),
    ("high - low > 1.5 * atr(10)", {"rearm": {"type": "simple"}, "expires_at": "2020-12-31"}),
    ("price > 10", {"rearm": {"type": "once"}}),
]  # fmt: skip


class LiveAlerts:
    """The alerts above, each about the same symbols, and the job that decides them."""

    def __init__(self, connection: Connection, bars: Path, folder: Path, symbols: Sequence[str]) -> None:
        connection.execute("SET idle_in_transaction_session_timeout = 0")  # a worker computes as long as its calls may
        self.connection = connection
        self.symbols = symbols
        self.job = Alerts()
        self.runs = 0
        self._folder = folder
        self._header, self._days = _read_days(bars, set(symbols))
        self._import(line for day, lines in self._days.items() if day < FIRST for line in lines)
        at = datetime.combine(FIRST, time(6), UTC)
        self.alerts = [self._add(f"real-{place}", rule, more, at) for place, (rule, more) in enumerate(ALERTS)]

    def decide_days(self) -> None:
        """Import the bars of a day and let a run decide them, then the next day."""
        for day, lines in self._days.items():
            if day >= FIRST:
                self._import(lines)
                self.run()

    def run(self) -> None:
        """What a worker does for a run about all symbols: `execute`, then `save` in one transaction, batch by batch."""
        self.runs += 1
        unused = cast("Any", None)
        context = Context(self.runs, "day", None, JobParameters(), self.connection, unused, unused, lambda: False)
        items = [Item(self.runs, seq, symbol, "day", 1) for seq, symbol in enumerate(self.symbols)]
        for first in range(0, len(items), self.job.batch_size):
            batch = items[first : first + self.job.batch_size]
            completed = [cast("Completed[Any]", each) for each in self.job.execute(batch, context)]
            with self.connection.transaction():
                list(self.job.save(self.connection, completed))

    def differences(self) -> dict[str, int]:
        """Firings and releases of each rule that only the live evaluation or only the replay has found."""
        now = datetime.combine(LAST + timedelta(days=1), time(12), UTC)
        replays = [replay_alert(self.connection, stored, None, now, "XNYS") for stored in self.alerts]
        return {rule: replay.differences for (rule, _), replay in zip(ALERTS, replays, strict=True)}

    def firings(self) -> dict[str, int]:
        """How many times each rule has fired."""
        rows = self.connection.execute("SELECT alert_id, count(*) FROM alert_firings WHERE kind = 'fire' GROUP BY 1")
        found: dict[int, int] = dict(rows.fetchall())
        return {rule: found.get(stored.id, 0) for (rule, _), stored in zip(ALERTS, self.alerts, strict=True)}

    def _add(self, name: str, rule: str, more: dict[str, Any], at: datetime) -> StoredAlert:
        document = {"name": name, "timeframe": "day", "rule": rule_to_json(parse_rule_text(rule, WORDS))} | more
        alert = replace(build_alert(document, WORDS), target=AlertTarget(tuple(self.symbols)))
        return add_alert(self.connection, LOCAL, alert, at=at)

    def _import(self, lines: Iterable[str]) -> None:
        path = self._folder / "bars.csv"
        path.write_text("".join([self._header, *lines]))
        import_bars(self.connection, [path], DAY)


def _read_days(bars: Path, symbols: set[str]) -> tuple[str, dict[date, list[str]]]:
    """The header of a file of bars, and its lines about symbols by day, in the order of days."""
    days: dict[date, list[str]] = {}
    with gzip.open(bars, "rt") as lines:
        header = next(lines)
        for line in lines:
            symbol, day, _ = line.split(",", 2)
            if symbol in symbols:
                days.setdefault(date.fromisoformat(day), []).append(line)
    return header, dict(sorted(days.items()))
