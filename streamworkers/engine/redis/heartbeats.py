"""Heartbeats: a key with a TTL for each supervisor, in JSON. `Inspector.read_heartbeats` reads them."""

import msgspec

from streamworkers.engine.redis.client import RedisClient, translate_errors


class FaultStatus(msgspec.Struct, frozen=True):
    """A fault that keeps a loop or a worker from working now; `since` is in Unix seconds."""

    who: str = ""
    store: str = ""
    kind: str = ""
    text: str = ""
    since: float = 0.0


class UndecidedItem(msgspec.Struct, frozen=True):
    """An item that a worker has executed several times without a decision, with the newest error."""

    queue: str = ""
    job: str = ""
    run_id: int = 0
    seq: int = 0
    symbol: str = ""
    times: int = 0
    error: str = ""


class CallStatus(msgspec.Struct, frozen=True):
    """A call of a handler that runs: with how many entries of a queue, the first and the last of them by their ids.

    `since` is in Unix seconds, by the supervisor's clock. While parameters are validated, `job` is ''.
    """

    queue: str = ""
    job: str = ""
    count: int = 0
    first: str = ""
    last: str = ""
    since: float = 0.0
    timeout_seconds: float = 0.0


class WorkerStatus(msgspec.Struct, frozen=True):
    """A worker process in its supervisor's heartbeat; `hold` is what it waits for, if it does.

    A worker that `is_stopping` finishes its batch and ends.
    """

    consumer: str = ""
    pid: int = 0
    queues: list[str] = []
    busy: bool = False
    hold: FaultStatus | None = None
    undecided: list[UndecidedItem] = []
    is_ready: bool = False
    is_stopping: bool = False
    call: CallStatus | None = None


class SupervisorStatus(msgspec.Struct, frozen=True):
    """A heartbeat. Every field has a default, so that releases can add some.

    `faults` are those of its own loops, `scrape_faults` those of its newest scrape. The loops in `failing` keep failing
    by an error of their own. `queues` are those that its workers read; while it is drained, `drained_queues` are those
    that they would. `written_at` is in Unix seconds, by its own clock, `written_ms` in Unix milliseconds, by Redis'.
    """

    host: str = ""
    pid: int = 0
    queues: list[str] = []
    metrics_port: int | None = None
    workers: list[WorkerStatus] = []
    faults: list[FaultStatus] = []
    scrape_faults: list[FaultStatus] = []
    failing: list[FaultStatus] = []
    drained_queues: list[str] = []
    state: str = ""
    written_at: float = 0.0
    written_ms: int = 0

    def began_at(self, call: CallStatus) -> float:
        """Return when a call of one of its workers began, in Unix seconds by Redis' clock."""
        return self.written_ms / 1000 - max(0.0, self.written_at - call.since)


_decoder = msgspec.json.Decoder(SupervisorStatus)


def encode_heartbeat(status: SupervisorStatus) -> bytes:
    """Return the heartbeat as JSON."""
    return msgspec.json.encode(status)


def decode_heartbeat(payload: bytes) -> SupervisorStatus:
    """Return the heartbeat in a payload; if it is malformed, one that reads no queue."""
    try:
        return _decoder.decode(payload)
    except msgspec.DecodeError:
        return SupervisorStatus()


class Heartbeats:
    """Writes the heartbeat of a supervisor."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client
        self._keys = client.keys

    def beat(self, supervisor_id: str, status: SupervisorStatus, ttl_ms: int) -> None:
        """Write the heartbeat; it expires after `ttl_ms`."""
        self._client.run("beat", [self._keys.supervisor(supervisor_id)], [encode_heartbeat(status), ttl_ms])

    def shorten(self, longest_ms: int) -> None:
        """Let heartbeats from before the clock was set back, which would last longer, expire after `longest_ms`."""
        with translate_errors():
            for name in self._client.raw.scan_iter(match=self._keys.supervisors(), count=1000):
                if self._client.raw.pttl(name) > longest_ms:
                    self._client.raw.pexpire(name, longest_ms)

    def end(self, supervisor_id: str) -> None:
        """Delete the heartbeat of a supervisor that stops."""
        with translate_errors():
            self._client.raw.delete(self._keys.supervisor(supervisor_id))
