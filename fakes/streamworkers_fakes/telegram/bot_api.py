"""The methods of the fake Bot API: the rules of messages, their limits, and the updates of a bot."""

import itertools
import threading
import time
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from streamworkers_fakes.telegram.calls import BotCall, BotLimits, BotLog, BotWindows, monotonic
from streamworkers_fakes.telegram.entities import EntityError, read_html, utf16_length
from streamworkers_fakes.telegram.plans import BotPlan, BotPlans

DEFAULT_TOKEN: Final = "123456:fake-bot-token"  # noqa: S105  # of the fake
BOT_NAME: Final = "streamworkers_fake_bot"
MOST_TEXT: Final = 4096
MOST_CAPTION: Final = 1024
_LIMITED: Final = frozenset({"sendMessage", "sendPhoto", "editMessageText"})
_MOST_DATA: Final = 64


class BotAnswer(NamedTuple):
    """An answer: its status and JSON; status 0 closes the connection."""

    status: int
    body: bytes = b""
    delay: float = 0.0


class ApiError(Exception):
    """The Bot API does not do a call: its status, description and parameters."""

    def __init__(self, status: int, description: str, parameters: Mapping[str, Any] | None = None) -> None:
        super().__init__(description)
        self.status, self.parameters = status, parameters


class FakeBotApi:
    """A Bot API with one bot. Thread-safe but for `call`, which one thread may use."""

    def __init__(self, token: str = DEFAULT_TOKEN, limits: BotLimits | None = BotLimits()) -> None:  # noqa: B008
        self.token = token
        self.plans, self.log = BotPlans(), BotLog()
        self.commands: list[Any] = []
        self.polls = 0  # calls of getUpdates that were received, those that still wait included
        self._windows = None if limits is None else BotWindows(limits)
        self._lock = threading.Lock()
        self._updates: dict[int, dict[str, Any]] = {}
        self._update_ids, self._message_ids = itertools.count(1), itertools.count(1)

    # Updates

    def add_update(self, kind: str, content: Mapping[str, Any]) -> int:
        """Add an update of a kind, such as `message`, and return its id."""
        with self._lock:
            number = next(self._update_ids)
            self._updates[number] = {"update_id": number, kind: dict(content)}
        return number

    def say(self, text: str, *, user: int, chat: int | None = None, sent_at: float | None = None, **more: Any) -> int:
        """Add a message of a user to the bot, in a private chat if no other is named; returns the update's id."""
        return self.add_update("message", self.make_message(text, user, chat, sent_at) | more)

    def press(self, data: str, *, user: int, chat: int | None = None, **more: Any) -> int:
        """Add the press of a button; returns the update's id."""
        message = self.make_message("", user, chat, None) | {"from": self.me()}
        number = f"press-{next(self._message_ids)}"
        content = {"id": number, "from": _user(user), "message": message, "chat_instance": "1", "data": data}
        return self.add_update("callback_query", content | more)

    def make_message(self, text: str, user: int, chat: int | None, sent_at: float | None) -> dict[str, Any]:
        """Return a message as updates hold it."""
        chat = user if chat is None else chat
        return {
            "message_id": next(self._message_ids),
            "from": _user(user),
            "chat": {"id": chat, "type": "private" if chat > 0 else "supergroup"},
            "date": int(time.time() if sent_at is None else sent_at),
            "text": text,
        }

    def pending(self, offset: int | None, limit: int) -> list[dict[str, Any]]:
        """Return updates from `offset` on, and forget those before it; a negative one counts from the end."""
        with self._lock:
            if offset is not None:
                first = sorted(self._updates)[offset:][:1] if offset < 0 else [offset]
                self._updates = {
                    each: update for each, update in self._updates.items() if not first or each >= first[0]
                }
            return [self._updates[each] for each in sorted(self._updates)[:limit]]

    # Calls

    def me(self) -> dict[str, Any]:
        """Return what getMe answers."""
        number = int(self.token.partition(":")[0])
        return {"id": number, "is_bot": True, "first_name": "Fake", "username": BOT_NAME}

    def has_updates(self, parameters: Mapping[str, Any]) -> bool:
        """Return whether a poll with these parameters gets any."""
        return bool(self.pending(parameters.get("offset"), 1))

    def unauthorized(self) -> BotAnswer:
        """Answer a call with another token."""
        return _failure(ApiError(401, "Unauthorized"))

    def conflict(self) -> BotAnswer:
        """Answer a poller while another one polls."""
        text = "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running"
        self.log.add(BotCall(monotonic(), "getUpdates", None, {}, 409, False))
        return _failure(ApiError(409, text))

    def call(self, method: str, parameters: dict[str, Any], photo: bytes | None = None) -> BotAnswer:
        """Answer a call as the plans say, and remember it before it is answered."""
        return self.answer(method, parameters, photo, self.plans.take(method, _chat(parameters)))

    def answer(
        self, method: str, parameters: dict[str, Any], photo: bytes | None = None, plan: BotPlan | None = None
    ) -> BotAnswer:
        """Answer a call as this plan says."""
        chat, now = _chat(parameters), monotonic()
        text = message_id = None
        try:
            if plan is not None:
                _reject(plan)
            text, result = self._do(method, parameters, chat, photo, now)
            message_id = result.get("message_id") if isinstance(result, dict) else None
            answer = BotAnswer(200, msgspec.json.encode({"ok": True, "result": result}))
        except ApiError as error:
            answer = _failure(error)
        accepted = answer.status == 200
        if plan is not None:
            answer, accepted = _spoil(plan, answer, accepted)
        size = len(photo or b"")
        self.log.add(BotCall(now, method, chat, parameters, answer.status, accepted, text, message_id, size))
        return answer

    def _do(
        self, method: str, parameters: dict[str, Any], chat: str | None, photo: bytes | None, now: float
    ) -> tuple[str | None, Any]:
        if method == "getMe":
            return None, self.me()
        if method == "getUpdates":
            return None, self.pending(parameters.get("offset"), min(int(parameters.get("limit", 100)), 100))
        if method == "setMyCommands":
            self.commands = parameters.get("commands", [])
            return None, True
        if method in ("answerCallbackQuery", "deleteWebhook", "sendChatAction", "editMessageReplyMarkup"):
            return None, True
        if method not in _LIMITED:
            raise ApiError(404, "Not Found")
        if chat is None:
            raise ApiError(400, "Bad Request: chat_id is empty")
        text = self._read_text(method, parameters, photo)
        _check_buttons(parameters)
        wait = 0 if self._windows is None else self._windows.take(chat, now)
        if wait:
            raise ApiError(429, f"Too Many Requests: retry after {wait}", {"retry_after": wait})
        number = parameters["message_id"] if method == "editMessageText" else next(self._message_ids)
        named = {"chat": {"id": chat}, "date": int(time.time()), "from": self.me()}
        return text, {"message_id": number, **named, ("caption" if photo else "text"): text}

    def _read_text(self, method: str, parameters: dict[str, Any], photo: bytes | None) -> str:
        is_photo = method == "sendPhoto"
        raw = parameters.get("caption" if is_photo else "text") or ""
        if not isinstance(raw, str):
            raise ApiError(400, "Bad Request: text must be a string")
        try:
            text = read_html(raw) if parameters.get("parse_mode") == "HTML" else raw
        except EntityError as error:
            raise ApiError(400, str(error)) from None
        if is_photo:
            if not (photo or b"").startswith(b"\x89PNG"):
                raise ApiError(400, "Bad Request: IMAGE_PROCESS_FAILED")
            if utf16_length(text) > MOST_CAPTION:
                raise ApiError(400, "Bad Request: message caption is too long")
        elif not text.strip():
            raise ApiError(400, "Bad Request: message text is empty")
        elif utf16_length(text) > MOST_TEXT:
            raise ApiError(400, "Bad Request: message is too long")
        return text.strip()


