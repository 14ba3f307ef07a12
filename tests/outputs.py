"""Everything that others can read of processes: logs, command lines and metrics, and the rows and keys they write."""

import base64
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence

import psutil

from harness import Service
from patience import patient
from streamworkers.database import Connection
from streamworkers.engine.redis.streams import Streams


def forms_of(secret: str) -> set[str]:
    """The secret as it is, percent-encoded, in hexadecimal digits, and in base64 wherever it may begin."""
    raw = secret.encode()
    forms = {secret, urllib.parse.quote(secret, safe=""), raw.hex()}
    for before in range(3):
        # Only the characters whose bits are all of the secret: the others depend on what stands beside it.
        text = base64.b64encode(bytes(before) + raw).decode()
        forms.add(text[(8 * before + 5) // 6 : 8 * (before + len(raw)) // 6])
    return forms


class Outputs:
    """What these processes show, and what is in the database and under the prefix of Redis."""

    def __init__(self, services: Sequence[Service], connection: Connection, streams: Streams) -> None:
        self._services, self._connection, self._streams = services, connection, streams

    def places_of(self, secret: str) -> set[str]:
        """The kinds of output in which the secret is, in whatever form."""
        forms = forms_of(secret)
        return {place for place, text in self._texts() if any(form in text for form in forms)}

    def _texts(self) -> Iterator[tuple[str, str]]:
        for service in self._services:
            yield "log", service.log.read_text(encoding="utf-8")
            own = psutil.Process(service.process.pid)
            for process in (own, *own.children(recursive=True)):
                yield "ps", _command_line(process)
            with urllib.request.urlopen(f"{service.metrics_url()}/metrics", timeout=patient(20)) as answer:
                yield "metrics", answer.read().decode()
        tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
        for (table,) in self._connection.execute(tables).fetchall():
            rows = self._connection.execute(f'SELECT t::text FROM "{table}" t'.encode()).fetchall()
            yield table, "\n".join(row for (row,) in rows)
        for prefix in (self._streams.keys.prefix, self._streams.keys.message_prefix):
            for key in self._streams.client.raw.scan_iter(match=f"{prefix}*"):
                yield "redis", f"{key!r} {self._read(key)!r}"

    def _read(self, key: bytes) -> object:
        raw = self._streams.client.raw
        match raw.type(key):
            case b"string":
                return raw.get(key)
            case b"hash":
                return raw.hgetall(key)
            case b"zset":
                return raw.zrange(key, 0, -1)
            case b"stream":
                return raw.xrange(key)
        return raw.dump(key)


def _command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
