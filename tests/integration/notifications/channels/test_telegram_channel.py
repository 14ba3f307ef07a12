"""Messages of the bot against the fake Bot API: what arrives, and what each answer means."""

import logging
import socket
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from pydantic import SecretStr

from patience import paced
from streamworkers.config import Settings
from streamworkers.errors import BadInputError, UsageError
from streamworkers.notifications.channels.channel import Address, NotSentError
from streamworkers.notifications.channels.http import DEFAULT_BOUND, AnswerBound, HttpReply, NoAnswerError
from streamworkers.notifications.channels.telegram import Telegram
from streamworkers.notifications.channels.telegram_api import RejectedCallError, TelegramApi
from streamworkers.notifications.content import Button, Content, Picture
from streamworkers_fakes.telegram import DEFAULT_TOKEN, FakeBotApi, RunningFakeBotApi, running_fake_bot_api

PNG = Picture(b"\x89PNG\r\n\x1a\n" + b"x" * 100, "a chart")
CHAT = Address("4711", {})
SECRET = DEFAULT_TOKEN.partition(":")[2]


@pytest.fixture(scope="module")
def running() -> Iterator[RunningFakeBotApi]:
    with running_fake_bot_api(FakeBotApi(limits=None)) as server:
        yield server


@pytest.fixture
def server(running: RunningFakeBotApi) -> RunningFakeBotApi:
    running.fake.plans.clear()
    running.fake.log.clear()
    return running


@pytest.fixture
def channel(server: RunningFakeBotApi) -> Iterator[Telegram]:
    opened = open_channel(server.url)
    yield opened
    opened.close()


def open_channel(url: str, token: str | None = DEFAULT_TOKEN) -> Telegram:
    return Telegram(Settings(telegram_url=url, telegram_token=None if token is None else SecretStr(token)))


def send(
    channel: Telegram, content: Content, address: Address = CHAT, picture: Picture | None = None
) -> list[str | None]:
    parts = channel.render(content, address, has_picture=picture is not None)
    return [
        channel.send(part, address, delivery=uuid4(), picture=None if place else picture)
        for place, part in enumerate(parts)
    ]


@pytest.mark.parametrize(
    "value",
    [
        "<b>AAPL</b> & *bold* _x_ `code` [a](b) &lt;",
        "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467",
        "שלום عليكم \u200f",
        "".join(f"word{number} <" for number in range(500)),
        "\U0001f600" * 5000,
        "</b>" * 1250,
    ],
)
def test_any_value_arrives_as_it_is_within_the_limits(channel: Telegram, server: RunningFakeBotApi, value: str) -> None:
    numbers = send(channel, Content(f"Title {value[:50]}", (value, "the end")))
    texts = [str(call.text) for call in server.sent]
    assert numbers == [str(call.message_id) for call in server.sent]
    assert "".join("".join(texts).split()) == "".join(f"Title{value[:50]}{value}theend".split())
    assert {call.status for call in server.calls} == {200}


def test_buttons_topic_and_link_are_sent(channel: Telegram, server: RunningFakeBotApi) -> None:
    address = channel.check_address("-1001", {"message_thread_id": 5})
    buttons = (Button("Snooze 1 h", "alert:snooze:1:AAPL"), Button("Mute", "alert:mute:1"))
    send(channel, Content("t", ("x" * 5000,), link="https://x.example/?a=1&b=2", buttons=buttons), address)
    first, last = server.sent
    assert first.parameters.get("reply_markup") is None
    assert last.parameters["reply_markup"]["inline_keyboard"] == [
        [
            {"text": "Snooze 1 h", "callback_data": "alert:snooze:1:AAPL"},
            {"text": "Mute", "callback_data": "alert:mute:1"},
        ]
    ]
    assert str(last.text).endswith("https://x.example/?a=1&b=2")
    assert [call.parameters["message_thread_id"] for call in server.sent] == [5, 5]
    assert [call.parameters["link_preview_options"] for call in server.sent] == [{"is_disabled": True}] * 2


def test_a_picture_carries_the_beginning_of_the_text(channel: Telegram, server: RunningFakeBotApi) -> None:
    send(channel, Content("title", ("\U0001f600" * 600,), buttons=(Button("Show", "alert:show:1"),)), picture=PNG)
    first, second = server.sent
    assert (first.method, first.photo_bytes) == ("sendPhoto", len(PNG.data))
    assert (second.method, second.photo_bytes) == ("sendMessage", 0)
    assert f"{first.text}{second.text}".replace("\n", "") == "title" + "\U0001f600" * 600
    assert first.parameters["chat_id"] == 4711  # the number, although a form holds texts


