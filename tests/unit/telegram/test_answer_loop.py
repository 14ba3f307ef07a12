"""The loop that sends what the bot answers: texts to chats that are not linked are few."""

from collections.abc import Mapping
from typing import Any, cast

from streamworkers.notifications.channels.telegram_api import TelegramApi
from streamworkers.telegram.answering import MOST_TEXTS, MOST_TEXTS_OF_A_CHAT, AnswerLoop
from streamworkers.telegram.handling import Handled, PlainText
from streamworkers.telegram.sending import AnswerSender


class Recorder:
    """Remembers the chats to which texts were sent."""

    def __init__(self) -> None:
        self.chats: list[Any] = []

    def call(self, method: str, parameters: Mapping[str, Any]) -> None:
        assert method == "sendMessage"
        self.chats.append(parameters["chat_id"])

    def send_left(self) -> None: ...


def test_one_chat_does_not_use_up_the_texts_of_all() -> None:
    recorder = Recorder()
    loop = AnswerLoop(cast(TelegramApi, recorder), cast(AnswerSender, recorder))
    for chat in (*[1] * 30, *range(2, 40)):
        loop.add(Handled("not_linked", plain=PlainText(chat, "not linked")))
    for _ in range(2):
        loop.turn()
    assert recorder.chats == [*[1] * MOST_TEXTS_OF_A_CHAT, *range(2, 2 + MOST_TEXTS - MOST_TEXTS_OF_A_CHAT)]
