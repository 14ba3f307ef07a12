"""What inputs cost at their limits, and just above: processor time, and memory that a process needs for it.

Each is read by a fresh process, which says what it read, or the error. What floods it is a process of its own.

    .venv/bin/python benchmarks/limits.py [--only WORD …] [--json]
"""

import argparse
import gzip
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import httpx
import msgpack
from pydantic import SecretStr

from bench_pool import Bench, machine, print_table, private_services
from scheduler.message import parse_message
from streamworkers.alerts.transfer import parse_alerts
from streamworkers.api.reading import read_body
from streamworkers.api.routes.runs import RunRequestBody
from streamworkers.cli.files import read_file
from streamworkers.config import Settings
from streamworkers.database import connect
from streamworkers.engine.redis.cut_message import size_of
from streamworkers.engine.redis.entry import unpack_entry
from streamworkers.engine.redis.inbox import Messages
from streamworkers.engine.redis.keys import DATA_LOAD_STREAM
from streamworkers.loading.providers.massive_answers import ApiBars
from streamworkers.loading.providers.massive_client import MassiveClient
from streamworkers.loading.providers.provider import UNCOUNTED
from streamworkers.market.calendar.timeframes import TIMEFRAMES
from streamworkers.market.files.bars_file import read_bars_file
from streamworkers.market.files.limits import FileLimits
from streamworkers.market.files.options import ReadOptions
from streamworkers.market.universes.csv_import import import_universes
from streamworkers.notifications.channels.channel import Address
from streamworkers.notifications.channels.http import HttpCaller
from streamworkers.notifications.channels.mail import Mail
from streamworkers.notifications.channels.telegram_api import TelegramApi
from streamworkers.notifications.content import Content
from streamworkers.notifications.notification import parse_notification
from streamworkers.rules.market_vocabulary import MarketVocabulary
from streamworkers.rules.text import parse_rule_text
from streamworkers.schedules.yaml_file import from_yaml

_MB = 1 << 20
_HUGE = 32 * _MB
_HUGE_ENTRIES = 8
# Limits of less than the defaults, which would take minutes: time and memory grow with the first, time with the second.
_ALERTS_MB, _UNPACKED_MB = 8, 128
_REDIS, _DATABASE, _FOLDER = "LIMITS_REDIS", "LIMITS_DATABASE", "LIMITS_FOLDER"
_SMALL = b'{"event_type": "data_load_complete", "symbols": ["A"]}'
_STREAM = DATA_LOAD_STREAM.replace("tickstock", "limits")
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


class Case(NamedTuple):
    """An input: `prepare` makes it, at the limit or above, and returns what reads it, which is measured."""

    name: str
    limit: str
    prepare: Callable[[bool], Callable[[], object]]
    sides: tuple[bool, ...] = (False, True)


