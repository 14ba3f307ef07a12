"""What a handler says of an item, and the events that go with what it saved."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, TypeAlias

from streamworkers.engine.redis.entry import Item


class Completed(NamedTuple):
    """The item is done. `value` goes to the job's `save`; `result`, a small JSON object, into the ledger."""

    item: Item
    value: Any = None
    result: dict[str, Any] | None = None


class Failed(NamedTuple):
    """The item could not be done; it is tried again unless `permanent` or out of attempts."""

    item: Item
    error: str
    permanent: bool = False


class Snoozed(NamedTuple):
    """The item shall run again at `until` (aware); that costs no attempt."""

    item: Item
    until: datetime


Outcome: TypeAlias = Completed | Failed | Snoozed


def printable(text: str) -> str:
    """Text that PostgreSQL can store: no NUL, no half of a surrogate pair."""
    return text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")


def checked(outcome: Outcome) -> Outcome:
    """The outcome, if it can be acted on. Raises TypeError for what is none, and for a moment without a zone."""
    match outcome:
        case Completed():
            return outcome
        case Failed():
            return outcome._replace(error=printable(str(outcome.error)))
        case Snoozed() if outcome.until.tzinfo is not None:
            return outcome
        case Snoozed():
            raise TypeError(f"{outcome.item.symbol} is snoozed until {outcome.until}, which has no time zone")
    raise TypeError(f"{outcome!r} is not Completed, Failed or Snoozed")


@dataclass(frozen=True, slots=True)
class Event:
    """A message for a Pub/Sub channel, published after the commit, at least once, with an `event_id` added."""

    channel: str
    payload: dict[str, Any] = field(default_factory=dict)
