"""The log of calls to the fake API, and its rate limit."""

import re
import threading
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

import msgspec

from streamworkers.errors import BadInputError

_MOST_CALLS = 1_000_000
_KEY_IN_QUERY = re.compile(r"(apikey=)[^&#]*", re.IGNORECASE)


class Call(msgspec.Struct, frozen=True):
    """One answered request; logged before the answer is sent.

    `time` is in Unix seconds and `monotonic` in seconds of the machine's clock, both of the arrival. `path` includes
    the query, without keys. `status` is that of the answer, even if it was cut or never arrived.
    """

    time: float
    monotonic: float
    method: str
    path: str
    status: int
    misbehaviour: str | None
    ticker: str | None
    has_authorization: bool


class CallLog:
    """The newest million calls in memory, and all as JSON lines in a file if one is given. Thread-safe.

    Raises BadInputError where the file cannot be written.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._lock = threading.Lock()
        self._calls: deque[Call] = deque(maxlen=_MOST_CALLS)
        self._path = path
        try:
            self._write(b"")
        except OSError as error:
            raise BadInputError(f"log {str(path)!r} cannot be written: {error.strerror}") from error

    def add(self, call: Call) -> None:
        """Logs a call."""
        with self._lock:
            self._calls.append(call)
            self._write(msgspec.json.encode(call) + b"\n")

    def calls(self) -> list[Call]:
        """Return a copy of the calls in memory, in the order in which they were answered."""
        with self._lock:
            return list(self._calls)

    def clear(self) -> None:
        """Clear the calls in memory; the file is not changed."""
        with self._lock:
            self._calls.clear()

    def _write(self, line: bytes) -> None:
        if self._path is not None:
            with self._path.open("ab") as file:
                file.write(line)


def without_keys(text: str, keys: Iterable[str]) -> str:
    """Return a path with query in which keys, and any value of `apiKey`, are replaced by `***`."""
    text = _KEY_IN_QUERY.sub(r"\1***", text)
    for key in keys:
        text = text.replace(key, "***").replace(quote(key, safe=""), "***")
    return text


class SlidingWindow:
    """Allows at most `most` calls in any `seconds`; rejected calls do not count.

    Raises BadInputError below 1 call or for no time.
    """

    def __init__(self, most: int, seconds: float = 60.0) -> None:
        if most < 1 or not seconds > 0:
            raise BadInputError(f"a limit of {most} calls in {seconds:g} s must be at least 1 in more than 0 s")
        self._most, self._seconds = most, seconds
        self._lock = threading.Lock()
        self._taken: deque[float] = deque()

    def wait_seconds(self, now: float) -> float:
        """Return 0.0 and counts a call at `now` (monotonic seconds) if it is allowed, else the seconds to wait."""
        with self._lock:
            while self._taken and self._taken[0] <= now - self._seconds:
                self._taken.popleft()
            if len(self._taken) < self._most:
                self._taken.append(now)
                return 0.0
            return max(self._taken[0] + self._seconds - now, 1e-9)
