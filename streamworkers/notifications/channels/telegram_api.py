"""A small client of the Bot API of Telegram, for the channel and for the bot. Its token is in no error and no log."""

import re
from collections.abc import Mapping
from typing import Any

import httpx
import msgspec
from pydantic import SecretStr

from streamworkers.errors import UsageError
from streamworkers.notifications.channels.http import DEFAULT_BOUND, AnswerBound, HttpCaller, HttpReply, NoAnswerError

_TOKEN = re.compile(r"(\d{1,20}):[A-Za-z0-9_-]{1,200}")
_MOST_SHOWN = 200
_CALL_SECONDS = 15.0


class _Parameters(msgspec.Struct, frozen=True):
    retry_after: float | None = None
    migrate_to_chat_id: int | None = None


class _Answer(msgspec.Struct):
    ok: bool
    result: Any = None
    error_code: int = 0
    description: str = ""
    parameters: _Parameters = _Parameters()


class RejectedCallError(Exception):
    """Telegram has answered that it did not do this; `code` is the HTTP status, `retry_after` are seconds."""

    def __init__(self, code: int, description: str, retry_after: float | None = None, moved_to: int | None = None):
        super().__init__(f"Telegram answered {code}: {description}")
        self.code, self.description = code, description
        self.retry_after, self.moved_to = retry_after, moved_to


def bot_number(token: SecretStr) -> int | None:
    """Return the number of the bot that a token is of, which is no secret; None for what cannot be a token."""
    match = _TOKEN.fullmatch(token.get_secret_value())
    return None if match is None else int(match[1])


class TelegramApi:
    """The Bot API as one bot. Thread-safe. Raises UsageError for a token that cannot be one."""

    def __init__(self, token: SecretStr, url: str, connections: int = 32, bound: AnswerBound = DEFAULT_BOUND) -> None:
        number = bot_number(token)
        if number is None:
            raise UsageError("STREAMWORKERS_TELEGRAM_TOKEN is not a bot's token, as 123456:ABC-DEF1234ghIkl")
        self.bot_id = number
        self._token = token
        self._url = url.rstrip("/")
        self._caller, self._bound = HttpCaller(connections), bound

    def call(
        self,
        method: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        seconds: float = _CALL_SECONDS,
        bound: AnswerBound | None = None,
        photo: bytes | None = None,
    ) -> Any:
        """Call a method and return its result, within so many seconds; with a photo, as a form.

        Raises RejectedCallError for a certain no, NotSentError if the request has not left, and NoAnswerError if
        nobody knows, such as for each 5xx.
        """
        url = httpx.URL(f"{self._url}/bot{self._token.get_secret_value()}/{method}")
        values = {name: value for name, value in (parameters or {}).items() if value is not None}
        content: dict[str, Any] = {"json": values}
        if photo is not None:
            form = {name: value if isinstance(value, str) else _json(value) for name, value in values.items()}
            content = {"data": form, "files": {"photo": ("chart.png", photo, "image/png")}}
        bound = bound or self._bound
        return self._read(self._caller.post(url, seconds=seconds, bound=bound, **content), bound)

    def close(self) -> None:
        """Close the connections that are kept."""
        self._caller.close()

    def _read(self, reply: HttpReply, bound: AnswerBound) -> Any:
        status = reply.status
        try:
            answer = msgspec.json.decode(reply.body, type=_Answer)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            if not reply.is_whole and len(reply.body) == bound.most_bytes:
                raise NoAnswerError(f"Telegram answered {status}, and its answer exceeds {bound}") from None
            raise NoAnswerError(f"Telegram answered {status} with something that is not its JSON") from None
        if answer.ok:
            return answer.result
        code = answer.error_code or status
        description = self._clean(answer.description)
        if code >= 500:
            raise NoAnswerError(f"Telegram answered {code}: {description}")
        asked = answer.parameters
        raise RejectedCallError(code, description, asked.retry_after, asked.migrate_to_chat_id)

    def _clean(self, text: str) -> str:
        return " ".join(text.replace(self._token.get_secret_value(), "…").split())[:_MOST_SHOWN]


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
