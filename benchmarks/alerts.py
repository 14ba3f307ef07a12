"""How long alerts take from the commit of bars to the commit of the last firing, and whether kills change what fires.

Speed: a scheduler and two workers, `--alerts` over `--symbols` with a history of 60 days. In each round one bar of
every symbol is written in one transaction; about one alert in twenty fires. Measured is the time from that commit
until all series are decided, which is when the last firing is committed. In the last round nothing changes.

`--kill SECONDS`: meanwhile a random worker is killed each second, half way Redis is emptied, and PostgreSQL loses a
process to SIGKILL, so that it ends all sessions, recovers from its log and starts again. Afterwards the firings are
compared with those of tests/alert_oracle.py, which shares no code with the product, for each of `--seeds` seeds. A
fifth of the volumes is unknown. `--without` takes a guarantee out. As controls of the comparison, differences have to
be found without `marks`, where no series keeps how far it is decided, and without `unknown`, which is false then.
`fence` is the engine's: results are saved however often an item is executed, and the marks of alerts have to do alone.

    .venv/bin/python benchmarks/alerts.py [--alerts N] [--symbols N] [--rounds N] [--seeds N] [--json]
        [--kill SECONDS [--without {marks,unknown,fence}]]
"""

import argparse
import contextlib
import json
import math
import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import psycopg

from bench_pool import (
    Bench,
    Figure,
    Pool,
    machine,
    percentile,
    positive,
    print_figures,
    private_services,
    running_pool,
    running_scheduler,
    wait_until,
)
from streamworkers.alerts.document import alert_to_json, build_alert
from streamworkers.database import Connection, connect
from streamworkers.errors import ServiceUnreachableError
from streamworkers.market.bars.text_rows import BarRows
from streamworkers.market.bars.write import load_rows
from streamworkers.market.calendar.session_table import fill_sessions
from streamworkers.market.calendar.sessions import compute_sessions
from streamworkers.market.calendar.timeframes import TIMEFRAMES
from streamworkers.rules.market_vocabulary import MarketVocabulary

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from alert_oracle import AlertOracle

DAY = TIMEFRAMES["day"]
HISTORY = 60
WORKERS = 2
TARGETS = {10_000: 3.0, 100_000: 20.0}
WAIT_SECONDS = 300.0
FORGET = """
CREATE FUNCTION forget_mark() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN NEW.evaluated_through := '2015-01-01'; RETURN NEW; END $$;
CREATE TRIGGER forget_mark BEFORE UPDATE ON alert_shards FOR EACH ROW EXECUTE FUNCTION forget_mark()"""
TESTS = Path(__file__).resolve().parent.parent / "tests"
SABOTAGE = {
    "marks": None,
    "unknown": Path(__file__).resolve().parent / "two_valued",
    "fence": TESTS / "chaos" / "sabotage",
}
CONTROLS = ("marks", "unknown")
PRICE = {"indicator": "price"}
REARMS: list[dict[str, Any]] = [{"type": "edge"}, {"type": "simple"}, {"type": "cooldown", "cooldown_bars": 3}]


class Bar(NamedTuple):
    """A price, and a volume, which is not a number where it is unknown."""

    close: float
    volume: float


