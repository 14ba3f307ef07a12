"""The fake receiver as a running server: in a thread of this process, or in a process of its own."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from streamworkers_fakes.serving import Certificate, RunningServer, command_process, drop_connection, running
from streamworkers_fakes.webhook.receiver import FakeReceiver, HookCall

if TYPE_CHECKING:
    from starlette.applications import Starlette


class RunningFakeReceiver(RunningServer):
    """A receiver in a daemon thread, from `start` to `stop`."""

    title = "fake receiver"

    def __init__(
        self,
        receiver: FakeReceiver,
        host: str = "127.0.0.1",
        port: int = 0,
        certificate: Certificate | None = None,
    ) -> None:
        self.receiver = receiver
        super().__init__(lambda stopping: _build_app(receiver, stopping), host, port, certificate)

    @property
    def calls(self) -> list[HookCall]:
        """A copy of the calls that were received."""
        return self.receiver.calls

    @property
    def taken(self) -> list[HookCall]:
        """The calls that were accepted, whether or not the sender learned of it."""
        return [call for call in self.calls if call.taken]


def _build_app(receiver: FakeReceiver, stopping: asyncio.Event) -> "Starlette":
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response, StreamingResponse
    from starlette.routing import Route
    from starlette.types import Receive, Scope, Send

    class Dropped(Response):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            drop_connection(scope)
            await receive()  # the disconnection; without it uvicorn answers 500

    async def trickle(body: bytes, pause: float) -> AsyncIterator[bytes]:
        for byte in body:
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), pause)
            yield bytes([byte])

    async def receive_call(request: Request) -> Response:
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        answer = receiver.receive(path, dict(request.headers), await request.body())
        if answer.status == 0:
            return Dropped()
        if answer.pause:
            return StreamingResponse(trickle(answer.body, answer.pause), answer.status)
        return Response(answer.body, answer.status, dict(answer.headers))

    return Starlette(routes=[Route("/{path:path}", receive_call, methods=["POST"])])


@contextmanager
def running_fake_receiver(
    receiver: FakeReceiver | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    certificate: Certificate | None = None,
) -> Iterator[RunningFakeReceiver]:
    """Run a receiver for the length of a block, by default on a free port and without secrets."""
    with running(
        RunningFakeReceiver(FakeReceiver() if receiver is None else receiver, host, port, certificate)
    ) as server:
        yield server


@contextmanager
def fake_receiver_process(*words: str) -> Iterator[str]:
    """Run `streamworkers fake-webhook WORDS` in a process of its own, and yield its URL."""
    with command_process("fake receiver", "fake-webhook", *words) as url:
        yield url