def _chat(parameters: Mapping[str, Any]) -> str | None:
    return None if parameters.get("chat_id") is None else str(parameters["chat_id"])


def _user(number: int) -> dict[str, Any]:
    return {"id": number, "is_bot": False, "first_name": f"User {number}"}


def _check_buttons(parameters: dict[str, Any]) -> None:
    for row in (parameters.get("reply_markup") or {}).get("inline_keyboard", ()):
        for button in row:
            size = len(button.get("callback_data", "").encode())
            if "url" not in button and not 1 <= size <= _MOST_DATA:
                raise ApiError(400, "Bad Request: BUTTON_DATA_INVALID")
            if not button.get("text"):
                raise ApiError(400, "Bad Request: inline keyboard button text is empty")


_REJECTIONS: Final = {
    "blocked": (403, "Forbidden: bot was blocked by the user"),
    "kicked": (403, "Forbidden: bot was kicked from the supergroup chat"),
    "deactivated": (403, "Forbidden: user is deactivated"),
    "chat_not_found": (400, "Bad Request: chat not found"),
    "parse_error": (400, 'Bad Request: can\'t parse entities: Unsupported start tag "x" at byte offset 0'),
    "too_long": (400, "Bad Request: message is too long"),
    "bad_photo": (400, "Bad Request: IMAGE_PROCESS_FAILED"),
    "unauthorized": (401, "Unauthorized"),
    "conflict": (409, "Conflict: terminated by other getUpdates request"),
}


def _reject(plan: BotPlan) -> None:
    """Raise what a plan answers instead of the call."""
    value = plan.value or 0
    if plan.name in _REJECTIONS:
        raise ApiError(*_REJECTIONS[plan.name])
    if plan.name == "migrate":
        text = "Bad Request: group chat was upgraded to a supergroup chat"
        raise ApiError(400, text, {"migrate_to_chat_id": int(value)})
    if plan.name == "retry_after":
        raise ApiError(429, f"Too Many Requests: retry after {value:.0f}", {"retry_after": int(value)})
    if plan.name == "server_error":
        raise ApiError(int(value), "Bad Gateway" if value == 502 else "Internal Server Error")
    if plan.name in ("not_json", "drop_before"):
        raise ApiError(0, "")


def _spoil(plan: BotPlan, answer: BotAnswer, accepted: bool) -> tuple[BotAnswer, bool]:
    match plan.name:
        case "drop":
            return BotAnswer(0), accepted
        case "drop_before":
            return BotAnswer(0), False
        case "not_json":
            return BotAnswer(200, b"<html>Sign in to this network</html>"), False
        case "delay":
            return answer._replace(delay=plan.value or 0), accepted
    return answer, accepted


def _failure(error: ApiError) -> BotAnswer:
    body: dict[str, Any] = {"ok": False, "error_code": error.status, "description": str(error)}
    if error.parameters:
        body["parameters"] = dict(error.parameters)
    return BotAnswer(error.status, msgspec.json.encode(body))
