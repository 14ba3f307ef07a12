"""The table `process_orders`: what people order supervisors to do, what came of it, and what is in force."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from streamworkers.database import Connection, fetch_value

ORDERED_NOTIFY = "streamworkers_ordered"  # PostgreSQL's channel
OrderAction = Literal["drain", "resume", "stop", "resize"]
OrderOutcome = Literal["done", "replaced", "rejected", "gone"]
MOST_REASON = 500
MOST_PROCESSES = 256

_LOCK = "SELECT kind FROM processes WHERE id = %s FOR NO KEY UPDATE"
# A size and a mode, which is any other action, are in force beside each other.
_REPLACE = """
    UPDATE process_orders SET done_at = clock_timestamp(), outcome = 'replaced'
    WHERE process = %s AND done_at IS NULL AND (action = 'resize') = (%s = 'resize')
"""
_INSERT = """
    INSERT INTO process_orders (process, action, processes, ordered_by, reason) VALUES (%s, %s, %s, %s, %s)
    RETURNING id
"""
_SELECT = """
    SELECT id, process, action, processes, ordered_by, reason, at, taken_at, done_at, outcome, message
    FROM process_orders
"""
_OPEN = f"{_SELECT} WHERE process = %s AND done_at IS NULL ORDER BY id"
_BY_ID = f"{_SELECT} WHERE id = ANY(%s) ORDER BY id"
_OF_PROCESS = f"{_SELECT} WHERE process = %s ORDER BY id DESC LIMIT %s"
_TAKE = "UPDATE process_orders SET taken_at = clock_timestamp() WHERE id = ANY(%s) AND taken_at IS NULL"
_CLOSE = """
    UPDATE process_orders SET done_at = clock_timestamp(), outcome = %s, message = %s
    WHERE id = %s AND done_at IS NULL
"""
_END = """
    UPDATE process_orders SET done_at = clock_timestamp(), outcome = CASE action WHEN 'stop' THEN 'done' ELSE 'gone' END
    WHERE process = %s AND done_at IS NULL
"""


@dataclass(frozen=True, slots=True)
class ProcessOrder:
    """An order to one supervisor; `processes` is the number that a `resize` asks for.

    `taken_at` is when the supervisor had read it, `done_at` when it was closed, with its `outcome`.
    """

    id: int
    process: str
    action: OrderAction
    processes: int | None
    ordered_by: str
    reason: str | None
    at: datetime
    taken_at: datetime | None
    done_at: datetime | None
    outcome: OrderOutcome | None
    message: str | None


def place_order(
    connection: Connection,
    process: str,
    action: OrderAction,
    processes: int | None,
    ordered_by: str,
    reason: str | None,
) -> int | None:
    """Add an order for a process, which replaces an open one of its kind; returns its id, or None if it is gone.

    The lock on the process's row gives orders that are placed at once an order, and keeps the row until the commit.
    """
    with connection.transaction():
        if connection.execute(_LOCK, (process,)).fetchone() is None:
            return None
        connection.execute(_REPLACE, (process, action))
        order_id: int = fetch_value(connection, _INSERT, (process, action, processes, ordered_by, reason))
        connection.execute("SELECT pg_notify(%s, %s)", (ORDERED_NOTIFY, process))
    return order_id


def read_open_orders(connection: Connection, process: str) -> list[ProcessOrder]:
    """Return the open orders for a process, the oldest first: at most one mode and one size."""
    return [ProcessOrder(*row) for row in connection.execute(_OPEN, (process,))]


def read_orders(connection: Connection, ids: Sequence[int]) -> list[ProcessOrder]:
    """Return the orders with these ids, closed ones too."""
    return [ProcessOrder(*row) for row in connection.execute(_BY_ID, (list(ids),))]


def list_orders(connection: Connection, process: str, limit: int) -> list[ProcessOrder]:
    """Return the newest orders for a process, the newest first, also of one that is gone."""
    return [ProcessOrder(*row) for row in connection.execute(_OF_PROCESS, (process, limit))]


def take_orders(connection: Connection, ids: Sequence[int]) -> None:
    """Record that their process has read these orders."""
    connection.execute(_TAKE, (list(ids),))


def close_order(connection: Connection, order_id: int, outcome: OrderOutcome, message: str | None = None) -> None:
    """Close an order, unless it was closed meanwhile."""
    connection.execute(_CLOSE, (outcome, message, order_id))


def end_orders(connection: Connection, process: str) -> None:
    """Close the orders for a process that ends in order: it has done a stop, and does no other."""
    connection.execute(_END, (process,))
