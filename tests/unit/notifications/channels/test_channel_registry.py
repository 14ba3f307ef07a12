"""Channels are found by entry points, and a broken one of another package harms nobody."""

from importlib.metadata import EntryPoint

import pytest
import structlog

from streamworkers.config import Settings
from streamworkers.notifications.channels import registry
from streamworkers.notifications.channels.channel import MessageChannel
from streamworkers.notifications.channels.registry import load_channels
from streamworkers.notifications.channels.telegram import Telegram

GROUP = "streamworkers.channels"
TELEGRAM = "streamworkers.notifications.channels.telegram:Telegram"


class Raising(Telegram):
    name = "raising"

    def __init__(self, settings: Settings) -> None:
        raise RuntimeError("no account, password=secret-word")


def load(monkeypatch: pytest.MonkeyPatch, *points: tuple[str, str]) -> tuple[list[str], list[str]]:
    """The names that are loaded, and what is logged of the others."""
    found = [EntryPoint(name, value, GROUP) for name, value in points]
    monkeypatch.setattr(registry, "entry_points", lambda group: found if group == GROUP else [])
    with structlog.testing.capture_logs() as logs:
        channels = load_channels(Settings())
    return list(channels), [f"{log['event']} {log['channel']}: {log['error']}" for log in logs]


def test_the_channels_of_this_package_are_found() -> None:
    with structlog.testing.capture_logs() as logs:
        channels = load_channels(Settings())
    assert logs == []
    assert "telegram" in channels
    assert all(channel.name == name for name, channel in channels.items())


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("gone", "no_such_module:X", "ModuleNotFoundError: No module named 'no_such_module'"),
        (
            "list",
            "builtins:list",
            f"BadInputError: builtins:list is not a subclass of {MessageChannel.__module__}.MessageChannel",
        ),
        ("other", TELEGRAM, f"BadInputError: the channel {TELEGRAM} is named 'telegram', not 'other'"),
        ("raising", f"{__name__}:Raising", "RuntimeError: no account, password=…"),
    ],
)
def test_a_channel_that_does_not_load_is_named_and_left_out(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, error: str
) -> None:
    names, logged = load(monkeypatch, (name, value), ("telegram", TELEGRAM))
    assert names == ["telegram"]
    assert logged == [f"channel_not_loaded {name}: {error}"]


def test_of_two_channels_with_one_name_the_second_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    names, logged = load(monkeypatch, ("telegram", TELEGRAM), ("telegram", "z:Z"))
    assert names == ["telegram"]
    assert logged == ["channel_not_loaded telegram: BadInputError: another channel is named 'telegram'"]
