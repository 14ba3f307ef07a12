"""How the modules that talk to Redis reach it: one kind of client, and what its errors mean to callers."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from streamworkers.errors import BadInputError, RedisUnavailableError

_SOCKET_SECONDS = 10.0
# What Redis 6.2 puts before the error of a command that a script called.
_SCRIPT_PREFIX = re.compile(r"^(ERR )?Error running script \(call to f_\w+\): (@user_script: ?\d+: )+-?")


class NoGroupError(Exception):
    """The stream or its group is gone, as after FLUSHALL."""


class NoKeyError(Exception):
    """The stream was never made."""


def open_client(url: str) -> redis.Redis:
    """A thread-safe client, which connects when it is first used. Raises BadInputError for what is no URL of Redis."""
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
        # What the parser says may quote a part of a password.
        raise BadInputError(
            "STREAMWORKERS_REDIS_URL is not a URL that begins with redis://, rediss:// or unix://"
        ) from None


@cache
def script_text(*parts: str) -> str:
    """The text of a Lua script, from the files in `lua/` that it consists of."""
    folder = Path(__file__).parent / "lua"
    return "\n".join((folder / f"{part}.lua").read_text(encoding="utf-8") for part in parts)


@contextmanager
def translated() -> Iterator[None]:
    """Turns errors of the client into RedisUnavailableError, or NoGroupError and NoKeyError where it answered so."""
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
