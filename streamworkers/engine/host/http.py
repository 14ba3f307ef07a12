"""`/metrics`, `/livez` and `/readyz` over HTTP."""

import threading
import time
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from streamworkers.errors import BadInputError

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

Check = Callable[[], list[str]]
# A slow Redis or PostgreSQL makes requests outlast the timeouts of their senders, who send more of them.
MOST_REQUESTS = 4


class _QuietHandler(WSGIRequestHandler):
    timeout = 10

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name is inherited
        """Log nothing: probes come every few seconds."""


class _ThreadingServer(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class HealthServer:
    """Serves a registry and two checks; a check returns what is wrong, an empty list if nothing is."""

    def __init__(self, host: str, port: int, registry: CollectorRegistry, live: Check, ready: Check) -> None:
        self._metrics_app = make_wsgi_app(registry)
        self._checks = {"/livez": live, "/readyz": ready}
        self._slots = {path: threading.BoundedSemaphore(MOST_REQUESTS) for path in ("/metrics", "/readyz")}
        self._scraped = threading.Condition()
        self._scraped_at = float("-inf")
        try:
            self._server = make_server(host, port, self._answer, _ThreadingServer, _QuietHandler)
        except OSError as error:
            raise BadInputError(f"metrics port {port} on {host} cannot be used: {error.strerror}") from None
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)

    @property
    def port(self) -> int:
        """The port it listens on, which the system chose if 0 was given."""
        return self._server.server_port

    def start(self) -> None:
        """Start serving in a thread."""
        self._thread.start()

    def wait_for_scrape(self, since: float, seconds: float) -> bool:
        """Wait until a scrape that began after `since` (monotonic) has ended; False if none has within `seconds`."""
        with self._scraped:
            return self._scraped.wait_for(lambda: self._scraped_at >= since, seconds)

    def stop(self) -> None:
        """Stop serving and close the port."""
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()

    def _answer(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "/")
        slots = self._slots.get(path)
        if slots is None:
            return self._answer_now(path, environ, start_response)
        if not slots.acquire(blocking=False):
            start_response("503 Service Unavailable", [("Content-Type", "text/plain; charset=utf-8")])
            return [f"{MOST_REQUESTS} requests for {path} are being answered\n".encode()]
        try:
            return self._answer_now(path, environ, start_response)
        finally:
            slots.release()

    def _answer_now(self, path: str, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if path == "/metrics":
            began_at = time.monotonic()
            body: Iterable[bytes] = self._metrics_app(environ, start_response)
            with self._scraped:
                self._scraped_at = began_at
                self._scraped.notify_all()
            return body
        check = self._checks.get(path)
        if check is None:
            status, text = "404 Not Found", "known: /metrics /livez /readyz"
        else:
            wrong = check()
            status, text = ("503 Service Unavailable", "\n".join(wrong)) if wrong else ("200 OK", "ok")
        start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
        return [f"{text}\n".encode()]
