"""The fake Bot API as a Starlette application: HTTP around `FakeBotApi`, and doors to control it."""

import asyncio
from contextlib import suppress
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any, Final

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from streamworkers.errors import UsageError
from streamworkers_fakes.serving import drop_connection
from streamworkers_fakes.telegram.bot_api import BotAnswer, FakeBotApi
from streamworkers_fakes.telegram.plans import parse_bot_plan

CONTROL_PATH: Final = "/__control__"
LOG_PATH: Final = "/__log__"
_LOOK_SECONDS = 0.01  # between two looks for updates
_MOST_POLL_SECONDS = 50.0


class _Said(msgspec.Struct, forbid_unknown_fields=True):
    text: str
    user: int
    chat: int | None = None
    sent_at: float | None = None


class _Control(msgspec.Struct, forbid_unknown_fields=True):
    """Changes to a running fake: plans, messages of users, and any other updates."""

    clear: bool = False
    plans: list[str] = []
    say: list[_Said] = []
    updates: list[dict[str, dict[str, Any]]] = []


class _Answer(Response):
    """Sends an answer late, or closes the connection instead."""

    def __init__(self, answer: BotAnswer, stopping: asyncio.Event) -> None:
        super().__init__(answer.body, answer.status or 500, media_type="application/json")
        self._answer, self._stopping = answer, stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._answer.delay:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._answer.delay)
        if self._answer.status == 0:
            drop_connection(scope)
            await receive()  # the disconnection; without it uvicorn answers 500
            return
        await super().__call__(scope, receive, send)


def build_app(fake: FakeBotApi, stopping: asyncio.Event) -> Starlette:
    """Return the application; once `stopping` is set, polls and delayed answers end."""
    poller = _Poller(fake, stopping)

    async def log(_: Request) -> Response:
        return Response(msgspec.json.encode({"calls": fake.log.calls()}), media_type="application/json")

    async def control(request: Request) -> Response:
        try:
            _apply(fake, msgspec.json.decode(await request.body(), type=_Control))
        except (msgspec.MsgspecError, UsageError) as error:
            return Response(str(error), 400, media_type="text/plain")
        return Response(b"{}", media_type="application/json")

    async def api(request: Request) -> Response:
        if request.path_params["token"] != fake.token:
            return _Answer(fake.unauthorized(), stopping)
        method = request.path_params["method"]
        parameters, photo = await _read(request)
        if method == "getUpdates":
            return _Answer(await poller.poll(parameters), stopping)
        return _Answer(fake.call(method, parameters, photo), stopping)

    return Starlette(
        routes=[
            Route(LOG_PATH, log),
            Route(CONTROL_PATH, control, methods=["POST"]),
            Route("/bot{token}/{method}", api, methods=["GET", "POST"]),
        ]
    )


async def _read(request: Request) -> tuple[dict[str, Any], bytes | None]:
    """Return the parameters of a call, of JSON or of a form, and its photo."""
    kind, body = request.headers.get("content-type", ""), await request.body()
    if kind.startswith("application/json"):
        return msgspec.json.decode(body, type=dict[str, Any]), None
    parameters: dict[str, Any] = {name: _decode(value) for name, value in request.query_params.items()}
    photo = None
    if kind.startswith("multipart/form-data"):
        form = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body)
        for part in form.iter_parts():
            name = part.get_param("name", header="content-disposition")
            content = part.get_payload(decode=True)
            assert isinstance(content, bytes)
            if part.get_filename() is not None:
                photo = content
            else:
                parameters[str(name)] = _decode(content.decode())
    return parameters, photo


def _decode(text: str) -> Any:
    """Values of forms are JSON where that is an object, a list or a number."""
    try:
        value = msgspec.json.decode(text)
    except msgspec.MsgspecError:
        return text
    return value if isinstance(value, dict | list | int) else text


def _apply(fake: FakeBotApi, control: _Control) -> None:
    plans = [parse_bot_plan(text) for text in control.plans]
    if control.clear:
        fake.plans.clear()
    for plan in plans:
        fake.plans.add(plan)
    for said in control.say:
        fake.say(said.text, user=said.user, chat=said.chat, sent_at=said.sent_at)
    for update in control.updates:
        for kind, content in update.items():
            fake.add_update(kind, content)


class _Poller:
    """Lets one program wait for updates: another one that asks ends the first one's wait with 409."""

    def __init__(self, fake: FakeBotApi, stopping: asyncio.Event) -> None:
        self._fake, self._stopping = fake, stopping
        self._newest = 0

    async def poll(self, parameters: dict[str, Any]) -> BotAnswer:
        plan = self._fake.plans.take("getUpdates", None)
        if plan is not None:
            return self._fake.answer("getUpdates", parameters, None, plan)
        self._newest += 1
        self._fake.polls += 1
        mine, loop = self._newest, asyncio.get_running_loop()
        ends = loop.time() + min(float(parameters.get("timeout", 0)), _MOST_POLL_SECONDS)
        while True:
            if mine != self._newest:
                return self._fake.conflict()
            if self._fake.has_updates(parameters) or loop.time() >= ends or self._stopping.is_set():
                return self._fake.answer("getUpdates", parameters)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), _LOOK_SECONDS)