def main() -> None:
    """Measure each input in a process of its own, twice, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="inputs whose names hold one of these")
    parser.add_argument("--json", action="store_true", help="a line for each, as it is measured")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.child:
        _measure_here(next(case for case in CASES if case.name == words.child[0]), words.child[1] == "above")
        return
    rows = []
    with private_services() as bench:
        about = machine(bench)
        for case in CASES:
            for above in case.sides if not words.only or any(word in case.name for word in words.only) else ():
                rows.append(_measure(bench, case, above))
                if words.json:
                    print(json.dumps(rows[-1]), flush=True)
    if words.json:
        return
    print_table(
        "Inputs at their limits, and above",
        ["input", "limit", "", "processor, s", "memory, MB", "comes to"],
        [[row["input"], row["limit"], row["side"], row["seconds"], row["memory"], row["outcome"]] for row in rows],
        [about],
    )


def _measure(bench: Bench, case: Case, above: bool) -> dict[str, str]:
    side = "above" if above else "at"
    with tempfile.TemporaryDirectory(prefix="sw-limits-") as folder:
        given = {_REDIS: bench.redis_url, _DATABASE: bench.database_url, _FOLDER: folder}
        done = subprocess.run(
            [sys.executable, __file__, "--child", case.name, side],
            env=os.environ | given,
            capture_output=True,
            text=True,
            check=False,
        )
    bench.client.flushall()
    if done.returncode != 0:
        raise SystemExit(f"{case.name}, {side}: {done.stderr[-2000:]}")
    return {"input": case.name, "limit": case.limit, "side": side, **json.loads(done.stdout)}


def _measure_here(case: Case, above: bool) -> None:
    read = case.prepare(above)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
    before, began = _status_mb("VmRSS"), time.process_time()
    try:
        outcome = str(read())
    except Exception as error:  # noqa: BLE001  # what it comes to
        outcome = str(error) or type(error).__name__
    seconds = time.process_time() - began
    memory = max(0.0, _status_mb("VmHWM") - before)
    place = os.environ[_FOLDER]
    shown = " ".join(outcome.replace(f"{place}/", "").split())[:110]
    print(json.dumps({"seconds": f"{seconds:.2f}", "memory": f"{memory:.0f}", "outcome": shown}))


def _status_mb(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{field}:"))


def _written(name: str, content: bytes) -> Path:
    path = Path(os.environ[_FOLDER]) / name
    path.write_bytes(content)
    return path


def _filled(lines: Iterator[bytes], size: int) -> bytes:
    """As many lines as have the size, the last one cut or blank."""
    content = bytearray()
    for line in lines:
        if len(content) + len(line) > size:
            break
        content += line
    return bytes(content) + b"\n" * (size - len(content))


def _count(start: int = 0) -> Iterator[int]:
    while True:
        yield start
        start += 1


# Files of commands.


def schedules_bytes(above: bool) -> Callable[[], object]:
    """A file of schedules."""
    lines = (b"- {name: s%d, job: noop, cron: '0 18 * * *'}\n" % number for number in _count())
    path, most = _written("schedules.yaml", _filled(lines, _MB + above)), _MB
    return lambda: f"{len(from_yaml(read_file(path, most, 'STREAMWORKERS_SCHEDULES_MAX_BYTES')))} schedules"


def schedules_values(above: bool) -> Callable[[], object]:
    """Aliases that stand for many values."""
    lists = "\n".join(["- &a0 [x]", *(f"- &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 6 + 6 * above))])
    return lambda: from_yaml(lists)


def schedules_depth(above: bool) -> Callable[[], object]:
    """Lists in lists."""
    text = "- " + "[" * (_MB // 2 if above else 31) + "]" * (_MB // 2 - 2 if above else 31)
    return lambda: from_yaml(text)


def alerts_file(above: bool) -> Callable[[], object]:
    """A file of alerts, one a line."""
    rule, most = b'{"indicator": "price", "operator": ">", "value": 1}', _ALERTS_MB * _MB
    line = b'{"name": "a%d", "ticker": "A", "timeframe": "1d", "rule": %s}\n'
    path = _written("alerts.json", _filled((line % (number, rule) for number in _count()), most + above))
    setting = "STREAMWORKERS_ALERTS_MAX_BYTES"
    return lambda: f"{len(parse_alerts(read_file(path, most, setting), MarketVocabulary()))} alerts"


def rule_file(above: bool) -> Callable[[], object]:
    """A rule as text."""
    text = "price > 1" + " " * (32 * 1024 - 9 + above)
    path, most = _written("rule", text.encode()), 32 * 1024
    return lambda: type(parse_rule_text(read_file(path, most), MarketVocabulary())).__name__


def endless_file(above: bool) -> Callable[[], object]:
    """A device that never ends."""
    del above
    return lambda: read_file(Path("/dev/zero"), 16 * _MB, "STREAMWORKERS_ALERTS_MAX_BYTES")


def universes(above: bool) -> Callable[[], object]:
    """A file of universes, all of its rows good."""
    rows = (b"u,S%d\n" % number for number in _count())
    path = _written("universes.csv", b"universe,symbol\n" + _filled(rows, 8 * _MB - 16 + above))

    def read() -> str:
        with connect(os.environ[_DATABASE]) as connection:
            return f"{import_universes(connection, path).added} symbols"

    return read


def universes_packed(above: bool) -> Callable[[], object]:
    """The same, packed: a thousandth of its size."""
    size = 256 * _MB if above else 7 * _MB
    with gzip.open(path := Path(os.environ[_FOLDER]) / "universes.csv.gz", "wb") as packed:
        packed.write(b"universe,symbol\nu,A\n")
        for _ in range(size // _MB):
            packed.write(b"\n" * _MB)

    def read() -> str:
        with connect(os.environ[_DATABASE]) as connection:
            return f"{import_universes(connection, path).added} symbols"

    return read


def _read_bars(path: Path, options: ReadOptions) -> str:
    chunks = read_bars_file(path, TIMEFRAMES["day"], options=options)
    return f"{sum(len(chunk.rejects) for chunk in chunks)} rejected"


def bars_line(above: bool) -> Callable[[], object]:
    """A line of a file of bars."""
    head = b"symbol,date,open,high,low,close,volume\n"
    path = _written("bars.csv", head + b"x" * (64 * _MB if above else 262_144))
    return lambda: _read_bars(path, ReadOptions())


def bars_columns(above: bool) -> Callable[[], object]:
    """A header with as many columns as a line can hold."""
    names = ["symbol", "date", "open", "high", "low", "close", "volume", *(f"c{n}" for n in range(9_993 + above))]
    path = _written("bars.csv", ",".join(names).encode() + b"\n" + b"," * (len(names) - 1) + b"\n")
    return lambda: _read_bars(path, ReadOptions())


def bars_unpacked(above: bool) -> Callable[[], object]:
    """A packed file of bars, which unpacks to a thousand times its size."""
    with gzip.open(path := Path(os.environ[_FOLDER]) / "bars.csv.gz", "wb", compresslevel=1) as packed:
        packed.write(b"symbol,date,open,high,low,close,volume\nA,2024-01-02,1,1,1,1,1\n")
        for _ in range(_UNPACKED_MB - 1 + 2 * above):
            packed.write(b"\n" * _MB)
    limits = FileLimits(unpacked_bytes=_UNPACKED_MB << 20)
    return lambda: _read_bars(path, ReadOptions(limits=limits))


# Answers from the network.


@contextmanager
def _flood(first: bytes, part: bytes, parts: int) -> Iterator[int]:
    """A process that answers each connection with so many parts, or without an end; yields its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            peer, _ = listener.accept()
            with peer, suppress(OSError):
                if first:
                    peer.recv(65536)
                    peer.sendall(first)
                left = parts
                while left != 0:
                    peer.sendall(part)
                    left -= 1

    server = multiprocessing.get_context("fork").Process(target=serve, daemon=True)
    server.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.kill()
        server.join()
        listener.close()


