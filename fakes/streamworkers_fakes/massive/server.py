"""The fake Massive API as a running server: in a thread of this process, or in a process of its own."""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date, datetime
from typing import TYPE_CHECKING

from streamworkers_fakes.massive.api import FakeMassive
from streamworkers_fakes.massive.calls import Call
from streamworkers_fakes.massive.market import FakeMarket
from streamworkers_fakes.massive.misbehaviour import Misbehaviour, parse_misbehaviour
from streamworkers_fakes.serving import Certificate, RunningServer, command_process, running

if TYPE_CHECKING:
    from starlette.applications import Starlette


class RunningFakeMassive(RunningServer):
    """A server in a daemon thread, from `start` to `stop`. Thread-safe.

    Raises BadInputError if the address cannot be used, UsageError if uvicorn or starlette is not installed.
    """

    title = "fake Massive API"

    def __init__(
        self, fake: FakeMassive, host: str = "127.0.0.1", port: int = 0, certificate: Certificate | None = None
    ) -> None:
        self.fake = fake

        def build(stopping: asyncio.Event) -> "Starlette":
            from streamworkers_fakes.massive.app import build_app

            return build_app(fake, stopping)

        super().__init__(build, host, port, certificate)

    @property
    def market(self) -> FakeMarket:
        """The data that is served."""
        return self.fake.market

    @property
    def api_key(self) -> str:
        """A key that is accepted."""
        return self.fake.api_key

    @property
    def calls(self) -> list[Call]:
        """A copy of the log, which holds a call before its answer is sent."""
        return self.fake.log.calls()

    def misbehave(
        self,
        name: str,
        value: float | str | None = None,
        *,
        tickers: Iterable[str] = (),
        calls: int | None = None,
        share: float = 1.0,
        path: str = "/",
    ) -> None:
        """Add a misbehaviour after those in force. Raises the errors of `Misbehaviour`."""
        self.fake.rules.add(Misbehaviour(name, value, frozenset(tickers), calls, share, path))

    def clear(self) -> None:
        """Remove all misbehaviours."""
        self.fake.rules.clear()

    def forget_calls(self) -> None:
        """Clear the log."""
        self.fake.log.clear()

    def set_now(self, now: datetime | None) -> None:
        """Stop the clock at an aware moment; None uses the real clock."""
        self.fake.set_now(now)

    def start(self) -> None:
        """Starts the server; returns when it accepts calls. Raises ServiceUnreachableError if it does not start."""
        # The calendar takes a second to load; the first call should not wait for it.
        self.market.sessions(date.min, date.min)
        super().start()


@contextmanager
def running_fake_massive(
    fake: FakeMassive | None = None,
    misbehaviours: Iterable[Misbehaviour | str] = (),
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    certificate: Certificate | None = None,
) -> Iterator[RunningFakeMassive]:
    """Run a server for the length of a block, by default a FakeMassive() on a free port.

    With a `certificate` it speaks TLS. `misbehaviours` are added after those of `fake`;
    texts are parsed by `parse_misbehaviour`.
    """
    fake = FakeMassive() if fake is None else fake
    for rule in misbehaviours:
        fake.rules.add(parse_misbehaviour(rule) if isinstance(rule, str) else rule)
    with running(RunningFakeMassive(fake, host, port, certificate)) as server:
        yield server


@contextmanager
def fake_massive_process(*words: str) -> Iterator[str]:
    """Run `streamworkers fake-massive WORDS` in a process of its own, and yield its base URL.

    Raises ServiceUnreachableError if it does not start.
    """
    with command_process("fake Massive API", "fake-massive", *words) as url:
        yield url