def test_a_picture_that_telegram_rejects_is_left_out(channel: Telegram, server: RunningFakeBotApi) -> None:
    send(channel, Content("title"), picture=Picture(b"no picture", ""))
    assert [(call.method, call.status) for call in server.calls] == [("sendPhoto", 400), ("sendMessage", 200)]


def test_a_picture_that_is_gone_leaves_the_text(channel: Telegram, server: RunningFakeBotApi) -> None:
    (part,) = channel.render(Content("title"), CHAT, has_picture=True)
    channel.send(part, CHAT, delivery=uuid4(), picture=None)
    assert [(call.method, call.text) for call in server.sent] == [("sendMessage", "title")]


# The table of outcomes: what a plan makes of a message.
OUTCOMES: dict[str, dict[str, Any]] = {
    "blocked": {"endpoint_off": True, "permanent": True},
    "kicked": {"endpoint_off": True, "permanent": True},
    "deactivated": {"endpoint_off": True, "permanent": True},
    "chat_not_found": {"endpoint_off": True, "permanent": True},
    "migrate=-1009": {"moved_to": "-1009"},
    "parse_error": {"permanent": True},
    "too_long": {"permanent": True},
    "unauthorized": {},
    "retry_after=10072": {"retry_after": 10_072, "bucket": "telegram:chat:4711"},
    "drop": {"unknown": True},
    "drop_before": {"unknown": True},
    "server_error=500": {"unknown": True},
    "server_error=502": {"unknown": True},
    "not_json": {"unknown": True},
}
KNOWN = ("permanent", "retry_after", "bucket", "endpoint_off", "moved_to")


def outcome(call: Callable[[], object]) -> tuple[dict[str, Any], str]:
    """What an attempt has come to, and its words."""
    with pytest.raises((NotSentError, NoAnswerError)) as raised:
        call()
    assert raised.value.__cause__ is None
    if isinstance(raised.value, NoAnswerError):
        return {"unknown": True}, str(raised.value)
    values = {name: getattr(raised.value, name) for name in KNOWN}
    return {name: value for name, value in values.items() if value}, str(raised.value)


@pytest.mark.parametrize("plan", OUTCOMES)
def test_each_answer_has_its_outcome(channel: Telegram, server: RunningFakeBotApi, plan: str) -> None:
    server.plan(plan)
    found, words = outcome(lambda: send(channel, Content("title")))
    assert found == OUTCOMES[plan]
    assert len(server.sent) == (plan == "drop")
    assert SECRET not in words
    assert CHAT.address not in words


def test_an_answer_that_comes_late_is_unknown(
    server: RunningFakeBotApi, monkeypatch: pytest.MonkeyPatch, channel: Telegram
) -> None:
    server.plan("delay=60")
    api = TelegramApi(SecretStr(DEFAULT_TOKEN), server.url)
    with pytest.raises(NoAnswerError) as raised:
        api.call("sendMessage", {"chat_id": 1, "text": "x"}, seconds=paced(0.5))
    api.close()
    assert str(raised.value).startswith("no answer: ReadTimeout")
    assert len(server.sent) == 1


def test_without_a_connection_nothing_was_sent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    found, words = outcome(lambda: send(open_channel(f"http://127.0.0.1:{port}"), Content("title")))
    assert found == {}
    assert words == "no connection: ConnectError: [Errno 111] Connection refused"


@pytest.mark.parametrize(
    ("token", "words"),
    [
        (None, "no bot: STREAMWORKERS_TELEGRAM_TOKEN is not set"),
        ("SECRET-word", "STREAMWORKERS_TELEGRAM_TOKEN is not a bot's token, as 123456:ABC-DEF1234ghIkl"),
    ],
)
def test_without_a_token_nothing_was_sent(token: str | None, words: str) -> None:
    channel = open_channel("http://127.0.0.1:9", token)
    with pytest.raises(NotSentError) as raised:
        send(channel, Content("title"))
    assert (str(raised.value), raised.value.permanent) == (words, True), "another attempt would not find it either"
    assert channel.find_missing_setting(CHAT) == (words if token is None else None)
    assert channel.limits(CHAT)[0].bucket == "telegram:bot:none"


def test_429_to_several_chats_at_once_is_about_the_bot(channel: Telegram, server: RunningFakeBotApi) -> None:
    server.plan("retry_after=30")
    buckets = []
    for chat in ("1", "1", "2", "3"):
        with pytest.raises(NotSentError) as raised:
            send(channel, Content("title"), Address(chat, {}))
        buckets.append(raised.value.bucket)
    assert buckets == ["telegram:chat:1", "telegram:chat:1", "telegram:chat:2", "telegram:bot:123456"]


