"""How messages leave: within the limits, none lost, none sent twice in silence, and how fast.

Limits: `--deliveries` to `--chats` chats of Telegram through a scheduler and two workers, against a fake Bot API that
enforces its limits (30/s for the bot, 1/s for a chat) and logs each call with its time. `--kills` sends SIGKILL to a
random worker each second meanwhile. Urgent: while those wait, an urgent notification every ten seconds to a chat of its
own. Firing: `--alerts` notifications at once, each to a chat of its own, from the commit to the fake's door. Bars: the
same from the commit of bars that let `--alerts` alerts fire, and before, of one bar and one alert, `--single` times.

    .venv/bin/python benchmarks/notifications.py [--deliveries N] [--chats N] [--alerts N] [--single N] [--kills]
"""

import argparse
import os
import random
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import date, datetime

from psycopg.types.json import Jsonb

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
from streamworkers.actor import Actor
from streamworkers.alerts.alert_text import parse_alert_text
from streamworkers.alerts.store.changes import add_alert
from streamworkers.loading.providers.synthetic import generate_bars
from streamworkers.market.bars.text_rows import BarRows
from streamworkers.market.bars.write import load_rows
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE, TIMEFRAMES
from streamworkers.notifications.notify import notify
from streamworkers.rules.market_vocabulary import MarketVocabulary
from streamworkers_fakes.telegram import DEFAULT_TOKEN, BotCall, FakeBotApi, RunningFakeBotApi, running_fake_bot_api

BOT_CALLS, CHAT_CALLS, WINDOW_SECONDS = 30, 1, 1.0
WORKERS = 2
URGENT_EVERY, URGENT_CHATS = 10, 5  # seconds
_OPEN = "SELECT count(*) FROM deliveries WHERE state NOT IN ('sent', 'suppressed', 'dead', 'ambiguous')"


