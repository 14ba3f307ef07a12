"""What comes of messages of other programs: a burst, malformed ones, and a producer that repeats itself.

Burst: `--messages` data loads without an id, each of another symbol, at once, to schedulers that all hear the channel;
then as many to the stream, which they share. Each has to be one run and one row. The seconds are those from the first
message to the last run. Malformed: 300 of four kinds, on the channel. Producer: twelve messages of the same content, to
channel and stream two seconds apart, every 5, 10, 12, 15, 19 and 21 minutes of a made-up clock; then, as the control,
with a window of 15 minutes.

    .venv/bin/python benchmarks/messages.py [--messages N] [--schedulers N] [--json]
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace

from psycopg_pool import ConnectionPool

from bench_pool import (
    SAMPLE_JOBS,
    Bench,
    Figure,
    machine,
    positive,
    print_figures,
    private_services,
    running_scheduler,
    wait_until,
)
from scheduler.message_inbox import Arrival
from scheduler.message_record import MessageRecord
from scheduler.message_runs import MessageRuns
from scheduler.messages_to_runs import MessagesToRuns
from scheduler.metrics import SchedulerMetrics
from streamworkers.database import fetch_value, open_pool
from streamworkers.engine.redis.inbox import Messages
from streamworkers.engine.redis.keys import DATA_LOAD_CHANNEL, DATA_LOAD_STREAM
from streamworkers.engine.registry import installed_jobs
from streamworkers.logs import configure_logs
from streamworkers.market.universes.store import resolve
from streamworkers.schedules import store
from streamworkers.schedules.definition import ScheduleDefinition

READY_SECONDS = 120.0
MALFORMED = 300
REPEATS = 12
MINUTES = (5, 10, 12, 15, 19, 21)
FIRST_AT = 1_800_000_000.0
_ROWS = "SELECT count(*) FROM received_messages WHERE channel = %s AND state = %s"


def main() -> None:
    """Measure everything on private services."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=positive, default=5000)
    parser.add_argument("--schedulers", type=positive, default=3)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    words = parser.parse_args()
    sys.path.insert(0, str(SAMPLE_JOBS))
    configure_logs("error", "json")
    with private_services() as bench:
        about = machine(bench)
        fields = {"name": "post_import_analysis", "job": "noop", "on_event": "data_load_complete"}
        store.save_schedule(bench.connection, ScheduleDefinition.parse(fields))
        figures = produce(bench, 10.0, "producer") + produce(bench, 900.0, "control, window of 15 minutes")
        bench.connection.execute("TRUNCATE received_messages; UPDATE runs SET status = 'CANCELLED'")
        with ExitStack() as stack:
            schedulers = [stack.enter_context(running_scheduler(bench)) for _ in range(words.schedulers)]
            for each in schedulers:
                wait_until(lambda each=each: len(each.events("listener_connected")) >= 4, READY_SECONDS, "it listens")  # type: ignore[misc]
            figures += reject(bench, words.schedulers)
            for way, send in (("channel", publish), ("stream", add)):
                figures += burst(bench, words.messages, way, send)
    print_figures(f"Messages, {words.schedulers} schedulers", figures, [about], as_json=words.json)


def publish(bench: Bench, texts: list[str]) -> None:
    """Send messages to the channel, in one go."""
    pipe = bench.client.pipeline(transaction=False)
    for text in texts:
        pipe.publish(DATA_LOAD_CHANNEL, text)
    pipe.execute()


def add(bench: Bench, texts: list[str]) -> None:
    """Add messages to the stream, in one go."""
    pipe = bench.client.pipeline(transaction=False)
    for text in texts:
        pipe.xadd(DATA_LOAD_STREAM, {"message": text})
    pipe.execute()


