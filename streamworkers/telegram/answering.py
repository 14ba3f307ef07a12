"""Sends what the bot answers, in a thread of its own: a chat that has to wait does not hold up the next command."""

import queue
import time
from collections import deque
from collections.abc import Mapping

from streamworkers.engine.host.loop import Loop
from streamworkers.faults import describe
from streamworkers.logger import get_logger
from streamworkers.notifications.channels.telegram_api import TelegramApi
from streamworkers.telegram.handling import Handled, PlainText
from streamworkers.telegram.sending import AnswerSender

log = get_logger()
MOST_WAITING = 1000
MOST_TEXTS, MOST_TEXTS_OF_A_CHAT = 20, 3  # texts to chats that are not linked, in a minute
_IDLE_SECONDS = 1.0
_LOOK_SECONDS = 5.0
_BATCH = 50
_PRESS_CHARACTERS = 200


class AnswerLoop(Loop):
    """Sends deliveries, ends the turning of pressed buttons, and sends plain texts to chats without an endpoint.

    Only deliveries are certain: what this process does not send, another one does.
    """

    def __init__(self, api: TelegramApi, sender: AnswerSender) -> None:
        super().__init__("telegram-answers")
        self._api, self._sender = api, sender
        self._looked_at = float("-inf")
        self._waiting: queue.Queue[Handled] = queue.Queue(MOST_WAITING)
        self._texts: deque[tuple[float, int]] = deque()

    def add(self, handled: Handled) -> None:
        """Send what belongs to an update soon; with too many waiting, a little later."""
        try:
            self._waiting.put_nowait(handled)
        except queue.Full:
            log.warning("telegram_answers_wait", waiting=MOST_WAITING)

    def turn(self) -> None:
        """Send what waits, or wait for it for a second."""
        try:
            first = self._waiting.get(timeout=_IDLE_SECONDS)
        except queue.Empty:
            self._look()
            self.succeeded()
            return
        batch = [first]
        while len(batch) < _BATCH and not self._waiting.empty():
            batch.append(self._waiting.get_nowait())
        for handled in batch:
            if handled.press is not None:
                self._end_press(*handled.press)
        ids = [each for handled in batch for each in handled.answers]
        if ids:
            self._sender.send(ids)
        for handled in batch:
            if handled.plain is not None:
                self._send_text(handled.plain)
        self._look()
        self.succeeded()

    def _look(self) -> None:
        """Send what other processes have left, every few seconds."""
        if time.monotonic() - self._looked_at >= _LOOK_SECONDS:
            self._sender.send_left()
            self._looked_at = time.monotonic()

    def _end_press(self, press: str, text: str) -> None:
        wanted = {"callback_query_id": press, "text": text[:_PRESS_CHARACTERS] or None}
        self._try("answerCallbackQuery", wanted)

    def _send_text(self, plain: PlainText) -> None:
        now = time.monotonic()
        while self._texts and now - self._texts[0][0] >= 60:
            self._texts.popleft()
        here = sum(chat == plain.chat_id for _, chat in self._texts)
        if len(self._texts) >= MOST_TEXTS or here >= MOST_TEXTS_OF_A_CHAT:
            return
        self._texts.append((now, plain.chat_id))
        self._try("sendMessage", {"chat_id": plain.chat_id, "text": plain.text})

    def _try(self, method: str, parameters: Mapping[str, object]) -> None:
        try:
            self._api.call(method, parameters)
        except Exception as error:  # noqa: BLE001  # one try is all that is promised
            log.info("telegram_call_failed", method=method, error=describe(error))
