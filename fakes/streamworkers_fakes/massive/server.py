"""The fake Massive API as a running server: in a thread of this process, or in a process of its own."""

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import date, datetime
from typing import TYPE_CHECKING

from streamworkers.errors import BadInputError, ServiceUnreachableError, UsageError
from streamworkers_fakes.massive.api import FakeMassive
from streamworkers_fakes.massive.calls import Call
from streamworkers_fakes.massive.market import FakeMarket
from streamworkers_fakes.massive.misbehaviour import Misbehaviour, parse_misbehaviour

if TYPE_CHECKING:
    import uvicorn

_START_SECONDS = 30.0
_BACKLOG = 512


class RunningFakeMassive:
    """A server in a daemon thread, from `start` to `stop`. Thread-safe.

    Raises BadInputError if the address cannot be used, UsageError if uvicorn or starlette is not installed.
    """

    def __init__(self, fake: FakeMassive, host: str = "127.0.0.1", port: int = 0) -> None:
        self.fake = fake
        self._up, self._ended = threading.Event(), threading.Event()
        self._error: OSError | None = None
        self._server = _server(fake, self._up)
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self._socket = socket.create_server((host, port), family=family, backlog=_BACKLOG)
        except OSError as error:
            raise BadInputError(f"port {port} on {host} cannot be used: {error.strerror or error}") from error
        # asyncio sets this only on sockets with a known protocol; without it each small answer takes 40 ms.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"
        self._thread = threading.Thread(target=self._run, name=f"fake-massive-{self.port}", daemon=True)

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
        self._thread.start()
        if not self._up.wait(_START_SECONDS) or self._ended.is_set():
            raise ServiceUnreachableError(f"the fake Massive API did not start on {self.url}: {self._error}")

    def stop(self) -> None:
        """Finishes answers in progress, drops delayed ones, closes all connections, ends the thread."""
        self._server.should_exit = True
        if self._thread.ident is not None:
            self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._socket])
        except OSError as error:
            self._error = error
        finally:
            self._ended.set()
            self._up.set()


@contextmanager
def running_fake_massive(
    fake: FakeMassive | None = None,
    misbehaviours: Iterable[Misbehaviour | str] = (),
    *,
    host: str = "127.0.0.1",
    port: int = 0,
) -> Iterator[RunningFakeMassive]:
    """Run a server for the length of a block, by default a FakeMassive() on a free port.

    `misbehaviours` are added after those of `fake`; texts are parsed by `parse_misbehaviour`.
    """
    server = RunningFakeMassive(FakeMassive() if fake is None else fake, host, port)
    try:
        for rule in misbehaviours:
            server.fake.rules.add(parse_misbehaviour(rule) if isinstance(rule, str) else rule)
        server.start()
        yield server
    finally:
        server.stop()


@contextmanager
def fake_massive_process(*words: str) -> Iterator[str]:
    """Run `streamworkers fake-massive WORDS` in a process of its own, and yield its base URL.

    Raises ServiceUnreachableError if it does not start.
    """
    command = [sys.executable, "-m", "streamworkers", "fake-massive", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)  # noqa: S603  # ours
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        if not url:
            raise ServiceUnreachableError(f"the fake Massive API ended with exit code {process.wait()}")
        yield url
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        process.wait()
        process.stdout.close()


def _server(fake: FakeMassive, up: threading.Event) -> "uvicorn.Server":
    try:
        import uvicorn

        from streamworkers_fakes.massive.app import build_app
    except ImportError as error:
        raise UsageError(
            "the fake Massive API needs the packages starlette and uvicorn; pip install 'streamworkers[fakes]'"
        ) from error

    stopping = asyncio.Event()

    class Server(uvicorn.Server):
        """Signals when it is up, and drops delayed answers before it waits for the others."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            up.set()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            stopping.set()
            await super().shutdown(sockets)

    config = uvicorn.Config(
        build_app(fake, stopping),
        log_config=None,
        log_level="critical",
        access_log=False,
        lifespan="off",
        ws="none",
        backlog=_BACKLOG,
        timeout_keep_alive=60,
        server_header=False,
        date_header=False,  # the API's clock may be stopped
        proxy_headers=False,
    )
    return Server(config)