def test_limits_are_those_of_bot_chat_and_group(channel: Telegram) -> None:
    assert [tuple(limit) for limit in channel.limits(CHAT)] == [
        ("telegram:bot:123456", 30, 1.0),
        ("telegram:chat:4711", 1, 1.0),
    ]
    for chat in ("-1001", "@channel"):
        assert tuple(channel.limits(Address(chat, {}))[2]) == (f"telegram:group:{chat}", 20, 60.0)


@pytest.mark.parametrize(("given", "canonical"), [(" 42 ", "42"), ("-1001", "-1001"), ("@My_Channel", "@my_channel")])
def test_an_address_has_one_form(channel: Telegram, given: str, canonical: str) -> None:
    assert channel.check_address(given, {}) == Address(canonical, {})


@pytest.mark.parametrize(
    ("address", "options", "message"),
    [
        ("bob", {}, "'bob' is not a chat of Telegram, as 123456789, -1001234567890 or @channel"),
        ("0", {}, "'0' is not a chat of Telegram, as 123456789, -1001234567890 or @channel"),
        ("1", {"topic": 1}, "the channel telegram has no setting 'topic'; it has message_thread_id"),
        ("1", {"message_thread_id": "x"}, "message_thread_id 'x' is not the number of a topic"),
        ("1", {"message_thread_id": True}, "message_thread_id True is not the number of a topic"),
    ],
)
def test_a_bad_address_is_an_error(channel: Telegram, address: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInputError) as raised:
        channel.check_address(address, options)
    assert str(raised.value) == message


def test_an_answer_over_the_limit_is_no_answer_and_the_setting_is_named(server: RunningFakeBotApi) -> None:
    bound = AnswerBound("STREAMWORKERS_TELEGRAM_MAX_UPDATES_BYTES", 65_536)
    api = TelegramApi(SecretStr(DEFAULT_TOKEN), server.url)
    server.fake.say("x" * 3000, user=1)
    assert len(api.call("getUpdates", bound=bound)) == 1
    for _ in range(30):
        server.fake.say("x" * 3000, user=1)
    with pytest.raises(NoAnswerError) as raised:
        api.call("getUpdates", bound=bound)
    assert str(raised.value) == f"Telegram answered 200, and its answer exceeds {bound.setting}=65536"
    with pytest.raises(NoAnswerError, match="exceeds STREAMWORKERS_CHANNEL_MAX_ANSWER_BYTES=65536"):
        api.call("getUpdates")
    updates = api.call("getUpdates", bound=bound._replace(most_bytes=1 << 20))
    assert len(updates) == 31
    api.call("getUpdates", {"offset": updates[-1]["update_id"] + 1, "timeout": 0})  # the next test has none of them
    api.close()


def test_the_client_knows_what_the_bot_needs(server: RunningFakeBotApi) -> None:
    api = TelegramApi(SecretStr(DEFAULT_TOKEN), f"{server.url}/")
    assert api.bot_id == 123456
    assert api.call("getMe")["username"] == "streamworkers_fake_bot"
    server.fake.say("/help", user=1)
    (update,) = api.call("getUpdates", {"offset": None, "timeout": 0})
    assert update["message"]["text"] == "/help"
    server.plan("conflict,method=getUpdates,calls=1")
    with pytest.raises(RejectedCallError) as raised:
        api.call("getUpdates")
    assert str(raised.value) == "Telegram answered 409: Conflict: terminated by other getUpdates request"
    api.close()
    with pytest.raises(UsageError):
        TelegramApi(SecretStr("x"), server.url)


def test_the_token_is_in_no_log_and_no_error(
    channel: Telegram, server: RunningFakeBotApi, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        send(channel, Content("title"))
        server.plan("drop,calls=1")
        with pytest.raises(NoAnswerError) as raised:
            send(channel, Content("title"))
    logged = "\n".join(record.getMessage() for record in caplog.records)
    assert "POST" in logged  # httpx and httpcore do log calls
    chain, error = [], raised.value.__context__
    while error is not None:
        chain.append(repr(error) + repr(getattr(error, "_request", None)))
        error = error.__context__
    assert chain
    assert SECRET not in logged + "".join(chain) + str(raised.value)


def test_control_a_plain_client_logs_the_url(server: RunningFakeBotApi, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        httpx.post(f"{server.url}/bot{DEFAULT_TOKEN}/getMe")
    assert SECRET in "\n".join(record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("body", [b'{"ok": false, "description": "\xff"}', b'{"ok": false', b"", b"\xff\xfe"])
def test_what_is_not_readable_leaves_open_whether_it_was_sent(body: bytes) -> None:
    api = TelegramApi(SecretStr(DEFAULT_TOKEN), "http://127.0.0.1:1")
    with pytest.raises(NoAnswerError, match="Telegram answered 403 with something that is not its JSON"):
        api._read(HttpReply(403, httpx.Headers(), body, is_whole=True), DEFAULT_BOUND)
    api.close()