def massive(above: bool) -> Callable[[], object]:
    """A packed answer of the provider: bars, or zeros without an end."""
    if above:
        content, parts = gzip.compress(b" " * (64 * _MB + 1)), 1
    else:
        bar = b'{"t":1700000000000,"o":1.5,"h":1.5,"l":1.5,"c":1.5,"v":100}'
        count = (64 * _MB - 40) // (len(bar) + 1)
        content, parts = gzip.compress(b'{"status":"OK","results":[' + b",".join([bar] * count) + b"]}", 1), 1
    first = _ANSWER + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(content)

    def read() -> str:
        with _flood(first, content, parts) as port:
            client = MassiveClient(
                Settings(massive_api_key=SecretStr("key"), massive_base_url=f"http://127.0.0.1:{port}")
            )
            return f"{len(client.get(UNCOUNTED, 'x', ApiBars).results or ())} bars"

    return read


def telegram(above: bool) -> Callable[[], object]:
    """An answer of Telegram."""
    head, tail = b'{"ok":true,"result":"', b'"}'
    size = 65_536 - len(head) - len(tail)
    first = _ANSWER + (b"" if above else b"Content-Length: 65536\r\n") + b"\r\n" + head
    part, parts = (b"x" * 65_536, -1) if above else (b"x" * size + tail, 1)

    def read() -> str:
        with _flood(first, part, parts) as port:
            api = TelegramApi(SecretStr("1:a"), f"http://127.0.0.1:{port}")
            return f"{len(api.call('getMe'))} characters"

    return read


