"""The fake Massive API as a Starlette application: HTTP around `FakeMassive`, and endpoints to control it."""

import asyncio
import gzip
import ipaddress
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from streamworkers.errors import UsageError
from streamworkers_fakes.massive.answers import Answer
from streamworkers_fakes.massive.api import Arrival, FakeMassive
from streamworkers_fakes.massive.misbehaviour import Misbehaviour
from streamworkers_fakes.massive.plans import parse_plan

CONTROL_PATH: Final = "/__control__"
LOG_PATH: Final = "/__log__"
_CHUNK = 1 << 20
_TRICKLE_BYTES = 64
_LEAST_COMPRESSED = 1_000


class _Rule(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    value: float | str | None = None
    tickers: list[str] = []
    calls: int | None = None
    share: float = 1.0
    path: str = "/"


class _Control(msgspec.Struct, forbid_unknown_fields=True):
    """Changes to a running server; absent fields are not changed. None means no limit, or the real clock."""

    clear: bool = False
    misbehave: list[_Rule] = []
    forget_calls: bool = False
    now: datetime | msgspec.UnsetType | None = msgspec.UNSET
    latency: float | msgspec.UnsetType = msgspec.UNSET
    calls_per_minute: int | msgspec.UnsetType | None = msgspec.UNSET
    plan: str | msgspec.UnsetType = msgspec.UNSET


class _Delivery(Response):
    """Sends an answer late, in parts, or cut, as it demands; stops if the client disconnects."""

    def __init__(self, answer: Answer, fake: FakeMassive, stopping: asyncio.Event) -> None:
        self._answer, self._stopping = answer, stopping
        self._date = format_datetime(fake.now().astimezone(UTC), usegmt=True)
        self._confesses = fake.confesses
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = self._answer
        if answer.hold_seconds and not await _wait(answer.hold_seconds, receive, self._stopping):
            return
        length = len(answer.body) if answer.declared_length is None else answer.declared_length
        if answer.trickle_seconds:
            await self._trickle(receive, send)
            return
        headers = {"content-type": answer.content_type, "content-length": str(length), **dict(answer.headers)}
        headers["date"] = self._date
        if self._confesses:
            headers["x-invented-bars"] = "streamworkers-fakes"
        raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": answer.status, "headers": raw})
        # A cut response is never finished, so uvicorn closes the connection.
        cut = length != len(answer.body)
        for start in range(0, max(len(answer.body), 1), _CHUNK):
            more = cut or start + _CHUNK < len(answer.body)
            body = answer.body[start : start + _CHUNK]
            await send({"type": "http.response.body", "body": body, "more_body": more})

    async def _trickle(self, receive: Receive, send: Send) -> None:
        """Send a few bytes at a time: no part is late, and the whole takes long."""
        answer = self._answer
        headers = [(b"content-type", answer.content_type.encode()), (b"date", self._date.encode())]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        for start in range(0, len(answer.body), _TRICKLE_BYTES):
            part = answer.body[start : start + _TRICKLE_BYTES]
            await send({"type": "http.response.body", "body": part, "more_body": True})
            if not await _wait(answer.trickle_seconds, receive, self._stopping):
                return
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _wait(seconds: float, receive: Receive, stopping: asyncio.Event) -> bool:
    """Waits; returns False if the client disconnects or the server stops before the time is over."""

    async def until_the_client_leaves() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    ends = [asyncio.create_task(until_the_client_leaves()), asyncio.create_task(stopping.wait())]
    done, _ = await asyncio.wait(ends, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for task in ends:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    return not done


def build_app(fake: FakeMassive, stopping: asyncio.Event) -> Starlette:
    """Return the application; once `stopping` is set, delayed answers are dropped."""

    async def health(request: Request) -> Response:
        return Response(b'{"status":"OK"}', media_type="application/json")

    async def log(request: Request) -> Response:
        if not _is_local(request):
            return _answer_error(403, "only for this machine")
        return Response(msgspec.json.encode({"calls": fake.log.calls()}), media_type="application/json")

    async def control(request: Request) -> Response:
        if not _is_local(request):
            return _answer_error(403, "only for this machine")
        if request.method == "POST":
            try:
                _apply(fake, msgspec.json.decode(await request.body(), type=_Control))
            except (msgspec.DecodeError, UsageError) as error:
                return _answer_error(400, str(error))
        return Response(msgspec.json.encode(_state(fake)), media_type="application/json")

    async def api(request: Request) -> Response:
        scope = request.scope
        arrival = Arrival(
            request.method,
            f"{request.url.scheme}://{request.url.netloc}",
            scope["raw_path"].decode("latin-1"),
            scope["query_string"].decode("latin-1"),
            request.headers.get("authorization"),
            "gzip" in request.headers.get("accept-encoding", ""),
        )
        return _Delivery(await run_in_threadpool(_answer, fake, arrival), fake, stopping)

    return Starlette(
        routes=[
            Route("/healthz", health),
            Route(LOG_PATH, log),
            Route(CONTROL_PATH, control, methods=["GET", "POST"]),
            Route("/{path:path}", api),
        ]
    )


def _answer(fake: FakeMassive, arrival: Arrival) -> Answer:
    """Return the answer, compressed as the API does it if the client takes that."""
    answer = fake.answer(arrival)
    plain = answer.declared_length is not None or answer.trickle_seconds or len(answer.body) < _LEAST_COMPRESSED
    if not arrival.gzip or plain:
        return answer
    headers = (*answer.headers, ("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding"))
    return replace(answer, body=gzip.compress(answer.body, 1), headers=headers)


def _is_local(request: Request) -> bool:
    return request.client is not None and ipaddress.ip_address(request.client.host).is_loopback


def _answer_error(status: int, error: str) -> Response:
    body = msgspec.json.encode({"status": "ERROR", "error": error})
    return Response(body, status, media_type="application/json")


def _apply(fake: FakeMassive, wanted: _Control) -> None:
    """Make the changes; add all misbehaviours or none. Raises UsageError for an invalid one."""
    rules = [
        Misbehaviour(rule.name, rule.value, frozenset(rule.tickers), rule.calls, rule.share, rule.path)
        for rule in wanted.misbehave
    ]
    if not isinstance(wanted.plan, msgspec.UnsetType):
        fake.plan = parse_plan(wanted.plan)
    if not isinstance(wanted.now, msgspec.UnsetType):
        fake.set_now(wanted.now)
    if not isinstance(wanted.latency, msgspec.UnsetType):
        fake.set_latency(wanted.latency)
    if not isinstance(wanted.calls_per_minute, msgspec.UnsetType):
        fake.set_calls_per_minute(wanted.calls_per_minute)
    if wanted.clear:
        fake.rules.clear()
    for rule in rules:
        fake.rules.add(rule)
    if wanted.forget_calls:
        fake.log.clear()


def _state(fake: FakeMassive) -> dict[str, object]:
    return {
        "now": fake.now(),
        "latency": fake.latency,
        "plan": fake.plan.name,
        "calls": len(fake.log.calls()),
        "misbehaviours": [
            {
                "name": rule.name,
                "value": rule.value,
                "tickers": sorted(rule.tickers),
                "calls": rule.calls,
                "share": rule.share,
                "path": rule.path,
            }
            for rule in fake.rules.list()
        ],
    }
