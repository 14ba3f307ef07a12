"""What a handler is given, what it says of each item, and the events that go with what it saved."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeAlias

from typing_extensions import TypeVar

from streamworkers.engine.redis.keys import NOTIFY_CHANNEL
from streamworkers.faults import clean_stack, clean_text

V = TypeVar("V", default=Any)


class Item(NamedTuple):
    """One unit of work: a symbol of a run, or a symbol in a timeframe.

    Of a job that is not about symbols, `symbol` is the part or the id; `key` is its name for any job.
    """

    run_id: int
    seq: int
    symbol: str
    timeframe: str | None
    attempt: int

    @property
    def key(self) -> str:
        """What identifies the item in its run: a symbol, a part or an id."""
        return self.symbol


class Completed(NamedTuple, Generic[V]):
    """The item is done. `value` goes to the job's `save`; `result`, a small JSON object, into the ledger."""

    item: Item
    value: V = None  # type: ignore[assignment]  # a job without values has V = None
    result: dict[str, Any] | None = None


class Failed(NamedTuple):
    """The item could not be done; it is retried unless `permanent` or out of attempts.

    `stack` shows where it failed; the pool fills it for an error that the handler raised. With `stops_run`, the error
    concerns all items: the run fails at once, and its open items are cancelled.
    """

    item: Item
    error: str
    permanent: bool = False
    stack: str | None = None
    stops_run: bool = False


class Snoozed(NamedTuple):
    """The item runs again at `until` (aware); this costs no attempt."""

    item: Item
    until: datetime


Outcome: TypeAlias = Completed[V] | Failed | Snoozed


def require_outcome(outcome: Outcome[V]) -> Outcome[V]:
    """Return the outcome, its texts without secrets.

    Raises TypeError for another type, a result that is not a dict, and a snooze until a time without a zone.
    """
    match outcome:
        case Completed(result=None | dict()):
            return outcome
        case Completed():
            raise TypeError(f"the result of {outcome.item.symbol} is {outcome.result!r:.200}, not a dict")
        case Failed():
            stack = None if outcome.stack is None else clean_stack(str(outcome.stack))
            return outcome._replace(error=clean_text(str(outcome.error)), stack=stack)
        case Snoozed() if outcome.until.tzinfo is not None:
            return outcome
        case Snoozed():
            raise TypeError(f"{outcome.item.symbol} is snoozed until {outcome.until}, which has no time zone")
    raise TypeError(f"{outcome!r:.500} is not Completed, Failed or Snoozed")


@dataclass(frozen=True, slots=True)
class Event:
    """A message for a Pub/Sub channel, published after the commit, at least once, with an `event_id` added."""

    channel: str
    payload: dict[str, Any] = field(default_factory=dict)


def make_notice(
    user: str,
    kind: str,
    dedup_key: str,
    data: Mapping[str, Any],
    *,
    priority: str = "normal",
    group: str | None = None,
    expires_at: datetime | None = None,
) -> Event:
    """The event that a notification of a user is made of, as in docs/reference/events.md. It checks nothing."""
    payload = {
        "user_id": user,
        "type": kind,
        "dedup_key": dedup_key,
        "priority": priority,
        "group_key": group,
        "data": dict(data),
        "expires_at": None if expires_at is None else expires_at.isoformat(),
    }
    return Event(NOTIFY_CHANNEL, payload)
