"""Rate limits that hold for the whole fleet: at most so many calls to a service in any window of time."""

from typing import NamedTuple

from streamworkers.engine.redis.client import RedisClient, translate_errors
from streamworkers.engine.redis.foreign import text_of

CLAIM_HOLDS_MS = 10_000


class Share(NamedTuple):
    """On whose behalf a call is asked for, while several wait for calls to the same service.

    Those who wait get calls in turn: a share of cost 1 gets ten times as many as one of cost 10. Equal names are one
    share. For one that has to wait, the call is held that becomes free then, for `holds_ms`; after that it is
    another's, so that the death of a process loses none.
    """

    name: str = ""
    cost: int = 1
    holds_ms: int = CLAIM_HOLDS_MS


NO_SHARE = Share()


class CallAnswer(NamedTuple):
    """The ms to wait, 0 if the call may be made now, and whether a call is held for who asks again then.

    `beside` are the other shares of the same cost that wait too.
    """

    wait_ms: int
    is_held: bool
    beside: tuple[str, ...] = ()


class RateLimiter:
    """Reserves calls in Redis. A call counts from its end, because only then is it certain when it arrived."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client
        self._keys = client.keys

    def reserve(
        self, service: str, token: str, limit: int, window_ms: int, longest_ms: int, *, share: Share = NO_SHARE
    ) -> int:
        """Reserve one of the `limit` calls of any window; 0 if it may be made now, else the ms to wait.

        `longest_ms` is how long a call counts whose end is never reported with `finish`.
        """
        return self.reserve_or_claim(service, token, limit, window_ms, longest_ms, share=share).wait_ms

    def reserve_or_claim(
        self, service: str, token: str, limit: int, window_ms: int, longest_ms: int, *, share: Share = NO_SHARE
    ) -> CallAnswer:
        """Do the same for one of very many who wait: one for whom no call is held need not ask again so soon."""
        words = ["reserve", token, limit, window_ms, longest_ms, *share]
        wait_ms, is_held, *beside = self._client.run("rate_limit", self._names(service), words)
        return CallAnswer(int(wait_ms), bool(is_held), tuple(sorted(name.decode() for name in beside)))

    def finish(self, service: str, token: str) -> None:
        """Report the end of a call: its window begins now."""
        self._client.run("rate_limit", self._names(service), ["finished", token])

    def count_calls(self) -> dict[str, int]:
        """Return how many calls count against the limit of each service that was called recently."""
        prefix_length = len(self._keys.rate_limit(""))
        with translate_errors():
            names = list(self._client.raw.scan_iter(match=self._keys.rate_limit("*"), count=1000))
            return {text_of(name)[prefix_length:]: self._client.raw.zcard(name) for name in names}

    def _names(self, service: str) -> list[str]:
        return [self._keys.rate_limit(service), self._keys.rate_claims(service), self._keys.rate_turns(service)]
