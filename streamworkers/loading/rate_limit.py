"""Reserves calls to a provider against the fleet-wide rate limit in Redis, and counts them for metrics."""

import secrets
import threading
from datetime import UTC, datetime, timedelta

from streamworkers.config import Settings
from streamworkers.engine.job import Context
from streamworkers.engine.redis.rate_limiter import Share
from streamworkers.loading.parameters import LoadParameters
from streamworkers.loading.providers.provider import Calls, Provider, RateLimitedError
from streamworkers.loading.purpose import current_purpose
from streamworkers.loading.turn import SHARE_OF_RUN

CALL_WINDOW_MS = 60_000


def limit_calls(provider: Provider, context: Context[LoadParameters], settings: Settings) -> Calls:
    """Return the calls of one batch; `reserve` raises RateLimitedError if the fleet may not make another call now."""
    limiter, limit, tallies = context.rate_limiter, provider.calls_per_minute, context.tallies
    # A call whose end is never recorded, because its worker was killed, counts for this long.
    longest_ms = round(settings.massive_timeout_seconds * 10_000)
    given = context.parameters
    share = Share(given.calls_share or f"{SHARE_OF_RUN}{context.run_id}", given.calls_cost)
    lock = threading.Lock()

    def reserve() -> str:
        if not limit:
            return ""
        token = secrets.token_hex(8)
        answer = limiter.reserve_or_claim(provider.name, token, limit, CALL_WINDOW_MS, longest_ms, share=share)
        if answer.wait_ms:
            with lock:
                tallies["provider_waits", provider.name] += 1
            until = datetime.now(UTC) + timedelta(milliseconds=answer.wait_ms)
            raise RateLimitedError(
                f"the fleet has made its {limit} calls of this minute", until, answer.is_held, answer.beside
            )
        return token

    def finish(token: str) -> None:
        if token:
            limiter.finish(provider.name, token)

    def count(answer: str) -> None:
        with lock:
            tallies["provider_calls", provider.name, answer, current_purpose()] += 1

    return Calls(reserve, finish, count)
