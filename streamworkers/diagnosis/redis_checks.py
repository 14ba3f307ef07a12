"""Checks of the Redis server and of the keys under the prefix."""

from collections.abc import Iterator
from functools import partial

from streamworkers.diagnosis.clocks import find_clock_difference
from streamworkers.diagnosis.finding import Finding
from streamworkers.diagnosis.snapshot import Snapshot
from streamworkers.engine.host.readiness import find_redis_trouble
from streamworkers.engine.redis.foreign import text_of

_WHERE = "redis"


def find_unavailable(snapshot: Snapshot) -> Iterator[Finding]:
    """Redis does not answer or takes no writes."""
    if trouble := find_redis_trouble(snapshot.streams):
        yield Finding(_WHERE, trouble.text)


def find_failing_persistence(snapshot: Snapshot) -> Iterator[Finding]:
    """The append-only file cannot be written."""
    if snapshot.redis_state.get("aof_last_write_status", "ok") != "ok":
        yield Finding(_WHERE, "Redis cannot write its append-only file")


def find_little_memory(snapshot: Snapshot) -> Iterator[Finding]:
    """Memory is close to `maxmemory`."""
    limit = snapshot.redis_state.get("maxmemory") or 0
    share = snapshot.redis_state["used_memory"] / limit if limit else 0.0
    if share > snapshot.thresholds.memory_share:
        yield Finding(_WHERE, f"Redis uses {share:.0%} of its memory limit")


def find_eviction(snapshot: Snapshot) -> Iterator[Finding]:
    """A full Redis would evict keys instead of rejecting writes."""
    policy = str(snapshot.redis_state.get("maxmemory_policy"))
    if snapshot.redis_state.get("maxmemory") and policy != "noeviction":
        what = "heartbeats, leases and rate limits" if policy.startswith("volatile-") else "queues"
        evicted = snapshot.redis_state.get("evicted_keys") or 0
        so_far = f", and has evicted {evicted} keys since Redis started" if evicted else ""
        yield Finding(_WHERE, f"maxmemory-policy {policy} may evict {what}{so_far}: set noeviction")


def find_redis_clock(snapshot: Snapshot) -> Iterator[Finding]:
    """Redis' clock differs from that of this machine."""
    yield from find_clock_difference(_WHERE, snapshot.streams.inspector.read_clock_ms() / 1000, snapshot)


def find_leaked_keys(snapshot: Snapshot) -> Iterator[Finding]:
    """Keys under the prefix without a TTL that should have one."""
    streams = snapshot.streams
    renewed_by_owners = (streams.keys.supervisor("").encode(), streams.keys.service_lease("").encode())
    for key in streams.inspector.find_leaked_keys():
        fix = partial(streams.delete_lasting, key) if key.startswith(renewed_by_owners) else None
        yield Finding(f"key {text_of(key)}", "it never expires", fix)
