"""How this package reaches Redis: one kind of client, the Lua scripts, and what its errors mean to callers."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from streamworkers.engine.redis.keys import Keys
from streamworkers.errors import BadInputError, RedisUnavailableError

_SOCKET_SECONDS = 10.0
# What Redis 6.2 puts before the error of a command that a script called.
_SCRIPT_PREFIX = re.compile(r"^(ERR )?Error running script \(call to f_\w+\): (@user_script: ?\d+: )+-?")


class NoGroupError(Exception):
    """The stream or its group is gone, as after FLUSHALL."""


class NoKeyError(Exception):
    """The stream was never made."""


class RedisClient:
    """A connection pool, the key names under one prefix, and the scripts. Thread-safe; each process makes its own."""

    def __init__(self, url: str, prefix: str) -> None:
        self.keys = Keys(prefix)
        self.raw = open_client(url)
        # The reply of XREADGROUP is used as it comes: making dicts of it costs more than the call.
        self.raw.set_response_callback("XREADGROUP", lambda response, **_: response)
        self._scripts = {name: self.raw.register_script(read_script(*parts)) for name, parts in _SCRIPTS.items()}

    def run(self, script: str, keys: Sequence[str], words: Sequence[Any]) -> Any:
        """Run a script of `lua/` and return its answer."""
        with translate_errors():
            return self._scripts[script](keys=keys, args=words)

    def run_all(self, script: str, keys: Sequence[str], calls: Sequence[Sequence[Any]]) -> None:
        """Run a script of `lua/` several times, in one round trip."""
        with translate_errors():
            pipe = self.raw.pipeline(transaction=False)
            for words in calls:
                self._scripts[script](keys=keys, args=words, client=pipe)
            pipe.execute()

    def close(self) -> None:
        """Close all connections to Redis."""
        self.raw.close()


_SCRIPTS: dict[str, tuple[str, ...]] = {
    "add": ("add",),
    "finish": ("finish",),
    "requeue_consumer": ("requeue_entry", "requeue_consumer"),
    "reclaim": ("requeue_entry", "reclaim"),
    "renew": ("renew",),
    "restart_leases": ("restart_leases",),
    "promote": ("promote",),
    "leave": ("leave",),
    "hold_lease": ("hold_lease",),
    "rate_limit": ("rate_limit",),
}


def open_client(url: str) -> redis.Redis:
    """Return a thread-safe client, which connects when it is first used. Raises BadInputError for a malformed URL."""
    try:
        # No silent retries: a repeated XREADGROUP would lose the first one's entries from sight.
        return redis.Redis.from_url(
            url,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=_SOCKET_SECONDS,
            socket_connect_timeout=5.0,
            health_check_interval=0,
        )
    except ValueError:
        # The parser's message may quote a part of a password.
        raise BadInputError(
            "STREAMWORKERS_REDIS_URL is not a URL that begins with redis://, rediss:// or unix://"
        ) from None


@cache
def read_script(*parts: str) -> str:
    """Return the text of a Lua script, joined from its files in `lua/`."""
    folder = Path(__file__).parent / "lua"
    return "\n".join((folder / f"{part}.lua").read_text(encoding="utf-8") for part in parts)


@contextmanager
def translate_errors() -> Iterator[None]:
    """Turn the client's errors into RedisUnavailableError, or NoGroupError and NoKeyError where Redis answered so."""
    try:
        yield
    except redis.ResponseError as error:
        text = _SCRIPT_PREFIX.sub("", str(error))
        if "NOGROUP" in text or text.startswith("UNBLOCKED"):
            raise NoGroupError(text) from None
        if "no such key" in text:
            raise NoKeyError(text) from None
        raise RedisUnavailableError(f"Redis rejects: {text}") from error
    except redis.RedisError as error:
        raise RedisUnavailableError(f"Redis does not answer: {error}") from error


def make_group(client: redis.Redis, stream: str, group: str) -> None:
    """Make a stream and its consumer group, at `0` so that earlier entries are delivered; keep what is there."""
    with translate_errors():
        try:
            client.xgroup_create(stream, group, id="0", mkstream=True)
        except redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
