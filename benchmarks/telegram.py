"""What the bot does with 1,000 commands while a process of it is killed each second, and what waiting costs.

Kills: three processes of the bot, `--updates` commands of a hundred people, and SIGKILL of a random process each
second; its replacement starts at once. Each command must have its effect once, and each answer must be sent; a second
message is allowed only for one that was named ambiguous. `--without-key` takes the guard out, the key of the updates,
and lets the offset lag: then commands are executed twice, which shows that the check can fail.

Waiting: the memory that one process has to itself, and its processor time while nobody says anything, for `--seconds`.

    .venv/bin/python benchmarks/telegram.py [--updates N] [--seconds N] [--without-key] [--json]
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from bench_pool import Bench, Figure, machine, positive, print_figures, private_services, wait_until
from streamworkers.actor import Actor
from streamworkers.telegram.store.links import Place, add_link
from streamworkers_fakes.telegram import DEFAULT_TOKEN, FakeBotApi, RunningFakeBotApi, running_fake_bot_api

PEOPLE, PROCESSES, LEASE_SECONDS = 100, 3, 2.0
BOT_ID = int(DEFAULT_TOKEN.partition(":")[0])
MOST_MEGABYTES, MOST_CPU_PERCENT = 60.0, 1.0
_LONGEST_SECONDS = 1200.0
_SETTLED = "SELECT count(*) = 0 FROM deliveries WHERE state NOT IN ('sent', 'suppressed')"
# Without the key every update is new; with an offset that lags, some come again after each poll.
_NO_GUARD = """
CREATE FUNCTION forget_update() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN NEW.update_id := -floor(random() * 1e15); RETURN NEW; END $$;
CREATE TRIGGER forget BEFORE INSERT ON telegram_updates FOR EACH ROW EXECUTE FUNCTION forget_update();
CREATE FUNCTION let_lag() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN NEW.next_update_id := greatest(OLD.next_update_id, NEW.next_update_id - 3); RETURN NEW; END $$;
CREATE TRIGGER lag BEFORE UPDATE ON telegram_offsets FOR EACH ROW EXECUTE FUNCTION let_lag()"""


def main() -> int:
    """Run both parts; 1 if a figure misses its target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=positive, default=1000)
    parser.add_argument("--seconds", type=positive, default=60)
    parser.add_argument("--without-key", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with private_services() as bench, running_fake_bot_api(FakeBotApi(limits=None)) as api:
        _link(bench)
        figures = [] if options.without_key else _measure_waiting(bench, api, options.seconds)
        if options.without_key:
            bench.connection.execute(_NO_GUARD.encode())
        figures += _measure_kills(bench, api, options.updates, settles=not options.without_key)
        print_figures("The Telegram bot", figures, [machine(bench)], as_json=options.json)
    return 0 if all(figure.verdict != "NO" for figure in figures) else 1


def _link(bench: Bench) -> None:
    """A user and a private chat for each person: Telegram allows a message a second for each chat."""
    with bench.connection.transaction():
        for person in range(1, PEOPLE + 1):
            user = f"u{person}"
            bench.connection.execute("INSERT INTO users (id) VALUES (%s)", (user,))
            add_link(bench.connection, Actor(user, "bot"), Place(BOT_ID, person, person), (), None)


def _start(bench: Bench, api: RunningFakeBotApi, number: int) -> "subprocess.Popen[bytes]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith("STREAMWORKERS_")} | {
        "STREAMWORKERS_REDIS_URL": bench.redis_url,
        "STREAMWORKERS_DATABASE_URL": bench.database_url,
        "STREAMWORKERS_LEASE_SECONDS": str(LEASE_SECONDS),
        "STREAMWORKERS_TELEGRAM_TOKEN": DEFAULT_TOKEN,
        "STREAMWORKERS_TELEGRAM_URL": api.url,
        "STREAMWORKERS_LOG_FORMAT": "json",
    }
    with Path(bench.folder, f"bot-{number}.log").open("wb") as log:
        command = [sys.executable, "-m", "streamworkers", "telegram"]
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log)


@contextmanager
def _ended(processes: "list[subprocess.Popen[bytes]]") -> Iterator[None]:
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _measure_waiting(bench: Bench, api: RunningFakeBotApi, seconds: int) -> list[Figure]:
    process = _start(bench, api, 0)
    with _ended([process]):
        wait_until(lambda: api.fake.polls > 1, 60, "the bot polls")
        watched = psutil.Process(process.pid)
        before, began = watched.cpu_times(), time.monotonic()
        time.sleep(seconds)
        after, elapsed = watched.cpu_times(), time.monotonic() - began
        cpu = (after.user + after.system - before.user - before.system) / elapsed * 100
        own = watched.memory_full_info()
    return [
        Figure("memory of its own, MB", [own.uss / 2**20], MOST_MEGABYTES),
        Figure("memory with what processes share, MB", [own.rss / 2**20], None),
        Figure("processor while it waits, %", [cpu], MOST_CPU_PERCENT),
    ]


def _measure_kills(bench: Bench, api: RunningFakeBotApi, updates: int, *, settles: bool) -> list[Figure]:
    rng = random.Random(1)  # whom to kill
    api.fake.log.clear()
    for number in range(updates):
        api.fake.say(f"/alert AAPL > {number + 1}", user=number % PEOPLE + 1)
    processes = [_start(bench, api, number) for number in range(PROCESSES)]
    kills, began = 0, time.monotonic()
    handled = "SELECT count(DISTINCT document -> 'rule' -> 'value') FROM alert_versions"
    with _ended(processes):
        while _number(bench, handled) < updates and time.monotonic() - began < _LONGEST_SECONDS:
            time.sleep(1)
            victim = rng.randrange(PROCESSES)
            processes[victim].send_signal(signal.SIGKILL)
            processes[victim].wait()
            kills += 1
            processes[victim] = _start(bench, api, PROCESSES + kills)
        took = time.monotonic() - began
        if settles:  # without the guard there is always a command that comes again
            wait_until(lambda: bool(_number(bench, _SETTLED)), 300, "all answers are sent")
    rows = bench.connection.execute("SELECT document -> 'rule' ->> 'value' FROM alert_versions WHERE version = 1")
    effects = Counter(value for (value,) in rows)
    titles = Counter(str(call.text).split("\n")[0] for call in api.sent)
    doubled, ambiguous = sum(titles.values()) - len(titles), _number(bench, "SELECT sum(ambiguities) FROM deliveries")
    return [
        Figure("commands without an effect", [updates - len(effects)], 0, 0),
        Figure("effects too many", [sum(effects.values()) - len(effects)], 0, 0),
        Figure("answers that were not sent", [updates - len(titles)], 0, 0),
        Figure("second messages that nobody named", [max(0, doubled - ambiguous)], 0, 0),
        Figure("second messages, each named ambiguous", [doubled], None, 0),
        Figure("kills", [kills], None, 0),
        Figure("time until the last command, s", [took], None),
        Figure("answers 409", [sum(call.status == 409 for call in api.calls)], None, 0),
    ]


def _number(bench: Bench, statement: str) -> int:
    row = bench.connection.execute(statement.encode()).fetchone()
    return 0 if row is None else int(row[0] or 0)


if __name__ == "__main__":
    sys.exit(main())