def main() -> None:
    """Measure the speed, or kill workers, on private services."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--alerts", type=positive, default=10_000)
    parser.add_argument("--symbols", type=positive, default=500)
    parser.add_argument("--rounds", type=positive, default=10)
    parser.add_argument("--kill", type=positive, metavar="SECONDS", help="kill workers instead, for so long")
    parser.add_argument("--without", choices=SABOTAGE, help="take a guarantee out, as a control")
    parser.add_argument("--seeds", type=positive, default=3)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    words = parser.parse_args()
    with private_services() as bench:
        about = machine(bench)
        fill_sessions(bench.connection, "XNYS")
        if words.kill is None:
            title, figures = "From the commit of bars to the last firing", measure(bench, words)
        else:
            title, figures = "Firings while workers are killed", kill(bench, words)
    print_figures(title, figures, [about], as_json=words.json)


def measure(bench: Bench, words: argparse.Namespace) -> list[Figure]:
    """The seconds of each round, the firings, and the states that a round without changes writes."""
    symbols, rng = [f"S{number:04}" for number in range(words.symbols)], random.Random(1)
    write_history(bench, symbols, rng)
    write_alerts(bench, [speed_alert(symbols[number % len(symbols)], rng) for number in range(words.alerts)], HISTORY)
    seconds, firings, processor = [], [], []
    with (
        running_scheduler(bench) as scheduler,
        running_pool(bench, "--processes", str(WORKERS), "--queue", "alerts") as pool,
    ):
        pool.wait_until_ready(bench, WORKERS)
        for place in range(HISTORY, HISTORY + words.rounds + 1):
            before = count(bench, "SELECT count(*) FROM alert_firings")
            used = processor_seconds(bench, scheduler, pool)
            seconds.append(one_round(bench, symbols, place, [rng.uniform(3, 7) for _ in symbols]))
            processor.append(processor_seconds(bench, scheduler, pool) - used)
            firings.append(count(bench, "SELECT count(*) FROM alert_firings") - before)
        for place in (HISTORY + words.rounds + 1, HISTORY + words.rounds + 2):
            began = bench.connection.execute("SELECT clock_timestamp()").fetchone()
            quiet = one_round(bench, symbols, place, [0.5] * len(symbols))
            assert began is not None
            written = count(bench, "SELECT count(*) FROM alert_state WHERE changed_at > %s", began)
    cold, *warm = seconds
    target = TARGETS.get(words.alerts)
    return [
        Figure(f"first round of {words.alerts:,} alerts over {words.symbols} symbols, s", [cold]),
        Figure("later rounds, s", warm),
        Figure("their 95th percentile, s", [percentile(warm, 0.95)], target),
        Figure("processor seconds of all processes in the first round", processor[:1]),
        Figure("in later rounds", processor[1:]),
        Figure("firings in a round", firings[1:], digits=0),
        Figure("a round without changes, s", [quiet]),
        Figure("state rows that it writes", [written], 49, digits=0),
    ]


def speed_alert(symbol: str, rng: random.Random) -> dict[str, Any]:
    """Most compare the price with a level, others an indicator; of a price of 5 one in twenty levels is below."""
    level, kind = rng.uniform(1, 100), rng.random()
    rule: dict[str, Any] = {**PRICE, "operator": ">", "value": level}
    if kind < 0.2:
        rsi = {"indicator": "rsi", "params": {"timeperiod": 14}, "operator": "<", "value": 99.5}
        rule = {"operator": "and", "conditions": [rule, rsi]}
    elif kind < 0.3:
        sma = {"indicator": "sma", "params": {"timeperiod": 20}}
        rule = {"operator": "and", "conditions": [rule, {**PRICE, "operator": "crosses_above", "value": sma}]}
    return {"ticker": symbol, "timeframe": "day", "rule": rule, "rearm": {"type": "simple"}}


def one_round(bench: Bench, symbols: Sequence[str], place: int, closes: Sequence[float]) -> float:
    """Write one bar of each symbol, and return the seconds from the commit until all are decided."""
    day = sessions()[place]
    write_bars(bench, [(symbol, day, close, 1000.0) for symbol, close in zip(symbols, closes, strict=True)])
    began = time.monotonic()
    wait_until(lambda: not behind(bench), WAIT_SECONDS, "all series are decided", 0.02)
    return time.monotonic() - began


def processor_seconds(bench: Bench, *pools: Pool) -> float:
    """The processor seconds that scheduler, supervisor, workers and PostgreSQL have used so far."""
    server = count(bench, "SELECT split_part(pg_read_file('postmaster.pid'), E'\\n', 1)::int")
    seconds = 0.0
    for root in [server, *(pool.process.pid for pool in pools)]:
        for process in [psutil.Process(root), *psutil.Process(root).children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                seconds += sum(process.cpu_times()[:4])  # its own, and that of children that have ended
    return seconds


def kill(bench: Bench, words: argparse.Namespace) -> list[Figure]:
    """Differences from the oracle, for each seed."""
    lost, doubled, firings, kills = [], [], [], []
    sabotage(bench, words.without)
    for seed in range(words.seeds):
        rng = random.Random(seed)
        symbols = [f"K{seed}{number:03}" for number in range(40)]
        alerts = [kill_alert(symbols[number % len(symbols)], rng) for number in range(400)]
        ids = write_alerts(bench, alerts, 0)
        paths: dict[str, list[Bar]] = {symbol: [] for symbol in symbols}
        bench, killed = run_with_kills(bench, words.kill, paths, rng)
        kills.append(killed)
        found = read_firings(bench, ids)
        wanted = [expected(alert, paths[alert["ticker"]]) for alert in alerts]
        lost.append(sum(len(set(want) - set(have)) for want, have in zip(wanted, found, strict=True)))
        doubled.append(sum(len(have) - len(set(want) & set(have)) for want, have in zip(wanted, found, strict=True)))
        stepped = "SELECT coalesce(sum(fire_count), 0) FROM alert_state WHERE alert_id = ANY(%s)"
        doubled[-1] += abs(count(bench, stepped, (ids,)) - sum(map(len, found)))
        firings.append(sum(map(len, found)))
        if not firings[-1] or not kills[-1]:
            sys.exit(f"{firings[-1]} firings and {kills[-1]} kills show nothing")
        if words.without in CONTROLS and not doubled[-1] + lost[-1]:
            sys.exit(f"without {words.without} nothing was wrong, so this run cannot find what it is made for")
    return [
        Figure("workers killed", kills, digits=0),
        Figure("firings", firings, digits=0),
        Figure("lost", lost, None if words.without in CONTROLS else 0, digits=0),
        Figure("doubled, or fired where they should not", doubled, None if words.without in CONTROLS else 0, digits=0),
    ]


def sabotage(bench: Bench, without: str | None) -> None:
    """Take a guarantee out of the database, or of every process that is started from now on."""
    if without == "marks":
        bench.connection.execute(FORGET)
    elif without is not None:
        os.environ["PYTHONPATH"] = str(SABOTAGE[without])
        os.environ["CHAOS_WITHOUT"] = without


def kill_alert(symbol: str, rng: random.Random) -> dict[str, Any]:
    """A level or a crossing, with any of the policies; one in two is unknown where the volume is."""
    operator = rng.choice([">", "<", "crosses_above", "crosses_below"])
    rule: dict[str, Any] = {**PRICE, "operator": operator, "value": round(rng.uniform(90, 110), 1)}
    if rng.random() < 0.5:
        rule = {"operator": "and", "conditions": [rule, {"indicator": "volume", "operator": ">", "value": 0}]}
    return {"ticker": symbol, "timeframe": "day", "rule": rule, "rearm": rng.choice(REARMS)}


def run_with_kills(bench: Bench, seconds: float, paths: dict[str, list[Bar]], rng: random.Random) -> tuple[Bench, int]:
    """Write bars for so long, and kill a random worker each second; returns how many were killed.

    The benchmark has another session of PostgreSQL afterwards.
    """
    killed, has_flushed = 0, False
    with (
        running_scheduler(bench),
        running_pool(bench, "--processes", str(WORKERS), "--queue", "alerts", LEASE_SECONDS=3) as pool,
    ):
        pool.wait_until_ready(bench, WORKERS)
        place, began = 0, time.monotonic()
        while (passed := time.monotonic() - began) < seconds:
            for path in paths.values():
                path.append(Bar(round(rng.uniform(85, 115), 1), 1000.0 if rng.random() < 0.8 else math.nan))
            write_bars(bench, [(symbol, sessions()[place], *path[-1]) for symbol, path in paths.items()])
            place += 1
            if passed > killed + 1 and (pids := list(pool.workers())):
                os.kill(rng.choice(pids), signal.SIGKILL)
                killed += 1
            if not has_flushed and passed > seconds / 2:
                bench.client.flushall()
                bench = crash_database(bench)
                has_flushed = True
            time.sleep(0.1)
        recovered = bench
        wait_until(lambda: not behind(recovered), WAIT_SECONDS, "all series are decided")
    return bench, killed


def crash_database(bench: Bench) -> Bench:
    """Kill a process of PostgreSQL, which then starts all over, and wait until it answers."""
    os.kill(count(bench, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'"), signal.SIGKILL)
    found: list[Connection] = []

    def answers() -> bool:
        with contextlib.suppress(ServiceUnreachableError, psycopg.OperationalError):
            found.append(connect(bench.database_url, application="benchmark"))
        return bool(found)

    wait_until(lambda: not alive(bench), WAIT_SECONDS, "the session has ended")
    wait_until(answers, WAIT_SECONDS, "PostgreSQL answers again")
    return replace(bench, connection=found[0])


def alive(bench: Bench) -> bool:
    """True while the benchmark's session answers."""
    try:
        bench.connection.execute("SELECT 1")
    except psycopg.OperationalError:
        return False
    return True


