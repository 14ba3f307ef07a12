"""Messages of a Telegram bot, in HTML."""

import re
import threading
import time
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, ClassVar
from uuid import UUID

from streamworkers.config import Settings
from streamworkers.errors import BadInputError, UsageError
from streamworkers.notifications.channels.channel import Address, Limit, MessageChannel, NotSentError
from streamworkers.notifications.channels.http import AnswerBound
from streamworkers.notifications.channels.telegram_api import RejectedCallError, TelegramApi, bot_number
from streamworkers.notifications.channels.text import Lengths, Piece, utf16_width, write_pieces
from streamworkers.notifications.content import Content, Part, Picture

MOST_TEXT = 4096  # UTF-16 units, after tags and entities are read
MOST_CAPTION = 1024
_MOST_PARTS = 10
_CHAT = re.compile(r"-?[1-9]\d{0,18}|@[A-Za-z][A-Za-z0-9_]{3,31}")
_NO_BOT = "no bot: STREAMWORKERS_TELEGRAM_TOKEN is not set"
_TOPIC = "message_thread_id"
# Answers with 400 after which this chat can get nothing any more.
_GONE = ("chat not found", "group chat was deactivated", "user is deactivated", "peer_id_invalid")
_BAD_PICTURE = ("photo", "image", "wrong file", "file is too big")
_SHARED_HOLDS = 3  # so many chats that are held at once mean that the bot is


class Telegram(MessageChannel):
    """Messages to a chat: its number or @name, and with `message_thread_id` to a topic of it."""

    name: ClassVar[str] = "telegram"
    takes_pictures: ClassVar[bool] = True

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._lock = threading.Lock()
        self._api: TelegramApi | None = None
        self._held: dict[str, float] = {}

    def check_address(self, address: str, options: Mapping[str, Any]) -> Address:
        """Return a chat in its canonical form."""
        chat = address.strip()
        if not _CHAT.fullmatch(chat):
            raise BadInputError(f"{address!r} is not a chat of Telegram, as 123456789, -1001234567890 or @channel")
        unknown = sorted(set(options) - {_TOPIC})
        if unknown:
            raise BadInputError(f"the channel telegram has no setting {unknown[0]!r}; it has {_TOPIC}")
        topic = options.get(_TOPIC)
        if topic is not None and (not isinstance(topic, int) or isinstance(topic, bool) or topic < 1):
            raise BadInputError(f"{_TOPIC} {topic!r} is not the number of a topic")
        return Address(chat.lower() if chat.startswith("@") else chat, {} if topic is None else {_TOPIC: topic})

    def limits(self, address: Address) -> Sequence[Limit]:
        """Return those that Telegram names: 30/s for the bot, 1/s for a chat, 20/min for a group."""
        limits = [Limit(self._bot_bucket(), 30, 1.0), Limit(_chat_bucket(address), 1, 1.0)]
        if address.address.startswith(("-", "@")):
            limits.append(Limit(f"telegram:group:{address.address}", 20, 60.0))
        return limits

    def render(self, content: Content, address: Address, *, has_picture: bool) -> list[Part]:
        """Return messages in HTML; a picture carries the beginning of the text as its caption."""
        del address
        first = MOST_CAPTION if has_picture else MOST_TEXT
        pieces = write_pieces(content, Lengths(first, MOST_TEXT, _MOST_PARTS, utf16_width))
        parts: list[Part] = [
            {"html": _html(piece), "photo": has_picture and not place} for place, piece in enumerate(pieces)
        ]
        if parts and content.buttons:
            row = [{"text": button.text, "callback_data": button.data} for button in content.buttons]
            parts[-1]["buttons"] = [row]
        return parts

    def send(self, part: Part, address: Address, *, delivery: UUID, picture: Picture | None) -> str | None:
        """Send one part, as a photo if there is a picture for it. A photo that is rejected becomes a text."""
        del delivery
        photo = picture.data if picture is not None and part.get("photo") else None
        try:
            return self._send(part, address, photo)
        except RejectedCallError as error:
            if (
                photo is None
                or error.code != 400
                or not any(word in error.description.lower() for word in _BAD_PICTURE)
            ):
                raise self._not_sent(error, address) from None
        try:
            return self._send(part, address, None)
        except RejectedCallError as error:
            raise self._not_sent(error, address) from None

    def close(self) -> None:
        """Close the connections to Telegram."""
        if self._api is not None:
            self._api.close()

    def find_missing_setting(self, address: Address) -> str | None:
        """The token of the bot, if it is not set."""
        del address
        return _NO_BOT if self.settings.telegram_token is None else None

    def _send(self, part: Part, address: Address, photo: bytes | None) -> str | None:
        parameters = {
            "chat_id": address.address,
            _TOPIC: address.settings.get(_TOPIC),
            "parse_mode": "HTML",
            "reply_markup": {"inline_keyboard": part["buttons"]} if part.get("buttons") else None,
        }
        if photo is None:
            parameters |= {"text": part["html"], "link_preview_options": {"is_disabled": True}}
            result = self._open_api().call("sendMessage", parameters)
        else:
            result = self._open_api().call("sendPhoto", parameters | {"caption": part["html"]}, photo=photo)
        identifier = result.get("message_id") if isinstance(result, dict) else None
        return None if identifier is None else str(identifier)

    def _open_api(self) -> TelegramApi:
        token = self.settings.telegram_token
        if token is None:
            raise NotSentError(_NO_BOT, permanent=True)
        with self._lock:
            if self._api is None:
                try:
                    self._api = TelegramApi(token, self.settings.telegram_url, bound=AnswerBound.of(self.settings))
                except UsageError as error:
                    raise NotSentError(str(error), permanent=True) from None
            return self._api

    def _bot_bucket(self) -> str:
        token = self.settings.telegram_token
        number = None if token is None else bot_number(token)
        return f"telegram:bot:{'none' if number is None else number}"

    def _not_sent(self, error: RejectedCallError, address: Address) -> NotSentError:
        """Return what a certain no of Telegram means for a message, without the chat's number."""
        reason, description = str(error).replace(address.address, "…"), error.description.lower()
        if error.moved_to is not None:
            return NotSentError(reason, moved_to=str(error.moved_to))
        if error.code == 429:
            return self._hold(error, reason, address)
        if error.code == 403 or (error.code == 400 and any(words in description for words in _GONE)):
            return NotSentError(reason, endpoint_off=True)
        if error.code in (401, 404):
            return NotSentError(f"{reason}: is STREAMWORKERS_TELEGRAM_TOKEN that of the bot?")
        return NotSentError(reason, permanent=True)

    def _hold(self, error: RejectedCallError, reason: str, address: Address) -> NotSentError:
        """Return whose limit an answer 429 is about, which it does not say: this chat's, or that of the bot."""
        seconds, now = error.retry_after or 1.0, time.monotonic()
        with self._lock:
            self._held = {chat: until for chat, until in self._held.items() if until > now}
            self._held[address.address] = now + seconds
            is_shared = len(self._held) >= _SHARED_HOLDS
        bucket = self._bot_bucket() if is_shared else _chat_bucket(address)
        return NotSentError(reason, retry_after=seconds, bucket=bucket)


def _chat_bucket(address: Address) -> str:
    return f"telegram:chat:{address.address}"


def _html(piece: Piece) -> str:
    title = f"<b>{escape(piece.title, quote=False)}</b>" if piece.title.strip() else ""
    return title + escape(piece.rest, quote=False)
