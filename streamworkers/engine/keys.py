"""Every Redis name, built here alone. `{queue}` is a hash tag: all keys of a queue share one cluster slot."""

from dataclasses import dataclass

GROUP = "workers"


@dataclass(frozen=True, slots=True)
class Keys:
    """The key names under one prefix."""

    prefix: str

    def stream(self, queue: str) -> str:
        """STREAM: the entries of a queue, waiting and pending."""
        return f"{self.prefix}:{{{queue}}}:stream"

    def delayed(self, queue: str) -> str:
        """ZSET: entries that wait for their time, scored by Unix milliseconds."""
        return f"{self.prefix}:{{{queue}}}:delayed"

    def open_items(self, queue: str) -> str:
        """HASH: run id → items still open. A hint that says when to ask the ledger, never an answer."""
        return f"{self.prefix}:{{{queue}}}:open"

    def worker(self, worker_id: str) -> str:
        """STRING with TTL: the heartbeat of a supervisor, JSON."""
        return f"{self.prefix}:worker:{worker_id}"

    def workers(self) -> str:
        """Pattern of all heartbeats, for SCAN."""
        return f"{self.prefix}:worker:*"

    def service_lease(self, service: str) -> str:
        """STRING with TTL: the supervisor that runs a background service for the fleet."""
        return f"{self.prefix}:lease:{service}"
