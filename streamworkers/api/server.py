"""The HTTP server: uvicorn in a thread, whose connections may wait for nothing without an end."""

import asyncio
import socket
import threading
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from streamworkers.errors import BadInputError

REQUEST_SECONDS = 10.0
_MOST_CONNECTIONS = 1_000
_MOST_HEADER_BYTES = 32_768


class BoundedProtocol(H11Protocol):
    """Closes a connection whose next request has not come whole, but for its body, in time."""

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Give the first request its time, and let no answer wait for an acknowledgement of its headers."""
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Give a request that has begun and is not there yet its time."""
        super().data_received(data)
        if self._is_working():
            self._stop_waiting()
        elif self._waiting is None:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the time of a connection that has gone."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _is_working(self) -> bool:
        cycle: Any = self.cycle  # None before the first request
        return cycle is not None and not cycle.response_complete

    def _wait(self) -> None:
        self._waiting = self.loop.call_later(REQUEST_SECONDS, self._end)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _end(self) -> None:
        self._waiting = None
        if not self._is_working():
            self.transport.close()


class ApiServer:
    """Listens from the beginning, and answers from `start` on."""

    def __init__(self, host: str, port: int, app: Any) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._socket = socket.create_server((host, port), family=family, backlog=128)
        except OSError as error:
            raise BadInputError(f"port {port} on {host} cannot be used for the API: {error.strerror}") from None
        config = uvicorn.Config(
            app,
            http=BoundedProtocol,
            ws="none",
            lifespan="off",
            loop="asyncio",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_keep_alive=15,
            timeout_graceful_shutdown=5,
            h11_max_incomplete_event_size=_MOST_HEADER_BYTES,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), name="http", daemon=True)

    @property
    def port(self) -> int:
        """The port it listens on, which the system chose if 0 was given."""
        return int(self._socket.getsockname()[1])

    @property
    def is_alive(self) -> bool:
        """False once it has ended."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start answering in a thread."""
        self._thread.start()

    def stop(self, seconds: float = 8.0) -> None:
        """ApiAnswer what is in progress, at most for 5 s, and close the port."""
        self._server.should_exit = True
        if self._thread.ident is not None:
            self._thread.join(seconds)
        self._socket.close()
