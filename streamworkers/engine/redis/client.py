"""How this package reaches Redis: one kind of client, the Lua scripts, and what its errors mean to callers."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import streamworkers.engine.redis.lean_import  # noqa: F401  # isort: skip  # before redis
import redis

from streamworkers.engine.redis.connections import SOCKET_SECONDS, TlsError, make_pool
from streamworkers.engine.redis.keys import MESSAGE_PREFIX, Keys
from streamworkers.engine.redis.replies import LongReplyError
from streamworkers.engine.redis.sentinel_url import SECURE_SENTINEL_SCHEME, SENTINEL_SCHEME
from streamworkers.engine.redis.sentinels import make_sentinel_pool
from streamworkers.errors import BadInputError, FaultKind, RedisUnavailableError, Store
from streamworkers.faults import word_fault

# What Redis 6.2 puts before the error of a command that a script called.
_SCRIPT_PREFIX = re.compile(r"^(ERR )?Error running script \(call to f_\w+\): (@user_script: ?\d+: )+-?")
_CODE = re.compile(r"^[A-Z]{2,}(?= )")
_CALLED = re.compile(r"""redis\.p?call\(\s*['"](\w+)['"]""")
# What answers mean by the word that they begin with; any other answer is a rejection.
_KINDS = {
    **dict.fromkeys(("LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "BUSY"), FaultKind.AWAY),
    **dict.fromkeys(("OOM", "MISCONF"), FaultKind.FULL),
}
# redis-py takes the word away from some answers, and gives their errors classes; its newest release keeps it beside.
_CODES_OF_CLASSES = {
    redis.exceptions.NoPermissionError: "NOPERM",
    redis.exceptions.AuthenticationError: "WRONGPASS",
    redis.exceptions.AuthorizationError: "NOAUTH",
    redis.exceptions.OutOfMemoryError: "OOM",
    redis.exceptions.ReadOnlyError: "READONLY",
    redis.exceptions.BusyLoadingError: "LOADING",
    redis.exceptions.MasterDownError: "MASTERDOWN",
}
_MOST_NAMED = 120
_TOO_MANY_CLIENTS = "max number of clients reached"  # the one answer of this kind without a word of its own
_RIGHT = "give the user of STREAMWORKERS_REDIS_URL the rights of docs/guides/operations.md#rights"
_LOGIN = "correct the user or the password in STREAMWORKERS_REDIS_URL"
_ADVICE = {
    "NOPERM": _RIGHT,
    "NOAUTH": _LOGIN,
    "WRONGPASS": _LOGIN,
    "WRONGTYPE": "another program has written this key: rename or delete it, or set STREAMWORKERS_KEY_PREFIX",
    "OOM": "raise `maxmemory`, or find out why the queues grow",
    "MISCONF": "free disk space for Redis, and read its log",
}
_LONG_REPLY = "another program has written entries or keys of that size"


class NoGroupError(Exception):
    """The stream or its group is gone, as after FLUSHALL."""


class NoKeyError(Exception):
    """The stream was never made."""


class RedisClient:
    """A connection pool, the key names under one prefix, and the scripts. Thread-safe; each process makes its own.

    No call waits longer than `seconds` for a connection, nor for an answer.
    """

    def __init__(
        self, url: str, prefix: str, message_prefix: str = MESSAGE_PREFIX, seconds: float = SOCKET_SECONDS
    ) -> None:
        self.keys = Keys(prefix, message_prefix)
        self.raw = open_client(url, seconds)
        # The reply of XREADGROUP is used as it comes: making dicts of it costs more than the call.
        self.raw.set_response_callback("XREADGROUP", lambda response, **_: response)
        self._scripts = {name: self.raw.register_script(read_script(*parts)) for name, parts in _SCRIPTS.items()}

    def run(self, script: str, keys: Sequence[str], words: Sequence[Any]) -> Any:
        """Run a script of `lua/` and return its answer."""
        with translate_errors(lambda: f"{script}.lua calls {_commands_of(script)} on {' '.join(keys)}"):
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
    "read": ("read",),
    "filled": ("filled",),
    "lanes": ("lanes",),
    "finish": ("finish",),
    "gather": ("gather",),
    "requeue_consumer": ("cut_entry", "requeue_entry", "requeue_consumer"),
    "reclaim": ("cut_entry", "requeue_entry", "reclaim"),
    "renew": ("renew",),
    "restart_leases": ("restart_leases",),
    "promote": ("cut_entry", "promote"),
    "scan_stream": ("cut_entry", "scan_stream"),
    "cut_delayed": ("cut_entry", "cut_delayed"),
    "scan_delayed": ("cut_entry", "scan_delayed"),
    "oldest": ("oldest",),
    "leave": ("leave",),
    "hold_lease": ("hold_lease",),
    "beat": ("beat",),
    "publish": ("publish",),
    "backlog": ("backlog",),
    "set_counts": ("set_counts",),
    "rate_limit": ("rate_limit",),
    "book": ("book",),
    "places": ("places",),
    "limit_requests": ("limit_requests",),
}


class _Client(redis.Redis):
    """A client that leaves a server which has become read-only: its address may lead to the new primary by now.

    Its denials name the command and its keys, which Redis may leave out.
    """

    def parse_response(self, connection: Any, command_name: Any, **options: Any) -> Any:
        try:
            return super().parse_response(connection, command_name, **options)  # type: ignore[no-untyped-call]
        except redis.ResponseError as error:
            if isinstance(error, redis.ReadOnlyError) or "READONLY" in str(error):
                connection.disconnect()
            raise

    def execute_command(self, *args: Any, **options: Any) -> Any:
        try:
            return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        except redis.exceptions.NoPermissionError as error:
            called = " ".join(word for word in args if isinstance(word, str))[:_MOST_NAMED]
            if called.startswith("EVAL"):  # `run` says more
                raise
            raise redis.exceptions.NoPermissionError(f"{error} ({called})") from None


def open_client(url: str, seconds: float = SOCKET_SECONDS) -> redis.Redis:
    """Return a thread-safe client, which connects when it is first used. Raises BadInputError for a malformed URL."""
    if url.startswith((SENTINEL_SCHEME, SECURE_SENTINEL_SCHEME)):
        return _Client.from_pool(make_sentinel_pool(url, seconds))
    try:
        return _Client.from_pool(make_pool(url, seconds))
    except ValueError:
        # The parser's message may quote a part of a password.
        raise BadInputError(
            "STREAMWORKERS_REDIS_URL is not a URL that begins with redis://, rediss://, unix://, redis+sentinel:// or"
            " rediss+sentinel://"
        ) from None


@cache
def read_script(*parts: str) -> str:
    """Return the text of a Lua script, joined from its files in `lua/`."""
    folder = Path(__file__).parent / "lua"
    return "\n".join((folder / f"{part}.lua").read_text(encoding="utf-8") for part in parts)


def _commands_of(script: str) -> str:
    """The commands that a script may call, which its user needs the right to."""
    return " ".join(sorted(set(_CALLED.findall(read_script(*_SCRIPTS[script])))))


@contextmanager
def translate_errors(explain: Callable[[], str] = str) -> Iterator[None]:
    """Turn the client's errors into RedisUnavailableError, or NoGroupError and NoKeyError where Redis answered so.

    `explain` says what was called, for a rejection that does not name it.
    """
    try:
        yield
    except redis.RedisError as error:
        text = _SCRIPT_PREFIX.sub("", str(error))
        if isinstance(error, redis.ResponseError):
            if "NOGROUP" in text or text.startswith("UNBLOCKED"):
                raise NoGroupError(text) from None
            if "no such key" in text:
                raise NoKeyError(text) from None
        raise _unavailable(error, text, explain) from error


def _unavailable(error: redis.RedisError, text: str, explain: Callable[[], str]) -> RedisUnavailableError:
    if isinstance(error, TlsError):
        return RedisUnavailableError(text, FaultKind.REJECTED)
    if isinstance(error, LongReplyError):
        return RedisUnavailableError(f"Redis is not read further: {text}: {_LONG_REPLY}", FaultKind.REJECTED)
    code = _code_of(error, text)
    if isinstance(error, redis.ResponseError) or code in _ADVICE:
        kind = _KINDS.get(code, FaultKind.REJECTED)
    else:
        kind = FaultKind.FULL if text == _TOO_MANY_CLIENTS else _KINDS.get(code, FaultKind.AWAY)
    advice = _ADVICE.get(code, "")
    if kind is FaultKind.REJECTED and (called := explain()):
        text, advice = f"{text} ({called})", advice or _RIGHT
    answer = text if not code or code in text.split() else f"{code} {text}"
    return RedisUnavailableError(word_fault(Store.REDIS, kind, answer, advice).text, kind)


def _code_of(error: redis.RedisError, text: str) -> str:
    """The word that Redis begins an answer with; '' if there was no answer."""
    if found := _CODE.match(text):
        return found[0]
    kept = getattr(error, "status_code", None) or ""
    if kept not in ("", "ERR"):
        return str(kept)
    return next((code for kind, code in _CODES_OF_CLASSES.items() if isinstance(error, kind)), str(kept))


def make_group(client: redis.Redis, stream: str, group: str) -> None:
    """Make a stream and its consumer group, at `0` so that earlier entries are delivered; keep what is there."""
    with translate_errors():
        try:
            client.xgroup_create(stream, group, id="0", mkstream=True)
        except redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
