"""`/livez` and `/readyz`: they need no token, and no connection that requests need."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future

import msgspec

from streamworkers.api.call import JSON
from streamworkers.api.threads import DaemonThreads
from streamworkers.api.working import Outgoing

Check = Callable[[], list[str]]
Probe = Callable[[], Awaitable[Outgoing]]
_REUSED_SECONDS = 1.0


class Probes:
    """Answers probes. One check runs at a time, at most once a second, however many ask."""

    def __init__(self, check: Check, limit_seconds: float) -> None:
        self._check, self._limit = check, limit_seconds
        self._threads = DaemonThreads(1, "probe")
        self._running: Future[list[str]] | None = None
        self._began_at = 0.0
        self._answers: dict[tuple[str, str], Probe] = {
            (method, path): probe
            for path, probe in (("/livez", self._answer_live), ("/readyz", self._answer_ready))
            for method in ("GET", "HEAD")
        }

    def find(self, method: str, path: str) -> Probe | None:
        """Return what answers this request; None if it is no probe."""
        return self._answers.get((method, path))

    def close(self) -> None:
        """Let the thread of the check end."""
        self._threads.close()

    async def _answer_live(self) -> Outgoing:
        return _say(200, [])

    async def _answer_ready(self) -> Outgoing:
        running = self._running
        now = time.monotonic()
        if running is None or (running.done() and now - self._began_at > _REUSED_SECONDS):
            self._began_at = now
            running = self._running = self._threads.submit(self._check)
        left = max(0.0, self._began_at + self._limit - now)
        done, _ = await asyncio.wait([asyncio.wrap_future(running)], timeout=left)
        if not done:
            seconds = time.monotonic() - self._began_at
            return _say(503, [f"Redis or PostgreSQL has not answered for {seconds:.1f} s"])
        try:
            troubles = running.result()
        except Exception:  # noqa: BLE001  # what it says may hold a secret
            troubles = ["the check of Redis and PostgreSQL failed"]
        return _say(503 if troubles else 200, troubles)


def _say(status: int, troubles: list[str]) -> Outgoing:
    body = {"status": "ok" if status == 200 else "unavailable", "troubles": troubles}
    headers = {"Content-Type": JSON} | ({} if status == 200 else {"Retry-After": "1"})
    return Outgoing(status, headers, msgspec.json.encode(body))
