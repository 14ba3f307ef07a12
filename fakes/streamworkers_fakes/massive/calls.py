"""What was asked of the fake API, and how often it may be."""

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
    """One request as it was answered; written down before the answer is sent.

    `time` is in Unix seconds and `monotonic` in seconds of the machine's clock, both of the arrival. `path` includes
    the query, without keys. `status` is that of the answer, also where it was cut or never arrived.
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
    """All calls in memory (the newest million), and as JSON lines in a file when there is one; for any thread.

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
        """Write one down."""
        with self._lock:
            self._calls.append(call)
            self._write(msgspec.json.encode(call) + b"\n")

    def calls(self) -> list[Call]:
        """A copy of what is in memory, in the order in which calls were answered."""
        with self._lock:
            return list(self._calls)

    def clear(self) -> None:
        """Forget what is in memory; the file stays as it is."""
        with self._lock:
            self._calls.clear()

    def _write(self, line: bytes) -> None:
        if self._path is not None:
            with self._path.open("ab") as file:
                file.write(line)


def without_keys(text: str, keys: Iterable[str]) -> str:
    """A path with query in which keys, and whatever `apiKey` says, are replaced by `***`."""
    text = _KEY_IN_QUERY.sub(r"\1***", text)
    for key in keys:
        text = text.replace(key, "***").replace(quote(key, safe=""), "***")
    return text


class SlidingWindow:
    """Lets at most `most` calls through in any `seconds`; those it rejects do not count.

    Raises BadInputError below 1 call or for no time.
    """

    def __init__(self, most: int, seconds: float = 60.0) -> None:
        if most < 1 or not seconds > 0:
            raise BadInputError(f"a limit of {most} calls in {seconds:g} s must be at least 1 in more than 0 s")
        self._most, self._seconds = most, seconds
        self._lock = threading.Lock()
        self._taken: deque[float] = deque()

    def wait_seconds(self, now: float) -> float:
        """0.0 when a call at `now` (monotonic seconds) may pass, which then counts; else how long to wait for that."""
        with self._lock:
            while self._taken and self._taken[0] <= now - self._seconds:
                self._taken.popleft()
            if len(self._taken) < self._most:
                self._taken.append(now)
                return 0.0
            return max(self._taken[0] + self._seconds - now, 1e-9)
