"""Forgetting a chat: what is stored about it goes, and a pseudonym stays."""

import hashlib
import hmac

from streamworkers.actor import Actor
from streamworkers.database import Connection, fetch_value
from streamworkers.notifications.store.answers import erase_bodies
from streamworkers.notifications.store.endpoints import list_endpoints
from streamworkers.notifications.store.preferences import read_preferences, remove_preference, set_quiet_hours
from streamworkers.telegram.store.links import CHANNEL, Link, find_place, remove_link

_ERASE = (
    "DELETE FROM telegram_tries WHERE bot_id = %s AND telegram_user = %s AND chat_id = %s",
    "DELETE FROM telegram_confirmations WHERE bot_id = %s AND telegram_user = %s AND chat_id = %s",
)


def forget_chat(connection: Connection, actor: Actor, link: Link) -> None:
    """Delete link, endpoint, bodies, tries and confirmations; with the user's last chat, preferences as well.

    Who forgot what stays as a pseudonym of the chat, which only the key of this installation gives.
    """
    endpoint = find_place(connection, link.user, link.chat_id)
    if endpoint is not None:
        erase_bodies(connection, endpoint.id)
    remove_link(connection, actor, link)
    for statement in _ERASE:
        connection.execute(statement, link.place.key)
    left = list_endpoints(connection, link.user)
    if all(each.channel != CHANNEL for each in left):
        for preference in read_preferences(connection, [link.user]).get(link.user, []):
            if preference.channel == CHANNEL:
                remove_preference(connection, actor, preference.type, CHANNEL)
    if not left:
        set_quiet_hours(connection, actor, None)
    connection.execute(
        "INSERT INTO telegram_forgotten (pseudonym, user_id) VALUES (%s, %s)",
        (_pseudonym(connection, link.bot_id, link.chat_id), link.user),
    )


def _pseudonym(connection: Connection, bot_id: int, chat_id: int) -> bytes:
    key: bytes = fetch_value(connection, "SELECT key FROM telegram_key")
    return hmac.digest(bytes(key), f"{bot_id}:{chat_id}".encode(), hashlib.sha256)
