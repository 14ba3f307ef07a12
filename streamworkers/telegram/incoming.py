"""The updates of the Bot API, and what of them the bot takes: messages and pressed buttons of people, nothing else."""

from dataclasses import dataclass
from typing import Any

import msgspec

ALLOWED_UPDATES = ("message", "callback_query")
_GROUPS = ("group", "supergroup")


class _Person(msgspec.Struct):
    id: int
    is_bot: bool = False


class _Chat(msgspec.Struct):
    id: int
    type: str


class _Message(msgspec.Struct):
    chat: _Chat
    date: int = 0
    sender: _Person | None = msgspec.field(default=None, name="from")
    text: str | None = None
    message_thread_id: int | None = None
    is_topic_message: bool = False
    migrate_to_chat_id: int | None = None
    # Each of these means that somebody else wrote it, or nobody says who.
    forward_origin: Any = None
    forward_date: Any = None
    via_bot: Any = None
    sender_chat: Any = None


class _Press(msgspec.Struct):
    id: str
    sender: _Person = msgspec.field(name="from")
    message: _Message | None = None
    data: str | None = None


class _Update(msgspec.Struct):
    update_id: int
    message: _Message | None = None
    callback_query: _Press | None = None


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message or a pressed button: who, where and what. `sent_at` are Unix seconds, None for a button.

    `press` is the id by which the press is answered. `topic` is the thread of a group with topics.
    """

    telegram_user: int
    chat_id: int
    is_group: bool
    text: str
    sent_at: int | None = None
    press: str | None = None
    topic: int | None = None


@dataclass(frozen=True, slots=True)
class MovedChat:
    """A group that has become a supergroup, with another id."""

    chat_id: int
    new_chat_id: int


def read_update(update: object) -> Incoming | MovedChat | None:
    """What an update asks for; None for one that is ignored.

    Ignored are forwarded, edited, anonymous and bots' messages, those of channels, and what cannot be read.
    """
    try:
        found = msgspec.convert(update, _Update)
    except msgspec.ValidationError:
        return None
    if found.message is not None:
        return _read_message(found.message)
    return None if found.callback_query is None else _read_press(found.callback_query)


def _read_message(message: _Message) -> Incoming | MovedChat | None:
    if message.migrate_to_chat_id is not None:
        return MovedChat(message.chat.id, message.migrate_to_chat_id)
    hidden = (message.forward_origin, message.forward_date, message.via_bot, message.sender_chat)
    sender = message.sender
    if sender is None or sender.is_bot or message.text is None or any(each is not None for each in hidden):
        return None
    if message.chat.type != "private" and message.chat.type not in _GROUPS:
        return None
    return Incoming(
        telegram_user=sender.id,
        chat_id=message.chat.id,
        is_group=message.chat.type in _GROUPS,
        text=message.text,
        sent_at=message.date,
        topic=message.message_thread_id if message.is_topic_message else None,
    )


def _read_press(press: _Press) -> Incoming | None:
    message = press.message
    if message is None or press.sender.is_bot or press.data is None:
        return None
    if message.chat.type != "private" and message.chat.type not in _GROUPS:
        return None
    return Incoming(
        telegram_user=press.sender.id,
        chat_id=message.chat.id,
        is_group=message.chat.type in _GROUPS,
        text=press.data,
        press=press.id,
        topic=message.message_thread_id if message.is_topic_message else None,
    )