def webhook(above: bool) -> Callable[[], object]:
    """An answer of a webhook or a chat service."""
    first = _ANSWER + (b"" if above else b"Content-Length: 65536\r\n") + b"\r\n"

    def read() -> str:
        with _flood(first, b"x" * 65_536, -1 if above else 1) as port:
            reply = HttpCaller(1).post(httpx.URL(f"http://127.0.0.1:{port}/"), seconds=30, content=b"{}")
            return f"{reply.status}, {len(reply.body)} bytes read, {'whole' if reply.is_whole else 'not whole'}"

    return read


def mail(above: bool) -> Callable[[], object]:
    """Answers of a mail server, line after line."""
    line = b"220-and so on\r\n"
    part = line * 1000 if above else line * 4000 + b"220 at last\r\n"

    def read() -> str:
        with _flood(b"", part, -1 if above else 1) as port:
            words: dict[str, Any] = {"smtp_host": "127.0.0.1", "smtp_port": port, "smtp_security": "none"}
            channel, to = Mail(Settings(smtp_from="a@b.example", **words)), Address("bob@b.example", {})
            (one,) = channel.render(Content("t"), to, has_picture=False)
            return str(channel.send(one, to, delivery=UUID(int=1), picture=None))

    return read


# Messages, entries and requests.


def message(above: bool) -> Callable[[], object]:
    """A message with ten thousand symbols, as long as it may be."""
    fields = {"event_type": "data_load_complete", "symbols": [f"S{n}" for n in range(10_000)], "x": ""}
    fields["x"] = "x" * (_MB + above - len(json.dumps(fields)))
    raw = json.dumps(fields).encode()
    parse_message(_SMALL)
    return lambda: type(parse_message(raw)).__name__


def message_depth(above: bool) -> Callable[[], object]:
    """A message of lists in lists."""
    levels = _MB // 2 if above else 31
    raw = b'{"event_type":' + b"[" * levels + b"]" * levels + b"}"
    parse_message(_SMALL)
    return lambda: type(parse_message(raw[:_MB])).__name__


def notification(above: bool) -> Callable[[], object]:
    """The data of a notification."""
    small: dict[str, Any] = {"user_id": "a", "type": "message", "dedup_key": "k"}
    large, now = small | {"data": {"x": "y" * (65_536 - 9 + above)}}, datetime.now(UTC)
    parse_notification(UUID(int=1), small | {"data": {}}, now)
    return lambda: type(parse_notification(UUID(int=1), large, now)).__name__


def entry(above: bool) -> Callable[[], object]:
    """An entry of a queue."""
    fields = [2, 1, 1, "noop", "A", "day", 1, 1, False, "r" * 1000, 0, 0]
    fields[9] = "r" * (1000 + 16_384 + above - len(msgpack.packb(fields)))
    packed = msgpack.packb(fields)
    return lambda: type(unpack_entry(packed, 16_384)).__name__


def api_body(above: bool) -> Callable[[], object]:
    """A body of a request to the API, as it is parsed: more is not read."""
    del above
    body = json.dumps({"job": "noop", "symbols": [f"S{n:06}" for n in range(95_000)]}).encode()
    return lambda: f"{len(read_body(body, RunRequestBody).symbols or ())} symbols of {len(body)} bytes"


