"""What was decided live, in pieces of any size, is what `alerts replay` decides over the stored bars at once."""

import random
from datetime import UTC, datetime
from typing import Any

from alert_stage import AlertStage, before_day
from consumer import Consumer
from streamworkers.alerts.stored_bars import BarPeriod, bars_before, read_stored_bars
from streamworkers.alerts.trial import try_stored
from streamworkers.database import Connection
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE, TIMEFRAMES

HISTORY, BARS = 40, 60
RULES = [
    "rsi(5) < 40",
    "price crosses_above sma(10)",
    "price > ema(8) and not rsi(14) > 60",
    "price moves_up_pct 2 in 3 bars",
    "price > 1.01 * sma(5) or price crosses kama(10)",
    "price enters_channel 98 and 102",
    "atr(5) > 1.5",
]
REARMS: list[dict[str, Any]] = [{"type": "edge"}, {"type": "simple"}, {"type": "cooldown", "cooldown_bars": 3}]


def test_live_in_pieces_equals_a_replay_at_once(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    """Every rule with every policy over a random path: the same bars, neither more nor fewer."""
    rng, path = random.Random(3), [100.0]
    while len(path) < HISTORY + BARS:
        path.append(round(path[-1] * rng.uniform(0.97, 1.031), 2))
    stage = AlertStage(connection, streams, registry, consumer)
    alerts = [stage.add(rule, rearm, at=before_day(HISTORY)) for rule in RULES for rearm in REARMS]
    stage.load(path[:HISTORY])
    place = HISTORY
    while place < len(path):
        size = rng.choice([1, 1, 2, 7])
        stage.load(path[place : place + size], place)
        stage.run()
        place += size
    since = before_day(HISTORY).astimezone(EXCHANGE_ZONE).replace(hour=0)
    total = 0
    for alert in alerts:
        period = BarPeriod(datetime.now(UTC), since)
        before = bars_before(alert.alert.rule, TIMEFRAMES["day"])
        stored = read_stored_bars(connection, "AAA", TIMEFRAMES["day"], before, period, "XNYS")
        trial = try_stored(alert.alert, stored)
        assert len(trial.steps) == BARS
        wanted = [HISTORY + number for number, step in enumerate(trial.steps) if step.fired]
        assert stage.fired(alert) == wanted, alert.document
        total += len(wanted)
    assert total > len(alerts)
