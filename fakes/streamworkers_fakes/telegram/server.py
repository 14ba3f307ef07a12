"""The fake Bot API as a running server: in a thread of this process, or in a process of its own."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from streamworkers_fakes.serving import RunningServer, command_process, running
from streamworkers_fakes.telegram.bot_api import FakeBotApi
from streamworkers_fakes.telegram.calls import BotCall
from streamworkers_fakes.telegram.plans import BotPlan, parse_bot_plan

if TYPE_CHECKING:
    from starlette.applications import Starlette


class RunningFakeBotApi(RunningServer):
    """A server in a daemon thread, from `start` to `stop`; `url` is what STREAMWORKERS_TELEGRAM_URL takes."""

    title = "fake Bot API"

    def __init__(self, fake: FakeBotApi, host: str = "127.0.0.1", port: int = 0) -> None:
        self.fake = fake

        def build(stopping: asyncio.Event) -> "Starlette":
            from streamworkers_fakes.telegram.app import build_app

            return build_app(fake, stopping)

        super().__init__(build, host, port)

    @property
    def calls(self) -> list[BotCall]:
        """A copy of the log, which holds a call before its answer is sent."""
        return self.fake.log.calls()

    @property
    def sent(self) -> list[BotCall]:
        """The calls that made a message, whether or not the sender learned of it."""
        return [call for call in self.calls if call.accepted and call.message_id is not None]

    def plan(self, text: str | BotPlan) -> None:
        """Add a plan; a text is parsed by `parse_bot_plan`."""
        self.fake.plans.add(parse_bot_plan(text) if isinstance(text, str) else text)


@contextmanager
def running_fake_bot_api(
    fake: FakeBotApi | None = None, *, host: str = "127.0.0.1", port: int = 0
) -> Iterator[RunningFakeBotApi]:
    """Run a server for the length of a block, by default a FakeBotApi() on a free port."""
    with running(RunningFakeBotApi(FakeBotApi() if fake is None else fake, host, port)) as server:
        yield server


@contextmanager
def fake_bot_api_process(*words: str) -> Iterator[str]:
    """Run `streamworkers fake-bot-api WORDS` in a process of its own, and yield its URL.

    Raises ServiceUnreachableError if it does not start.
    """
    with command_process("fake Bot API", "fake-bot-api", *words) as url:
        yield url