def expected(alert: dict[str, Any], path: Sequence[Bar]) -> list[date]:
    """The days at which the oracle fires."""
    oracle = AlertOracle(alert["rule"], alert["rearm"])
    values = {"price": [bar.close for bar in path], "volume": [bar.volume for bar in path]}
    return [sessions()[number] for number in range(len(path)) if oracle.bar(values, number, number)]


def read_firings(bench: Bench, ids: Sequence[int]) -> list[list[date]]:
    """The days at which each alert fired."""
    rows = bench.connection.execute(
        "SELECT alert_id, (bar_time AT TIME ZONE 'America/New_York')::date FROM alert_firings WHERE alert_id = ANY(%s)",
        (list(ids),),
    )
    found: dict[int, list[date]] = {number: [] for number in ids}
    for number, day in rows:
        found[number].append(day)
    return list(found.values())


def behind(bench: Bench) -> bool:
    """True while a change of a series with an alert is not decided."""
    row = bench.connection.execute(
        "SELECT EXISTS (SELECT FROM series_state e LEFT JOIN alert_shards h USING (timeframe, symbol)"
        " WHERE e.last_change > coalesce(h.change_seen, 0))"
    ).fetchone()
    return row == (True,)


def count(bench: Bench, query: str, values: Sequence[object] = ()) -> int:
    """The number that a query returns."""
    row = bench.connection.execute(query, values).fetchone()
    assert row is not None
    return int(row[0])


