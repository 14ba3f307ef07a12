"""Every Redis name, built here alone. `{queue}` is a hash tag: all keys of a queue share one cluster slot.

Where a function takes a `queue`, it is one of its lanes: the queue's name is its normal lane.
"""

from dataclasses import dataclass

from streamworkers.engine.redis.lanes import PRIORITIES, queue_of

GROUP = "workers"

# Names that other programs know, without our prefix. All begin with the same word, which a setting replaces.
MESSAGE_PREFIX = "tickstock"
DATA_LOAD_CHANNEL = "tickstock.jobs.data_load"
DATA_LOAD_STREAM = "tickstock.jobs.data_load.stream"  # STREAM: the same messages for those that must not be lost
DATA_LOAD_GROUP = "scheduler"
NOTIFICATIONS_CHANNEL = "tickstock.notifications"  # requests of other programs to notify a user
NOTIFICATIONS_STREAM = "tickstock.notifications.stream"  # STREAM: the same requests
DATA_LOAD_COMPLETE = "data_load_complete"  # the event on both
PATTERNS_CHANNEL = "tickstock.events.patterns"
ALERTS_CHANNEL = "tickstock.events.alerts"
MONITORING_CHANNEL = "tickstock:monitoring"
ERRORS_CHANNEL = "tickstock:errors"
NOTIFY_CHANNEL = "streamworkers:notify"  # what people are to be notified of


def job_status(job_id: str) -> str:
    """HASH with TTL: the progress of a job that another program asked for."""
    return f"tickstock.jobs.status:{job_id}"


@dataclass(frozen=True, slots=True)
class Keys:
    """The key names under one prefix."""

    prefix: str
    message_prefix: str = MESSAGE_PREFIX

    def message_name(self, name: str) -> str:
        """A channel or key that other programs know, as this installation calls it; other names stay."""
        return self.message_prefix + name[len(MESSAGE_PREFIX) :] if name.startswith(MESSAGE_PREFIX) else name

    def stream(self, queue: str) -> str:
        """STREAM: the entries of a queue, waiting and pending."""
        return self._of_lane(queue, "stream")

    def delayed(self, queue: str) -> str:
        """ZSET: entries that wait for their time, scored by Unix milliseconds."""
        return self._of_lane(queue, "delayed")

    def open_items(self, queue: str) -> str:
        """HASH: run id → open items. A hint when to ask the ledger, never an answer."""
        return self._of_lane(queue, "open")

    def paused(self, queue: str) -> str:
        """STRING with TTL: there while a queue is paused, as the ledger says."""
        return f"{self.prefix}:{{{queue_of(queue)}}}:paused"

    def read_lane(self, key: str) -> str:
        """Return the lane that a key of a queue belongs to."""
        queue, _, rest = key[len(self.prefix) + 2 :].rpartition("}")
        _, priority, *more = rest.split(":")
        return f"{queue}/{priority}" if more and priority in PRIORITIES else queue

    def _of_lane(self, lane: str, kind: str) -> str:
        """As `prefix:{analysis}:stream`, or `prefix:{analysis}:high:stream` of another lane than the normal one."""
        priority = lane[len(queue_of(lane)) + 1 :]
        return f"{self.prefix}:{{{queue_of(lane)}}}:{f'{priority}:{kind}' if priority else kind}"

    def installation(self) -> str:
        """STRING: the id of the database that the keys under the prefix belong to."""
        return f"{self.prefix}:installation"

    def supervisor(self, supervisor_id: str) -> str:
        """STRING with TTL: the heartbeat of a supervisor, JSON."""
        return f"{self.prefix}:supervisor:{supervisor_id}"

    def supervisors(self) -> str:
        """Pattern of all heartbeats, for SCAN."""
        return f"{self.prefix}:supervisor:*"

    def service_lease(self, service: str) -> str:
        """STRING with TTL: the process that runs a background service for the fleet."""
        return f"{self.prefix}:lease:{service}"

    def rate_limit(self, name: str) -> str:
        """ZSET: the calls that count against a rate limit, scored by Unix milliseconds."""
        return f"{self.prefix}:rate:{name}"

    def rate_claims(self, name: str) -> str:
        """ZSET: who waits for a call that counts against a rate limit, scored by when that lapses, in Unix ms."""
        return f"{self.prefix}:claims:{name}"

    def rate_turns(self, name: str) -> str:
        """HASH: the turn of the next call of each share of a rate limit."""
        return f"{self.prefix}:turns:{name}"

    def request_limit(self, name: str) -> str:
        """STRING with TTL: when a token or an address may make all its requests again, in Unix microseconds."""
        return f"{self.prefix}:limit:{name}"

    def slot_book(self, bucket: str) -> str:
        """ZSET with TTL: the booked calls of a bucket, scored by their times in Unix milliseconds."""
        return f"{self.prefix}:slots:{bucket}"

    def slot_hold(self, bucket: str) -> str:
        """STRING with TTL: until when a bucket allows no call, in Unix milliseconds."""
        return f"{self.prefix}:hold:{bucket}"

    def limit_places(self, bucket: str) -> str:
        """ZSET with TTL: who has a place of a job's limit, scored by until when at the latest, in Unix milliseconds."""
        return f"{self.prefix}:places:{bucket}"

    def limit_line(self, bucket: str) -> str:
        """ZSET with TTL: who waits for a job's limit, scored by when its item was enqueued, in Unix milliseconds."""
        return f"{self.prefix}:line:{bucket}"