def inbox(above: bool) -> Callable[[], object]:
    """Entries of an inbox: as long as a message may be, or 32 MB each."""
    messages = Messages(os.environ[_REDIS], "limits", "limits")
    payload = b"x" * (_HUGE if above else _MB)
    for _ in range(_HUGE_ENTRIES):
        messages._client.xadd(_STREAM, {"message": payload})
    del payload

    def read() -> str:
        count = largest = 0
        while entries := messages.read_inbox(DATA_LOAD_STREAM, "group", "one", 50):
            count, largest = count + len(entries), max(largest, *(size_of(each.message or b"") for each in entries))
            messages.finish_inbox(DATA_LOAD_STREAM, "group", [each.entry_id for each in entries])
        return f"{count} entries of up to {largest} bytes"

    return read


def inbox_plain(above: bool) -> Callable[[], object]:
    """The same by XREADGROUP, as it would be without the limit."""
    messages = Messages(os.environ[_REDIS], "limits", "limits")
    payload = b"x" * (_HUGE if above else _MB)
    for _ in range(_HUGE_ENTRIES):
        messages._client.xadd(_STREAM, {"message": payload})
    messages._client.xgroup_create(_STREAM, "group", id="0")
    del payload
    return lambda: f"{len(messages._client.xreadgroup('group', 'one', {_STREAM: '>'}, count=50))} stream"


def channel(above: bool) -> Callable[[], object]:
    """A message of a channel: Redis ends the connection of who would have to be sent more than 32 MB."""
    messages = Messages(os.environ[_REDIS], "limits", "limits")
    subscription = messages.subscribe("in")
    payload = "x" * ((40 if above else 24) * _MB)

    def read() -> str:
        messages.publish("in", payload)
        return f"{len(subscription.next_message(30) or b'')} bytes"

    return read


CASES = (
    Case("schedules: bytes", "SCHEDULES_MAX_BYTES", schedules_bytes),
    Case("schedules: values", "SCHEDULES_MAX_VALUES", schedules_values),
    Case("schedules: depth", "SCHEDULES_MAX_DEPTH", schedules_depth),
    Case("alerts", "ALERTS_MAX_BYTES", alerts_file),
    Case("alerts", f"ALERTS_MAX_BYTES={_ALERTS_MB * _MB}", alerts_file),
    Case("rule", "32,768 bytes", rule_file),
    Case("endless file", "ALERTS_MAX_BYTES", endless_file, (True,)),
    Case("universes", "UNIVERSES_MAX_MB", universes),
    Case("universes, packed", "UNIVERSES_MAX_MB", universes_packed),
    Case("bars: line", "IMPORT_MAX_LINE_BYTES", bars_line),
    Case("bars: columns", "IMPORT_MAX_COLUMNS", bars_columns),
    Case("bars: unpacked", f"IMPORT_MAX_UNPACKED_MB={_UNPACKED_MB}", bars_unpacked),
    Case("provider", "MASSIVE_MAX_BODY_MB", massive),
    Case("telegram", "CHANNEL_MAX_ANSWER_BYTES", telegram),
    Case("webhook", "CHANNEL_MAX_ANSWER_BYTES", webhook),
    Case("mail server", "CHANNEL_MAX_ANSWER_BYTES", mail),
    Case("message", "MESSAGE_MAX_BYTES", message),
    Case("message: depth", "MESSAGE_MAX_DEPTH", message_depth),
    Case("notification", "NOTIFICATION_MAX_BYTES", notification),
    Case("entry", "ENTRY_MAX_BYTES", entry),
    Case("request", "API_BODY_BYTES", api_body, (False,)),
    Case("inbox", "MESSAGE_MAX_BYTES", inbox),
    Case("inbox, by XREADGROUP", "none", inbox_plain),
    Case("channel", "32 MB of Redis", channel),
)


if __name__ == "__main__":
    main()