@cache
def sessions() -> list[date]:
    """Days of the exchange, long enough ago that all are closed."""
    return list(compute_sessions("XNYS", date(2015, 1, 2), date(2025, 12, 31)).days)


def write_history(bench: Bench, symbols: Sequence[str], rng: random.Random) -> None:
    """The bars before those that are decided."""
    write_bars(bench, [(symbol, day, rng.uniform(3, 7), 1000.0) for symbol in symbols for day in sessions()[:HISTORY]])


def write_bars(bench: Bench, bars: Sequence[tuple[str, date, float, float]]) -> None:
    """Write bars of one price, with their volumes, in one transaction."""
    prices = [f"{close:.2f}" for _, _, close, _ in bars]
    rows = BarRows(
        lines=list(range(1, len(bars) + 1)),
        symbols=[symbol for symbol, _, _, _ in bars],
        times=[day.isoformat() for _, day, _, _ in bars],
        open=prices,
        high=prices,
        low=prices,
        close=prices,
        volume=["\\N" if math.isnan(volume) else f"{volume:.0f}" for _, _, _, volume in bars],
    )
    load_rows(bench.connection, DAY, [rows])


def write_alerts(bench: Bench, alerts: Sequence[dict[str, Any]], place: int) -> list[int]:
    """Insert many alerts at once, in force before the session at a place; returns their ids.

    Documents are normalised as `alerts add` does it, but for the check of the schema, which takes 20 times as long.
    """
    words, prefix = MarketVocabulary(), f"bench-{count(bench, 'SELECT count(*) FROM alerts')}"
    documents = [
        json.dumps(alert_to_json(build_alert(alert | {"name": f"{prefix}-{number}"}, words)))
        for number, alert in enumerate(alerts)
    ]
    at = datetime.combine(sessions()[place], datetime.min.time(), UTC)
    with bench.connection.transaction():
        rows = bench.connection.execute(
            "INSERT INTO alerts (user_id, name, timeframe, created_at, created_by)"
            " SELECT 'local', d ->> 'name', 'day', %s, 'bench' FROM unnest(%s::jsonb[]) WITH ORDINALITY AS t (d, n)"
            " ORDER BY n RETURNING id, name",
            (at, documents),
        ).fetchall()
        ids = {name: number for number, name in rows}
        ordered = [ids[f"{prefix}-{number}"] for number in range(len(alerts))]
        bench.connection.execute(
            "INSERT INTO alert_versions (alert_id, version, epoch, effective_from, rule_from, document, changed_by)"
            " SELECT w.id, 1, 1, %s, %s, w.d, 'bench' FROM unnest(%s::bigint[], %s::jsonb[]) AS w (id, d)",
            (at, at, ordered, documents),
        )
        bench.connection.execute(
            "INSERT INTO alert_symbols (alert_id, symbol, timeframe, since)"
            " SELECT w.id, w.symbol, 'day', %s FROM unnest(%s::bigint[], %s::text[]) AS w (id, symbol)",
            (at, ordered, [alert["ticker"] for alert in alerts]),
        )
    bench.connection.execute("ANALYZE")
    return ordered


if __name__ == "__main__":
    main()
