"""A Starlette application as a running server: in a thread of this process, or in a process of its own."""

import asyncio
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from streamworkers.errors import BadInputError, ServiceUnreachableError, UsageError

if TYPE_CHECKING:
    import uvicorn
    from starlette.applications import Starlette

_START_SECONDS = 30.0
_BACKLOG = 512


class Certificate(NamedTuple):
    """The files of a certificate and its key."""

    chain: Path
    key: Path


class RunningServer:
    """A server in a daemon thread, from `start` to `stop`. Thread-safe.

    `build` makes the application; once the event that it gets is set, delayed answers are dropped.
    Raises BadInputError if the address cannot be used, UsageError if uvicorn or starlette is not installed.
    """

    title = "fake"

    def __init__(
        self,
        build: "Callable[[asyncio.Event], Starlette]",
        host: str = "127.0.0.1",
        port: int = 0,
        certificate: Certificate | None = None,
    ) -> None:
        self._up, self._ended = threading.Event(), threading.Event()
        self._error: OSError | None = None
        self._server = _make_server(build, self._up, certificate, self.title)
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self._socket = socket.create_server((host, port), family=family, backlog=_BACKLOG)
        except OSError as error:
            raise BadInputError(f"port {port} on {host} cannot be used: {error.strerror or error}") from error
        # asyncio sets this only on sockets with a known protocol; without it each small answer takes 40 ms.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.port: int = self._socket.getsockname()[1]
        scheme = "http" if certificate is None else "https"
        self.url = f"{scheme}://[{host}]:{self.port}" if ":" in host else f"{scheme}://{host}:{self.port}"
        self._thread = threading.Thread(target=self._run, name=f"fake-{self.port}", daemon=True)

    def start(self) -> None:
        """Starts the server; returns when it accepts calls. Raises ServiceUnreachableError if it does not start."""
        self._thread.start()
        if not self._up.wait(_START_SECONDS) or self._ended.is_set():
            raise ServiceUnreachableError(f"the {self.title} did not start on {self.url}: {self._error}")

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


class _Running(Protocol):
    def start(self) -> None: ...
    def stop(self) -> None: ...


_S = TypeVar("_S", bound=_Running)


@contextmanager
def running(server: _S) -> Iterator[_S]:
    """Run a server for the length of a block."""
    try:
        server.start()
        yield server
    finally:
        server.stop()


@contextmanager
def command_process(title: str, *words: str) -> Iterator[str]:
    """Run `streamworkers WORDS` in a process of its own, and yield the first line that it prints.

    Raises ServiceUnreachableError if it does not start.
    """
    command = [sys.executable, "-m", "streamworkers", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)  # noqa: S603  # ours
    assert process.stdout is not None
    try:
        line = process.stdout.readline().strip()
        if not line:
            raise ServiceUnreachableError(f"the {title} ended with exit code {process.wait()}")
        yield line
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        process.wait()
        process.stdout.close()


def stop_signal() -> threading.Event:
    """Return an event that SIGTERM and Ctrl-C set; for the main thread of a command."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def drop_connection(scope: Any) -> None:
    """Close the connection of a request without an answer."""
    scope["state"]["transport"].abort()


def _make_server(
    build: "Callable[[asyncio.Event], Starlette]",
    up: threading.Event,
    certificate: Certificate | None,
    title: str,
) -> "uvicorn.Server":
    stopping = asyncio.Event()
    try:
        import uvicorn
        from uvicorn.protocols.http.h11_impl import H11Protocol

        app = build(stopping)
    except ImportError as error:
        raise UsageError(
            f"the {title} needs the packages starlette and uvicorn; pip install 'streamworkers[fakes]'"
        ) from error

    class Protocol(H11Protocol):
        """Gives each request its connection, so that an application can drop it."""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.app_state = {**self.app_state, "transport": transport}

    class Server(uvicorn.Server):
        """Signals when it is up, and drops delayed answers before it waits for the others."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            up.set()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            stopping.set()
            await super().shutdown(sockets)

    config = uvicorn.Config(
        app,
        http=Protocol,
        log_config=None,
        log_level="critical",
        access_log=False,
        lifespan="off",
        ws="none",
        backlog=_BACKLOG,
        timeout_keep_alive=60,
        server_header=False,
        date_header=False,  # the clock of an API may be stopped
        proxy_headers=False,
        ssl_certfile=None if certificate is None else str(certificate.chain),
        ssl_keyfile=None if certificate is None else str(certificate.key),
    )
    return Server(config)
