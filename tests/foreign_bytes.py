"""Junk that another program writes under our keys."""

from streamworkers.engine.redis.streams import Streams


def leave_junk(streams: Streams) -> None:
    """A key of each kind whose name is no text, and counts that are none."""
    raw, prefix = streams.client.raw, streams.keys.prefix.encode()
    for name in (
        b"supervisor:\xff\xfe",
        b"rate:\xff\xfe",
        b"lease:\xff\xfe",
        b"whatever:\xff\xfe",
        b"{\xff\xfe}:stream",
    ):
        raw.set(prefix + b":" + name, "x")
    raw.hset(streams.keys.open_items("tests"), mapping={b"abc": b"def", b"\xff": b"1", b"77": b"many"})