def burst(bench: Bench, count: int, way: str, send: Callable[[Bench, list[str]], None]) -> list[Figure]:
    """How many runs and rows a burst makes, and how long the last one takes."""
    symbols = [f"{way[0].upper()}{number}" for number in range(count)]
    before = fetch_value(bench.connection, "SELECT coalesce(max(id), 0) FROM runs")
    channel = DATA_LOAD_CHANNEL if way == "channel" else DATA_LOAD_STREAM
    began = time.monotonic()
    send(bench, [json.dumps({"event_type": "data_load_complete", "symbols": [symbol]}) for symbol in symbols])
    runs = "SELECT count(*) FROM runs WHERE id > %s"
    wait_until(lambda: fetch_value(bench.connection, runs, (before,)) >= count, 60 + count / 5, f"runs by {way}")
    seconds = time.monotonic() - began
    if way == "channel":  # until all have received all
        copies = "SELECT coalesce(min((SELECT count(*) FROM jsonb_object_keys(received_by))), 0)"
        most = bench.client.pubsub_numsub(DATA_LOAD_CHANNEL)[0][1]
        query = f"{copies} FROM received_messages WHERE channel = %s AND state = 'accepted'"
        wait_until(lambda: fetch_value(bench.connection, query, (channel,)) == most, 60 + count / 5, "all have it")
    made = fetch_value(bench.connection, runs, (before,))
    doubled = "SELECT count(*) FROM (SELECT target FROM runs WHERE id > %s GROUP BY 1 HAVING count(*) > 1) AS d"
    rows = [fetch_value(bench.connection, _ROWS, (channel, state)) for state in ("accepted", "repeated")]
    bench.connection.execute("UPDATE runs SET status = 'CANCELLED', status_notified = true")
    return [
        Figure(f"burst of {count} by {way}: runs", [made], float(count), 0),
        Figure("  symbols with two runs", [fetch_value(bench.connection, doubled, (before,))], 0.0, 0),
        Figure("  rows accepted", [rows[0]], float(count), 0),
        Figure("  rows repeated", [rows[1]], 0.0, 0),
        Figure("  seconds to the last run", [seconds], digits=1),
        Figure("  messages/s", [count / seconds], digits=0),
    ]


def reject(bench: Bench, schedulers: int) -> list[Figure]:
    """How many rows malformed messages make, by their reasons."""
    kinds = ("{%d", "[%d]", '{"event_type": "x%d"}', '{"job_type": "csv_universe_load", "job_id": "j%d"}')
    texts = [kinds[number % 4] % number for number in range(MALFORMED)]
    publish(bench, texts)
    query = "SELECT count(*) FROM received_messages WHERE (SELECT count(*) FROM jsonb_object_keys(received_by)) = %s"
    wait_until(lambda: fetch_value(bench.connection, query, (schedulers,)) == MALFORMED, READY_SECONDS, "all rejected")
    rows = bench.connection.execute(
        "SELECT state || ' ' || reason, count(*) FROM received_messages GROUP BY 1 ORDER BY 1"
    ).fetchall()
    return [
        Figure(f"{MALFORMED} malformed: rows", [sum(count for _, count in rows)], float(MALFORMED), 0),
        *(Figure(f"  {name}", [count], digits=0) for name, count in rows),
    ]


def produce(bench: Bench, window: float, name: str) -> list[Figure]:
    """How many of the messages of a producer without ids start a run."""
    figures = []
    with ExitStack() as stack:
        pool: ConnectionPool = stack.enter_context(open_pool(bench.database_url, application="bench", max_size=2))
        messages = Messages(bench.redis_url, "streamworkers")
        stack.callback(messages.close)
        runs = MessageRuns(installed_jobs(), resolve)
        taker = MessagesToRuns(pool, bench.streams, messages, runs, SchedulerMetrics(), 600)
        taker = replace(taker, record=MessageRecord(repeat_seconds=window))
        for minutes in MINUTES:
            raw = json.dumps({"event_type": "data_load_complete", "symbols": [f"{name[0]}{minutes}"]}).encode()
            kinds = []
            for number in range(REPEATS):
                at = FIRST_AT + 60 * minutes * number
                kinds += [taker.accept(raw, "pubsub", at, Arrival(replica)).kind for replica in "abc"]
                entry = Arrival("a", f"{window:.0f}-{minutes}-{number}")
                kinds.append(taker.accept(raw, "stream", at + 2, entry).kind)
            started = kinds.count("started")
            figures.append(Figure(f"{name}, every {minutes} minutes, {REPEATS} messages: runs", [started], digits=0))
    return figures


if __name__ == "__main__":
    main()
