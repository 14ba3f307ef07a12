"""Alerts with two weeks of firings, for boards: what people would have added and what would have become of it."""

from dataclasses import replace
from datetime import datetime, timedelta

from streamworkers.actor import LOCAL
from streamworkers.alerts.alert_text import parse_alert_text
from streamworkers.alerts.document import Alert, AlertTarget
from streamworkers.alerts.store.changes import add_alert, pause_alert
from streamworkers.alerts.store.mutes import mute_alert
from streamworkers.database import Connection
from streamworkers.rules.market_vocabulary import MarketVocabulary

_RULES = {
    "oversold": "rsi(14) < 30",
    "breakout": "price crosses_above sma(50)",
    "volume-spike": "relative_volume(20) > 2 cooldown 1d",
    "high": "price > 60 hysteresis 2%",
    "gap-down": "price moves_down_pct 4",
    "trend": "price > 1.02 * sma(20) persistence 3 bars",
}
_FIRE = """
INSERT INTO alert_firings (alert_id, symbol, bar_time, kind, closed_at, version, epoch, price, is_live, suppressed,
                           state_after, lateness_seconds, fired_at)
SELECT y.alert_id, y.symbol, t.close - interval '16 hours', 'fire', t.close, 1, 1, 40 + y.place %% 20,
       (y.place + t.n) %% 9 <> 0, CASE WHEN (y.place + t.n) %% 13 = 0 THEN 'mute' END, '{}', 0.4 + (y.place * t.n) %% 7,
       t.close + interval '2 hours 10 minutes'
FROM (SELECT alert_id, symbol, row_number() OVER (ORDER BY alert_id, symbol) AS place FROM alert_symbols) y
CROSS JOIN (
    SELECT n, date_trunc('day', %(now)s::timestamptz - n * interval '1 day', 'America/New_York') + interval '16 hours'
    FROM generate_series(1, 13) AS n
) t (n, close)
WHERE (y.place * 7 + t.n * (3 + y.alert_id)) %% 11 < 2 AND extract(isodow FROM t.close) < 6"""

_STATES = """
INSERT INTO alert_state (alert_id, symbol, epoch, since, status, streak, release_streak, fired_at, fire_count,
                         cooldown_bars, sides)
SELECT y.alert_id, y.symbol, 1, y.since,
       (ARRAY['fired', 'armed', 'armed', 'pending'])[1 + (ascii(right(y.symbol, 1)) + y.alert_id + count(*)) % 4],
       0, 0, max(f.closed_at), count(*), 0, '{}'
FROM alert_symbols y JOIN alert_firings f USING (alert_id, symbol) GROUP BY 1, 2, 4"""

_SHARDS = """
INSERT INTO alert_shards (timeframe, symbol, change_seen, evaluations, unknown, firings)
SELECT timeframe, symbol, 1000000000, 60 * count(*), 3 * (length(symbol) + ascii(right(symbol, 1)) % 9), count(*)
FROM alert_symbols GROUP BY 1, 2"""

_CORRECT = """
INSERT INTO alert_corrections (alert_id, symbol, bar_time, change, kind, created_at)
SELECT alert_id, symbol, bar_time, 1, 'would_not_have_fired', fired_at FROM alert_firings ORDER BY id LIMIT 2"""


def invent_alerts(connection: Connection, now: datetime, universe: str) -> None:
    """Add alerts about a universe two weeks before `now`, and let them fire."""
    began = now - timedelta(days=14)
    for name, rule in _RULES.items():
        add_alert(connection, LOCAL, _alert(name, f"{rule} day", universe), at=began)
    pause_alert(connection, LOCAL, "trend", at=now - timedelta(days=2))
    mute_alert(connection, LOCAL, "gap-down", now + timedelta(days=400), at=now - timedelta(days=1))
    for statement in (_FIRE, _STATES, _SHARDS, _CORRECT):
        connection.execute(statement.encode(), {"now": now} if statement is _FIRE else None)


def blind_one(connection: Connection, now: datetime) -> None:
    """Let one alert that is not paused be blind for a symbol, since three hours before `now`."""
    connection.execute(
        "UPDATE alert_symbols SET blind_since = %s WHERE (alert_id, symbol) IN (SELECT y.alert_id, y.symbol"
        " FROM alert_symbols y JOIN alerts a ON a.id = y.alert_id WHERE a.paused_at IS NULL ORDER BY 1, 2 LIMIT 1)",
        (now - timedelta(hours=3),),
    )


def _alert(name: str, text: str, universe: str) -> Alert:
    return replace(parse_alert_text(text, MarketVocabulary()), name=name, target=AlertTarget(universe=universe))
