"""The table `telegram_links`: for which user a person acts in a chat, and the endpoint of the user there."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from streamworkers.actor import Actor
from streamworkers.audit.record import AuditChange, record_change
from streamworkers.database import Connection, fetch_rows
from streamworkers.errors import BadInputError
from streamworkers.notifications.channels.channel import Address
from streamworkers.notifications.store import endpoints
from streamworkers.notifications.store.endpoints import Endpoint

CHANNEL = "telegram"
STOPPED = "stopped by /stop in its chat"
_TOPIC = "message_thread_id"
_FIND = "SELECT bot_id, telegram_user, chat_id, user_id AS user, scopes, created_at FROM telegram_links"
_ADD = """
INSERT INTO telegram_links (bot_id, telegram_user, chat_id, user_id, scopes) VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (bot_id, telegram_user, chat_id) DO UPDATE SET user_id = excluded.user_id, scopes = excluded.scopes,
    created_at = now()"""
_HERE = "bot_id = %s AND telegram_user = %s AND chat_id = %s"


@dataclass(frozen=True, slots=True)
class Place:
    """A person in a chat with one bot."""

    bot_id: int
    telegram_user: int
    chat_id: int

    @property
    def key(self) -> tuple[int, int, int]:
        """The columns by which tables know it."""
        return self.bot_id, self.telegram_user, self.chat_id


@dataclass(frozen=True, slots=True)
class Link:
    """A person in a chat acts for a user, with scopes beside the user's own alerts and messages."""

    bot_id: int
    telegram_user: int
    chat_id: int
    user: str
    scopes: Sequence[str]
    created_at: datetime

    @property
    def place(self) -> Place:
        """Whom and where it is about."""
        return Place(self.bot_id, self.telegram_user, self.chat_id)


def find_link(connection: Connection, place: Place) -> Link | None:
    """The link of a person in a chat, if there is one."""
    rows = fetch_rows(connection, f"{_FIND} WHERE {_HERE}", place.key)
    return Link(**rows[0]) if rows else None


def list_links(connection: Connection, user: str | None = None) -> list[Link]:
    """All links, or those of a user, by user and age."""
    statement = f"{_FIND} WHERE %(user)s::text IS NULL OR user_id = %(user)s ORDER BY user_id, created_at, chat_id"
    return [Link(**row) for row in fetch_rows(connection, statement, {"user": user})]


def add_link(connection: Connection, actor: Actor, place: Place, scopes: Sequence[str], topic: int | None) -> Link:
    """Link a person in a chat with the actor's user, who gets messages there from now on.

    A link of this person and chat with another user ends.
    """
    before = find_link(connection, place)
    if before is not None and before.user != actor.user:
        remove_link(connection, Actor(before.user, actor.kind), before)
    connection.execute(_ADD, (*place.key, actor.user, list(scopes)))
    settings = {} if topic is None else {_TOPIC: topic}
    endpoint = find_place(connection, actor.user, place.chat_id)
    if endpoint is None:
        endpoints.add_endpoint(connection, actor, CHANNEL, Address(str(place.chat_id), settings), is_proven=True)
    elif endpoint.off_at is not None:
        endpoints.switch_endpoint_on(connection, actor, endpoint.name)
    link = find_link(connection, place)
    assert link is not None
    _record(connection, actor, "add", link)
    return link


def remove_link(connection: Connection, actor: Actor, link: Link) -> None:
    """End a link; without another one of its user in the chat, the user's endpoint there is removed."""
    connection.execute(
        "DELETE FROM telegram_links WHERE bot_id = %s AND telegram_user = %s AND chat_id = %s", link.place.key
    )
    _record(connection, actor, "remove", link)
    others = fetch_rows(
        connection,
        f"{_FIND} WHERE bot_id = %s AND chat_id = %s AND user_id = %s",
        (link.bot_id, link.chat_id, link.user),
    )
    endpoint = find_place(connection, link.user, link.chat_id)
    if endpoint is not None and not others:
        endpoints.remove_endpoint(connection, actor, endpoint.name)


def find_place(connection: Connection, user: str, chat_id: int) -> Endpoint | None:
    """The endpoint of a user in a chat, if there is one."""
    found = endpoints.find_at_address(connection, CHANNEL, str(chat_id))
    return next((each for each in found if each.user == user), None)


def follow_topic(connection: Connection, link: Link, topic: int | None) -> None:
    """Let answers and messages go to the topic of the group in which the person writes."""
    endpoint, settings = require_endpoint(connection, link), {} if topic is None else {_TOPIC: topic}
    if dict(endpoint.settings) != settings:
        endpoints.set_endpoint_settings(connection, endpoint.id, settings)


def require_endpoint(connection: Connection, link: Link) -> Endpoint:
    """The endpoint by which a link is answered.

    One that was removed on the command line comes back, and one that Telegram closed is open: the person writes again.
    """
    endpoint, actor = find_place(connection, link.user, link.chat_id), Actor(link.user, "bot")
    if endpoint is None:
        return endpoints.add_endpoint(connection, actor, CHANNEL, Address(str(link.chat_id), {}), is_proven=True)
    if endpoint.off_at is not None and endpoint.off_reason != STOPPED:
        endpoints.switch_endpoint_on(connection, actor, endpoint.name)
    return endpoint


def stop_messages(connection: Connection, actor: Actor, link: Link) -> None:
    """Send the user's messages to this chat no more; answers are sent all the same."""
    endpoint = require_endpoint(connection, link)
    endpoints.switch_endpoint_off(connection, actor, endpoint.name, STOPPED)


def start_messages(connection: Connection, link: Link) -> None:
    """Send the user's messages to this chat again."""
    endpoint = require_endpoint(connection, link)
    if endpoint.off_at is not None:
        endpoints.switch_endpoint_on(connection, Actor(link.user, "bot"), endpoint.name)


def move_chat(connection: Connection, bot_id: int, chat_id: int, new_chat_id: int) -> None:
    """Let the links and endpoints of a group follow it to its new id."""
    for endpoint in endpoints.find_at_address(connection, CHANNEL, str(chat_id)):
        endpoints.move_endpoint(connection, endpoint.id, str(new_chat_id))
    connection.execute(
        "UPDATE telegram_links l SET chat_id = %(new)s WHERE bot_id = %(bot)s AND chat_id = %(old)s AND NOT EXISTS"
        " (SELECT FROM telegram_links o WHERE o.bot_id = l.bot_id AND o.telegram_user = l.telegram_user"
        " AND o.chat_id = %(new)s)",
        {"bot": bot_id, "old": chat_id, "new": new_chat_id},
    )
    connection.execute("DELETE FROM telegram_links WHERE bot_id = %s AND chat_id = %s", (bot_id, chat_id))


def require_link(connection: Connection, user: str, chat_id: int) -> Link:
    """The oldest link of a user in a chat. Raises BadInputError if there is none."""
    for link in list_links(connection, user):
        if link.chat_id == chat_id:
            return link
    raise BadInputError(f"user {user!r} has no link in chat {chat_id}: `streamworkers telegram links list` has all")


def _record(connection: Connection, actor: Actor, verb: str, link: Link) -> None:
    """Add a row about a link to the audit log, by its user: rows stay, and a forgotten person leaves no id in them."""
    scopes = {"scopes": list(link.scopes)}
    before, after = (None, scopes) if verb == "add" else (scopes, None)
    record_change(connection, actor, AuditChange(f"link.{verb}", "link", link.user, before, after))
