"""The door: bounds what a request may be and take, works on it in a thread, and answers in every case."""

import asyncio
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import replace
from typing import Any

import msgspec

from streamworkers.api.event_answers import STREAM_HEADERS, stream_events, wait_for_page
from streamworkers.api.event_feed import EventFeed, Follower
from streamworkers.api.metrics import ApiMetrics
from streamworkers.api.operation import Operation, Routes
from streamworkers.api.probes import Probes
from streamworkers.api.problem import Problem, Unavailable, to_headers, write_problem
from streamworkers.api.routes.table import OPERATIONS
from streamworkers.api.threads import DaemonThreads
from streamworkers.api.working import ApiRequest, Outgoing, RequestWorker
from streamworkers.config import Settings
from streamworkers.logger import get_logger

log = get_logger()
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
LONGEST_PATH = 2_000
LONGEST_QUERY = 8_000
ADMISSION_SECONDS = 1.0
SEND_SECONDS = 10.0
# So many times the largest body is read and dropped, for clients that read no answer before they have sent all.
_DRAINED = 8
# Nothing of an answer is for another site, and nothing of it is a page.
_ALWAYS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


class Gateway:
    """The ASGI application. No header of a proxy and no Host is trusted: the address is that of the connection."""

    def __init__(
        self,
        settings: Settings,
        worker: RequestWorker,
        probes: Probes,
        feed: EventFeed,
        metrics: ApiMetrics,
    ) -> None:
        self._settings, self._routes, self._worker = settings, Routes(OPERATIONS), worker
        self._probes, self._feed, self._metrics = probes, feed, metrics
        self._threads = DaemonThreads(settings.api_connections, "request")
        self._slots: asyncio.Semaphore | None = None

    def close(self) -> None:
        """Let the threads end, without waiting for one that hangs."""
        self._threads.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ApiAnswer one request."""
        if scope["type"] != "http":
            return
        if (probe := self._probes.find(scope["method"], scope["path"])) is not None:
            await _send(send, await probe(), str(uuid.uuid4()))
            return
        request_id, began = str(uuid.uuid4()), time.monotonic()
        operation: Operation | None = None
        try:
            operation, values = self._find(scope)
            async with asyncio.timeout(self._settings.api_request_seconds):
                body = await self._read(scope, receive)
            request = self._make_request(scope, request_id, operation, values, body)
            with self._metrics.in_progress():
                outgoing = await self._work(request)
            if (wanted := outgoing.follow) is not None:
                with self._feed.following(wanted.position) as follower:
                    # Before it waits: how long a run takes is no duration of a request.
                    self._note(request_id, operation, outgoing, time.monotonic() - began)
                    await self._follow(follower, outgoing, receive, send, request_id)
                return
        except TimeoutError:
            outgoing = _write(Problem(408, "too-slow", "the body did not arrive in time"), request_id)
        except Problem as problem:
            outgoing = _write(problem, request_id)
        await _send(send, outgoing, request_id)
        self._note(request_id, operation, outgoing, time.monotonic() - began)

    def _find(self, scope: Scope) -> tuple[Operation, dict[str, str]]:
        if len(scope.get("raw_path") or scope["path"]) > LONGEST_PATH or len(scope["query_string"]) > LONGEST_QUERY:
            raise Problem(414, "too-long", f"a path has at most {LONGEST_PATH} bytes, and a query {LONGEST_QUERY}")
        return self._routes.find(scope["method"], scope["path"])

    async def _read(self, scope: Scope, receive: Receive) -> bytes:
        most = self._settings.api_body_bytes
        too_large = Problem(
            413, "too-large", f"the body exceeds STREAMWORKERS_API_BODY_BYTES={most}", headers={"Connection": "close"}
        )
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared[:20]) > _DRAINED * most:
            raise too_large
        parts, size = [], 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Problem(400, "gone", "the client has gone")
            part = message.get("body", b"")
            size += len(part)
            if size > _DRAINED * most or (size > most and not message.get("more_body")):
                raise too_large
            if size <= most:
                parts.append(part)
            if not message.get("more_body"):
                return b"".join(parts)

    def _make_request(
        self, scope: Scope, request_id: str, operation: Operation, values: dict[str, str], body: bytes
    ) -> ApiRequest:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if body and headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
            raise Problem(415, "not-json", "a body is `Content-Type: application/json`")
        address = scope["client"][0] if scope.get("client") else ""
        return ApiRequest(
            request_id,
            operation,
            scope["path"],
            values,
            scope["query_string"],
            headers,
            address,
            body,
            threading.Event(),
        )

    async def _work(self, request: ApiRequest) -> Outgoing:
        """Let a thread work on it; a request that takes too long is answered, and takes no effect from then on."""
        slots = self._slots = self._slots or asyncio.Semaphore(self._settings.api_connections)
        try:
            async with asyncio.timeout(ADMISSION_SECONDS):
                await slots.acquire()
        except TimeoutError:
            raise Unavailable("more requests are in progress than this process works on at once", "busy") from None
        future = asyncio.wrap_future(self._threads.submit(self._worker.answer, request))
        future.add_done_callback(lambda _: slots.release())
        done, _ = await asyncio.wait([future], timeout=self._settings.api_request_seconds)
        if not done:
            request.abandoned.set()
            text = "the request took too long; if it changes something, repeat it with the same Idempotency-Key"
            raise Unavailable(text, "time-limit")
        return future.result()

    async def _follow(
        self, follower: Follower, outgoing: Outgoing, receive: Receive, send: Send, request_id: str
    ) -> None:
        """Send a page when there is one, or events as they come, as far as the client takes them in time."""
        wanted = outgoing.follow
        if wanted is not None and wanted.wait is not None:
            page = await wait_for_page(follower, receive, wanted.wait)
            await _send(send, replace(outgoing, body=msgspec.json.encode(page)), request_id)
            return

        async def send_bytes(body: bytes) -> None:
            async with asyncio.timeout(SEND_SECONDS):
                await send({"type": "http.response.body", "body": body, "more_body": True})

        headers = to_headers({**_ALWAYS, **outgoing.headers, **STREAM_HEADERS, "X-Request-Id": request_id})
        try:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await stream_events(follower, receive, send_bytes, self._settings.api_stream_seconds)
            async with asyncio.timeout(SEND_SECONDS):
                await send({"type": "http.response.body", "body": b""})
        except TimeoutError:
            log.info("answer_not_taken", request=request_id)

    def _note(self, request_id: str, operation: Operation | None, outgoing: Outgoing, seconds: float) -> None:
        route = operation.route if operation is not None else "unknown"
        method = operation.method if operation is not None else "unknown"
        self._metrics.observe(method, route, outgoing.status, seconds)
        if outgoing.problem is not None:
            self._metrics.count_problem(outgoing.problem)
        level = log.warning if outgoing.status >= 500 else log.info
        if operation is None or operation.changing or outgoing.status >= 400:
            level(
                "request",
                request=request_id,
                method=method,
                route=route,
                status=outgoing.status,
                seconds=round(seconds, 4),
                token_id=outgoing.token,
            )


def _write(problem: Problem, request_id: str) -> Outgoing:
    headers = {"Content-Type": "application/problem+json", **problem.headers}
    return Outgoing(problem.status, headers, write_problem(problem, request_id), problem=problem.code)


async def _send(send: Send, outgoing: Outgoing, request_id: str) -> None:
    headers = {**_ALWAYS, **outgoing.headers, "Content-Length": len(outgoing.body), "X-Request-Id": request_id}
    try:
        async with asyncio.timeout(SEND_SECONDS):
            await send({"type": "http.response.start", "status": outgoing.status, "headers": to_headers(headers)})
            await send({"type": "http.response.body", "body": outgoing.body})
    except TimeoutError:
        log.info("answer_not_taken", request=request_id)