def main() -> int:
    """Run both parts; 1 if a figure misses its target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deliveries", type=positive, default=10_000)
    parser.add_argument("--chats", type=positive, default=200)
    parser.add_argument("--alerts", type=positive, default=500)
    parser.add_argument("--single", type=positive, default=10)
    parser.add_argument("--kills", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with private_services() as bench, running_fake_bot_api(FakeBotApi()) as api:
        os.environ |= {
            "STREAMWORKERS_TELEGRAM_URL": api.url,
            "STREAMWORKERS_TELEGRAM_TOKEN": DEFAULT_TOKEN,
            "STREAMWORKERS_NOTIFICATIONS_PER_MINUTE": "10000",
        }
        _add_chats(bench, max(options.chats + URGENT_CHATS, options.alerts))
        _add_alerts(bench, options.alerts + options.single)
        words = ("--processes", str(WORKERS + 1), "--queue", f"notify={WORKERS}", "--queue", "alerts")
        with running_scheduler(bench), running_pool(bench, *words, LEASE_SECONDS=3) as pool:
            pool.wait_until_ready(bench, WORKERS + 1)
            figures = _measure_limits(bench, api, pool, options)
            if not options.kills:
                figures += _measure_firing(bench, api, options.alerts)
                figures += _measure_bars(bench, api, options.alerts, options.single)
        print_figures("Notifications", figures, [machine(bench)], as_json=options.json)
    return 0 if all(figure.verdict != "NO" for figure in figures) else 1


def _add_chats(bench: Bench, count: int) -> None:
    """A user with a chat for each number."""
    with bench.connection.transaction():
        for number in range(1, count + 1):
            bench.connection.execute("INSERT INTO users (id) VALUES (%s)", (f"u{number}",))
            bench.connection.execute(
                "INSERT INTO endpoints (user_id, name, channel, address, verified_at, created_by)"
                " VALUES (%s, 'chat', 'telegram', %s, now(), 'benchmark')",
                (f"u{number}", str(number)),
            )


def _measure_limits(bench: Bench, api: RunningFakeBotApi, pool: Pool, options: argparse.Namespace) -> list[Figure]:
    count, rng = options.deliveries, random.Random(1)
    with bench.connection.transaction():
        bench.connection.cursor().executemany(
            "INSERT INTO deliveries (user_id, endpoint_id, channel, type, priority, content)"
            " SELECT user_id, id, channel, 'message', 'normal', %s FROM endpoints WHERE address = %s",
            [(Jsonb({"title": f"message {n}"}), str(n % options.chats + 1)) for n in range(count)],
        )
    kills = polls = 0
    asked: dict[str, float] = {}

    def is_over() -> bool:
        nonlocal kills, polls
        polls += 1
        if polls % URGENT_EVERY == 0 and _number(bench, _OPEN) > count // 4:
            text, chat = f"urgent {polls}", options.chats + 1 + len(asked) % URGENT_CHATS
            asked[text] = _notify_urgent(bench, chat, text)
        if options.kills and api.sent and (victims := sorted(pool.workers())):
            with suppress(ProcessLookupError):
                os.kill(rng.choice(victims), signal.SIGKILL)
            kills += 1
        return _number(bench, _OPEN) == 0

    wait_until(is_over, 3 * count / BOT_CALLS + 120, "all deliveries are at their end", poll_seconds=1.0)
    calls = [call for call in api.calls if call.method == "sendMessage"]
    texts = Counter(call.text for call in api.sent if call.text not in asked)
    urgent = [call.at - asked[str(call.text)] for call in api.sent if call.text in asked]
    named: dict[str, int] = dict(
        bench.connection.execute("SELECT content ->> 'title', ambiguities FROM deliveries").fetchall()
    )
    unnamed = sum(max(0, times - 1 - named[str(text)]) for text, times in texts.items())
    doubled = sum(texts.values()) - len(texts)
    lasted = calls[-1].at - calls[0].at
    ideal = (count + len(urgent) - BOT_CALLS) / BOT_CALLS * WINDOW_SECONDS
    return [
        Figure("deliveries lost", [count + len(asked) - len(texts) - len(set(urgent))], 0, 0),
        Figure("sent twice, unnamed", [unnamed], 0, 0),
        Figure("sent twice, each named ambiguous", [doubled], None, 0),
        Figure("ambiguous", [sum(named.values())], None, 0),
        Figure("kills", [kills], None, 0),
        Figure("answers 429", [sum(call.status == 429 for call in calls)], None, 0),
        Figure(
            "attempts used by 429", [_number(bench, "SELECT sum(attempts) FROM deliveries") if not kills else 0], 0, 0
        ),
        Figure("most calls of the bot in a second", [_most_in_window(calls)], BOT_CALLS, 0),
        Figure("most calls to a chat in a second", [max(map(_most_in_window, _by_chat(calls)))], CHAT_CALLS, 0),
        Figure("time beyond that of the limit, %", [100 - 100 * ideal / lasted], None if kills else 5.0),
        *([Figure("urgent while the others wait, s", urgent, None)] if urgent else []),
    ]


def _notify_urgent(bench: Bench, chat: int, text: str) -> float:
    with bench.connection.transaction():
        notify(bench.connection, f"u{chat}", text, dedup_key=text, priority="urgent")
    return time.monotonic()


def _measure_firing(bench: Bench, api: RunningFakeBotApi, alerts: int) -> list[Figure]:
    """The seconds from a commit with so many notifications to each message; the limit alone takes alerts / 30."""
    api.fake.log.clear()
    with bench.connection.transaction():
        for number in range(1, alerts + 1):
            notify(bench.connection, f"u{number}", f"firing {number}", dedup_key=f"firing-{number}", priority="high")
    began = time.monotonic()
    wait_until(lambda: len(api.sent) >= alerts, 3 * alerts / BOT_CALLS + 120, "all alerts are sent")
    seconds = [call.at - began for call in api.sent]
    return [
        Figure("first of the firings, s", [min(seconds)], None),
        Figure("p50 of the firings, s", [percentile(seconds, 0.5)], None),
        Figure("p95 of the firings, s", [percentile(seconds, 0.95)], None),
        Figure("of the limit alone, p95, s", [0.95 * alerts / BOT_CALLS], None),
    ]


def _add_alerts(bench: Bench, count: int) -> None:
    """An alert for each number, of a user with a chat, on a symbol whose bar of the last session is missing."""
    days = _days()
    _store(bench, range(1, count + 1), days[:-1], "99")
    since = datetime.combine(date.fromisoformat(days[-1]), datetime.min.time(), EXCHANGE_ZONE)
    users = _number(bench, "SELECT count(*) FROM endpoints")
    for number in range(1, count + 1):
        alert = parse_alert_text(f"S{number} > 100 day", MarketVocabulary())
        add_alert(bench.connection, Actor(f"u{(number - 1) % users + 1}"), alert, at=since)


def _days() -> list[str]:
    return next(generate_bars(1, 5, 1)).times


def _store(bench: Bench, numbers: Iterable[int], days: Sequence[str], price: str) -> None:
    """One bar for each number and day."""
    keys = [(f"S{number}", day) for number in numbers for day in days]
    prices, volumes = [price] * len(keys), ["1"] * len(keys)
    symbols, times = [symbol for symbol, _ in keys], [day for _, day in keys]
    rows = BarRows(list(range(1, len(keys) + 1)), symbols, times, prices, prices, prices, prices, volumes)
    load_rows(bench.connection, TIMEFRAMES["day"], [rows])


def _measure_bars(bench: Bench, api: RunningFakeBotApi, alerts: int, single: int) -> list[Figure]:
    """The seconds from the commit of a bar to the message, first of one alert at a time, then of all at once."""
    alone = []
    for number in range(alerts + 1, alerts + single + 1):
        alone += _fire(bench, api, [number])
    together = _fire(bench, api, range(1, alerts + 1))
    return [
        Figure("from a bar to the message of one alert, p50, s", [percentile(alone, 0.5)], None),
        Figure("from a bar to the message of one alert, p95, s", [percentile(alone, 0.95)], None),
        Figure(f"from bars to the messages of {alerts} alerts, p50, s", [percentile(together, 0.5)], None),
        Figure(f"from bars to the messages of {alerts} alerts, p95, s", [percentile(together, 0.95)], None),
    ]


def _fire(bench: Bench, api: RunningFakeBotApi, numbers: Sequence[int]) -> list[float]:
    api.fake.log.clear()
    _store(bench, numbers, _days()[-1:], "101")
    began = time.monotonic()
    wait_until(lambda: len(api.sent) >= len(numbers), 3 * len(numbers) / BOT_CALLS + 120, "all alerts are sent")
    return [call.at - began for call in api.sent]


def _most_in_window(calls: Sequence[BotCall]) -> int:
    times = sorted(call.at for call in calls)
    most, start = 0, 0
    for end, at in enumerate(times):
        while at - times[start] >= WINDOW_SECONDS:
            start += 1
        most = max(most, end - start + 1)
    return most


def _by_chat(calls: Sequence[BotCall]) -> list[list[BotCall]]:
    found: defaultdict[str | None, list[BotCall]] = defaultdict(list)
    for call in calls:
        found[call.chat].append(call)
    return list(found.values())


def _number(bench: Bench, statement: str) -> int:
    row = bench.connection.execute(statement.encode()).fetchone()
    return 0 if row is None else int(row[0] or 0)


if __name__ == "__main__":
    sys.exit(main())
