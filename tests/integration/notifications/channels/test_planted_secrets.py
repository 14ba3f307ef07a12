"""Secrets of every kind are planted; no log, error, stack, limit or shown address of any channel has one of them."""

import logging
import socket
import traceback
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

import httpx
import pytest
from pydantic import SecretStr

from streamworkers.config import Settings
from streamworkers.faults import describe, describe_stack
from streamworkers.notifications.channels.channel import MessageChannel
from streamworkers.notifications.channels.registry import load_channels
from streamworkers.notifications.content import Content
from streamworkers_fakes.smtp import SmtpOptions, running_fake_smtp
from streamworkers_fakes.telegram import FakeBotApi, running_fake_bot_api
from streamworkers_fakes.webhook import running_fake_receiver

MARK = "s3cr3t"
TOKEN = f"123456:{MARK}-token"
# What each channel is addressed by, and its settings.
ADDRESSES: dict[str, tuple[str, dict[str, Any]]] = {
    "telegram": ("4711", {}),
    "mail": (f"{MARK}.bob@example.com", {}),
    "webhook": ("env:HOOK_URL", {"secret": ["env:HOOK_SECRET"]}),
    "slack": ("env:SLACK_URL", {}),
    "discord": ("env:DISCORD_URL", {}),
}
SECRET_WORDS = (MARK, "4711")
PLANS = {
    "telegram": (
        "blocked",
        "unauthorized",
        "retry_after",
        "server_error",
        "drop",
        "drop_before",
        "not_json",
        "migrate",
    ),
    "mail": ("421", "550", "552,step=data", "drop", "drop_before"),
    "webhook": ("status=500", "status=401", "status=410", "redirect=http://127.0.0.1/", "drop", "drop_before"),
}


class Stage:
    """All channels before fakes, with a way to make each of these misbehave."""

    def __init__(self, stack: ExitStack, patch: pytest.MonkeyPatch) -> None:
        self.bot_api = stack.enter_context(running_fake_bot_api(FakeBotApi(TOKEN, limits=None)))
        self.smtp = stack.enter_context(running_fake_smtp(SmtpOptions()))
        self.receiver = stack.enter_context(running_fake_receiver())
        self.point(patch, self.receiver.url)
        patch.setenv("HOOK_SECRET", f"{MARK}-secret")
        self.channels = load_channels(self.settings(self.bot_api.url, self.smtp.port))
        for channel in self.channels.values():
            stack.callback(channel.close)

    def settings(self, telegram_url: str, smtp_port: int) -> Settings:
        return Settings(
            telegram_url=telegram_url,
            telegram_token=SecretStr(TOKEN),
            smtp_host="127.0.0.1",
            smtp_port=smtp_port,
            smtp_security="none",
            smtp_from=f"{MARK}@sender.example",
            webhook_private=True,
        )

    def point(self, patch: pytest.MonkeyPatch, url: str) -> None:
        for name, path in (("HOOK", "hooks"), ("SLACK", "slack"), ("DISCORD", "discord")):
            patch.setenv(f"{name}_URL", f"{url}/{path}/{MARK}?key={MARK}")

    def misbehave(self, name: str, plan: str | None) -> None:
        self.bot_api.fake.plans.clear()
        self.smtp.plans.clear()
        self.receiver.receiver.plan()
        if plan is not None and name == "telegram":
            self.bot_api.plan(plan)
        elif plan is not None and name == "mail":
            self.smtp.plan(plan)
        elif plan is not None:
            self.receiver.receiver.plan(plan)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    with ExitStack() as stack:
        yield Stage(stack, monkeypatch)


def attempt(channel: MessageChannel, name: str) -> str:
    """One message; returns everything that is said about it."""
    address = channel.check_address(*ADDRESSES[name])
    said = [repr(channel.limits(address)), "" if name in ("mail", "telegram") else channel.show_address(address)]
    try:
        for part in channel.render(Content("title", ("line",)), address, has_picture=False):
            channel.send(part, address, delivery=uuid4(), picture=None)
    except Exception as error:  # noqa: BLE001  # all of them are looked at
        said += [
            str(error),
            repr(error),
            describe(error),
            describe_stack(error),
            "".join(traceback.format_exception(error)),
        ]
    return "\n".join(said).replace("telegram:chat:4711", "")  # keys of limits in Redis name the chat


def test_no_secret_is_said(stage: Stage, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    said, failures = [], 0
    with caplog.at_level(logging.DEBUG):
        for name, channel in stage.channels.items():
            for plan in (None, *PLANS.get(name, PLANS["webhook"])):
                stage.misbehave(name, plan)
                said.append(attempt(channel, name))
                failures += "Error" in said[-1]
    written = capfd.readouterr()
    logs = "\n".join(f"{record.getMessage()} {record.exc_text or ''}" for record in caplog.records if _is_ours(record))
    assert failures == sum(len(PLANS.get(name, PLANS["webhook"])) for name in stage.channels)
    assert "HTTP Request: POST" in logs
    for text in ("\n".join(said), logs, written.out, written.err):
        assert [line for line in text.splitlines() if any(word in line for word in SECRET_WORDS)] == []


def test_no_secret_is_said_where_nobody_listens(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    stage.point(monkeypatch, f"http://127.0.0.1:{port}")
    with caplog.at_level(logging.DEBUG):
        channels = load_channels(stage.settings(f"http://127.0.0.1:{port}", port))
        said = [attempt(channel, name) for name, channel in channels.items()]
    for channel in channels.values():
        channel.close()
    assert ["NotSentError" in text for text in said] == [True] * 5
    logs = "\n".join(record.getMessage() for record in caplog.records if _is_ours(record))
    lines = ("\n".join(said) + logs).splitlines()
    assert [line for line in lines if any(word in line for word in SECRET_WORDS)] == []


def test_control_a_client_without_care_says_them(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        httpx.post(f"{stage.receiver.url}/slack/{MARK}", json={"text": "x"})
    assert MARK in "\n".join(record.getMessage() for record in caplog.records if _is_ours(record))


def _is_ours(record: logging.LogRecord) -> bool:
    """The fake mail server runs in this process too, and logs what it gets."""
    return not record.name.startswith("mail.")
