"""What the row of a delivery says of its item."""

from datetime import UTC, datetime, timedelta

from streamworkers.database import Connection
from streamworkers.engine.outcome import Completed, Failed, Item, Outcome, Snoozed
from streamworkers.notifications.store.sending import DeliveryRow, give_back

LONGEST_SNOOZE_SECONDS = 60.0
_CLAIMED_SECONDS = 30.0


def end_item(connection: Connection, item: Item, row: DeliveryRow | None, slot_seconds: float | None) -> Outcome:
    """Return the outcome of an item. A delivery that waits for long leaves the run: it is admitted again then."""
    if row is None:
        return Completed(item, None, {"gone": True})
    if row.run_id != item.run_id:
        return Completed(item, None, {"run": row.run_id})
    match row.state:
        case "sent":
            return Completed(item, None, {"sent": row.parts_sent})
        case "suppressed":
            return Completed(item, None, {"suppressed": row.reason})
        case "dead" | "ambiguous":
            return Failed(item, f"{row.state}: {row.reason}", permanent=True)
        case "sending":
            return Snoozed(item, _in(_CLAIMED_SECONDS))
    seconds = max(row.wait_seconds, slot_seconds or 0.0)
    if seconds <= LONGEST_SNOOZE_SECONDS:
        return Snoozed(item, _in(max(seconds, 0.0)))
    due = give_back(connection, row.id, item.run_id, seconds)
    return Completed(item, None, {"deferred": None if due is None else due.isoformat()})


def _in(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)
