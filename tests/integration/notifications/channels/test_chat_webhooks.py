"""Slack and Discord against a receiver with their rules: what arrives, and what each answer means."""

import re
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from streamworkers.config import Settings
from streamworkers.errors import BadInputError
from streamworkers.notifications.channels import discord
from streamworkers.notifications.channels.channel import Address, NotSentError
from streamworkers.notifications.channels.discord import Discord
from streamworkers.notifications.channels.http import HttpReply, NoAnswerError
from streamworkers.notifications.channels.secret_webhook import SecretWebhook
from streamworkers.notifications.channels.slack import Slack
from streamworkers.notifications.content import Content
from streamworkers_fakes.webhook import RunningFakeReceiver, running_fake_receiver

CHANNELS: dict[str, type[SecretWebhook]] = {"slack": Slack, "discord": Discord}
TEXTS = {"slack": "text", "discord": "content"}
ADDRESS = Address("env:CHAT_URL", {})


@pytest.fixture(scope="module")
def running() -> Iterator[RunningFakeReceiver]:
    with running_fake_receiver() as server:
        yield server


@pytest.fixture(params=CHANNELS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(running: RunningFakeReceiver, monkeypatch: pytest.MonkeyPatch, name: str) -> RunningFakeReceiver:
    running.receiver.forget()
    monkeypatch.setenv("CHAT_URL", f"{running.url}/{name}/planted")
    return running


@pytest.fixture
def channel(name: str) -> Iterator[SecretWebhook]:
    opened = CHANNELS[name](Settings())
    yield opened
    opened.close()


def send(channel: SecretWebhook, content: Content) -> list[str | None]:
    parts = channel.render(content, ADDRESS, has_picture=False)
    return [channel.send(part, ADDRESS, delivery=uuid4(), picture=None) for part in parts]


def shown(name: str, text: str) -> str:
    """A text as the service shows it."""
    if name == "slack":
        return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    return re.sub(r"\\([\\*_~`|<>\[\]#-])", r"\1", text)


@pytest.mark.parametrize(
    "value",
    [
        "<b>AAPL</b> & *bold* _x_ ~y~ `code` <!channel> <@123> @everyone [a](b) # - \\*",
        "\U0001f600\U0001f468\u200d\U0001f469",
        "שלום عليكم",
        "<" * 700 + "*" * 700 + "x" * 3600,
    ],
)
def test_any_value_arrives_as_it_is_within_the_limits(
    channel: SecretWebhook, server: RunningFakeReceiver, name: str, value: str
) -> None:
    send(channel, Content("title", (value, "https://x.example/a_b?c=1&d=2"), link="https://y.example/_"))
    texts = [call.json[TEXTS[name]] for call in server.taken]
    assert [call.fault for call in server.calls] == [None] * len(texts)
    whole = "".join("".join(shown(name, text) for text in texts).split())
    assert whole == "".join(f"title{value}https://x.example/a_b?c=1&d=2https://y.example/_".split())
    assert max(map(len, texts)) <= (3000 if name == "slack" else 2000)
    if name == "slack":
        assert all(call.json["mrkdwn"] is False for call in server.taken)
        assert "<" not in "".join(texts)
    else:
        assert all(call.json["allowed_mentions"] == {"parse": []} for call in server.taken)
        assert "https://y.example/_" in texts[-1]


def test_a_digest_that_is_too_long_is_counted(channel: SecretWebhook, server: RunningFakeReceiver, name: str) -> None:
    send(channel, Content("many", ("first",), tuple(f"line{number} " + "x" * 400 for number in range(200))))
    text = "\n".join(call.json[TEXTS[name]] for call in server.taken)
    listed = len(re.findall(r"line\d+", text))
    assert len(server.taken) == 5
    assert f"… and {200 - listed} more" in text


# The table of outcomes.
OUTCOMES: dict[str, dict[str, Any]] = {
    "status=400": {"permanent": True},
    "status=403": {"permanent": True, "endpoint_off": True},
    "status=404": {"permanent": True, "endpoint_off": True},
    "status=410": {"permanent": True, "endpoint_off": True},
    "status=500": {"unknown": True},
    "status=302": {"permanent": True},
    "retry_after=600": {"retry_after": 600},
    "drop": {"unknown": True},
}


@pytest.mark.parametrize("plan", OUTCOMES)
def test_each_answer_has_its_outcome(channel: SecretWebhook, server: RunningFakeReceiver, name: str, plan: str) -> None:
    server.receiver.plan(plan)
    with pytest.raises((NotSentError, NoAnswerError)) as raised:
        send(channel, Content("title"))
    found = {"unknown": True} if isinstance(raised.value, NoAnswerError) else {}
    if isinstance(raised.value, NotSentError):
        names = ("permanent", "retry_after", "endpoint_off", "moved_to")
        found = {each: getattr(raised.value, each) for each in names if getattr(raised.value, each)}
        assert raised.value.bucket == (f"{name}:env:CHAT_URL" if "retry_after" in found else None)
    assert found == OUTCOMES[plan]
    assert "planted" not in str(raised.value)
    assert len(server.taken) == (plan == "drop")


def test_discord_says_the_id_of_a_message_and_exact_seconds(
    running: RunningFakeReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    running.receiver.forget()
    monkeypatch.setenv("CHAT_URL", f"{running.url}/discord?thread_id=5")
    channel = Discord(Settings())
    assert send(channel, Content("title")) == ["1"]
    assert running.taken[0].path == "/discord?thread_id=5&wait=true"
    running.receiver.plan("retry_after=0.75")
    with pytest.raises(NotSentError) as raised:
        send(channel, Content("title"))
    assert raised.value.retry_after == 0.75
    running.receiver.plan()
    with pytest.raises(NotSentError) as raised:
        channel.send({"content": " "}, ADDRESS, delivery=uuid4(), picture=None)
    assert str(raised.value) == "discord answered 400, code 50035"
    channel.close()


def test_slack_says_what_is_wrong(running: RunningFakeReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    running.receiver.forget()
    monkeypatch.setenv("CHAT_URL", f"{running.url}/slack")
    channel = Slack(Settings())
    with pytest.raises(NotSentError) as raised:
        channel.send({"text": ""}, ADDRESS, delivery=uuid4(), picture=None)
    assert str(raised.value) == "slack answered 400: no_text"
    channel.close()


@pytest.mark.parametrize(
    "url", ["planted", "http://planted.example/x", "https://u:planted@x.example/", "ftp://x/planted"]
)
def test_what_a_variable_holds_must_be_a_url(channel: SecretWebhook, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("CHAT_URL", url)
    with pytest.raises(NotSentError) as raised:
        send(channel, Content("t"))
    assert str(raised.value) == "what CHAT_URL holds is not the URL of a webhook, as https://…"


def test_an_address_is_a_reference(channel: SecretWebhook, name: str) -> None:
    assert channel.check_address(" env:CHAT_URL ", {}) == ADDRESS
    with pytest.raises(BadInputError) as raised:
        channel.check_address("https://hooks.example/planted", {})
    assert str(raised.value) == (
        f"the URL of a webhook of {name} is a secret: name the variable that holds it, as env:MY_SECRET"
    )
    with pytest.raises(BadInputError) as raised:
        channel.check_address("env:CHAT_URL", {"a": 1})
    assert str(raised.value) == f"the channel {name} has no setting 'a'; it has none"


def test_limits_are_those_of_the_services() -> None:
    assert [tuple(limit) for limit in Slack(Settings()).limits(ADDRESS)] == [("slack:env:CHAT_URL", 1, 1.0)]
    assert [tuple(limit) for limit in Discord(Settings()).limits(ADDRESS)] == [
        ("discord:env:CHAT_URL", 5, 2.0),
        ("discord:env:CHAT_URL:minute", 30, 60.0),
    ]


def test_an_answer_of_discord_that_is_not_readable_says_nothing() -> None:
    assert discord._read(HttpReply(400, httpx.Headers(), b'{"code": "\xff"}', True)) == {}
