"""The tables `telegram_updates` and `telegram_offsets`: each update is handled once, in the order of their ids."""

from datetime import timedelta

from streamworkers.database import Connection, fetch_value

KEPT = timedelta(days=2)  # Telegram keeps updates for a day at most
_CLAIM = """
INSERT INTO telegram_updates (bot_id, update_id) VALUES (%s, %s) ON CONFLICT DO NOTHING RETURNING update_id"""
_MOVE = """
INSERT INTO telegram_offsets (bot_id, next_update_id) VALUES (%s, %s)
ON CONFLICT (bot_id) DO UPDATE
SET next_update_id = greatest(telegram_offsets.next_update_id, excluded.next_update_id)"""
_COUNT = """
SELECT count(*) FROM telegram_updates
WHERE user_id = %s AND handled_at > clock_timestamp() - make_interval(secs => %s)"""

_PRUNE = (
    "DELETE FROM telegram_updates WHERE handled_at < now() - %s",
    "DELETE FROM telegram_codes WHERE expires_at < now() - %s",
    "DELETE FROM telegram_tries WHERE greatest(tried_at, locked_until) < now() - %s",
    "DELETE FROM telegram_confirmations WHERE expires_at < now() - %s",
)


def claim_update(connection: Connection, bot_id: int, update_id: int) -> bool:
    """Take an update in the caller's transaction, and move the offset beyond it; False if it was handled before.

    Of two transactions with one update the second waits for the first.
    """
    claimed = fetch_value(connection, _CLAIM, (bot_id, update_id)) is not None
    connection.execute(_MOVE, (bot_id, update_id + 1))
    return claimed


def note_command(connection: Connection, bot_id: int, update_id: int, user: str) -> None:
    """Say whose command an update was."""
    statement = "UPDATE telegram_updates SET user_id = %s WHERE bot_id = %s AND update_id = %s"
    connection.execute(statement, (user, bot_id, update_id))


def count_commands(connection: Connection, user: str, seconds: float) -> int:
    """The commands of a user in the last seconds, this one included."""
    count: int = fetch_value(connection, _COUNT, (user, seconds))
    return count


def read_offset(connection: Connection, bot_id: int) -> int | None:
    """The first update that was not handled; None if the bot has handled none."""
    found: int | None = fetch_value(
        connection, "SELECT next_update_id FROM telegram_offsets WHERE bot_id = %s", (bot_id,)
    )
    return found


def prune_updates(connection: Connection) -> None:
    """Delete updates, codes, tries and confirmations that mean nothing any more."""
    for statement in _PRUNE:
        connection.execute(statement, (KEPT,))
