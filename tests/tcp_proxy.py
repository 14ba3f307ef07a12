"""A TCP proxy before a real service that cuts, rejects, or swallows connections when a test says so."""

import selectors
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from patience import patient

_CHUNK = 65536
_CONNECT_SECONDS = 1.0
_ANSWER_SECONDS = 10.0
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(eq=False)
class _Link:
    """A client's connection, and ours to the service once it is made."""

    client: socket.socket
    server: socket.socket | None = None
    to_server: bytearray = field(default_factory=bytearray)
    to_client: bytearray = field(default_factory=bytearray)


class TcpProxy:
    """Listens on a free port of 127.0.0.1 and forwards to `target`, a Unix socket's path or (host, port).

    One thread does all of it. Each method returns after the thread has carried it out.
    """

    def __init__(self, target: str | tuple[str, int]) -> None:
        self._target = target
        self._links: set[_Link] = set()
        self._mode = "forward"
        self._armed: int | None = None
        self._left = 0
        self._victim: _Link | None = None
        self._cuts = 0
        self._closed = False
        self._actions: deque[tuple[Callable[[], None], threading.Event]] = deque()
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name=f"proxy-{self.port}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def connections(self) -> int:
        """How many connections of clients are open."""
        return len(self._links)

    @property
    def cuts(self) -> int:
        """How often `cut_after` has come true."""
        return self._cuts

    def retarget(self, target: str | tuple[str, int]) -> None:
        """Forward new connections to another service; those that are open stay."""
        self._do(lambda: setattr(self, "_target", target))

    def cut(self) -> None:
        """Reset all connections; new ones are welcome."""
        self._do(self._cut_all)

    def cut_after(self, bytes_from_server: int) -> None:
        """Reset the next connection that gets a reply when that many more bytes of replies have passed.

        With 0 the first reply is lost as a whole.
        """

        def arm() -> None:
            self._armed, self._victim = bytes_from_server, None

        self._do(arm)

    def reject(self) -> None:
        """Reset all connections, and each new one as soon as it is made."""

        def change() -> None:
            self._mode = "reject"
            self._cut_all()

        self._do(change)

    def hang(self) -> None:
        """Keep all connections and take new ones, but forward nothing and notice nothing."""

        def change() -> None:
            self._mode = "hang"
            for link in self._links:
                self._watch(link)

        self._do(change)

    def resume(self) -> None:
        """Forward again, also what was sent meanwhile, and forget a cut that has not come true."""

        def change() -> None:
            self._mode, self._armed, self._victim = "forward", None, None
            for link in list(self._links):
                self._connect(link)

        self._do(change)

    def close(self) -> None:
        """Reset all connections and end the thread."""
        if self._thread.is_alive():

            def change() -> None:
                self._closed = True
                self._cut_all()

            self._do(change)
            self._thread.join(patient(_ANSWER_SECONDS))
        for opened in (self._listener, self._wake_read, self._wake_write):
            opened.close()
        self._selector.close()

    def _do(self, action: Callable[[], None]) -> None:
        done = threading.Event()
        self._actions.append((action, done))
        self._wake_write.send(b"!")
        if not done.wait(patient(_ANSWER_SECONDS)):
            raise TimeoutError("the proxy's thread does not answer")

    def _run(self) -> None:
        while not self._closed:
            for key, events in self._selector.select():
                if key.fileobj is self._wake_read:
                    self._act()
                elif key.fileobj is self._listener:
                    self._accept()
                elif key.data in self._links and self._mode == "forward":
                    self._serve(key.data, key.fileobj, events)

    def _act(self) -> None:
        self._wake_read.recv(_CHUNK)
        while self._actions:
            action, done = self._actions.popleft()
            action()
            done.set()

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link = _Link(client)
        self._links.add(link)
        if self._mode == "reject":
            self._cut(link)
        elif self._mode == "forward":
            self._connect(link)

    def _connect(self, link: _Link) -> None:
        if link.server is None:
            is_path = isinstance(self._target, str)
            server = socket.socket(socket.AF_UNIX if is_path else socket.AF_INET)
            server.settimeout(patient(_CONNECT_SECONDS))
            try:
                server.connect(self._target)
            except OSError:
                server.close()
                self._cut(link)
                return
            server.setblocking(False)
            link.server = server
        self._watch(link)

    def _serve(self, link: _Link, ready: Any, events: int) -> None:
        assert link.server is not None
        try:
            if events & selectors.EVENT_WRITE:
                _send(ready, link.to_client if ready is link.client else link.to_server)
            if events & selectors.EVENT_READ:
                data = ready.recv(_CHUNK)
                if not data:
                    self._end(link)
                    return
                if ready is link.client:
                    link.to_server += data
                    _send(link.server, link.to_server)
                else:
                    self._pass_reply(link, data)
        except BlockingIOError:
            pass
        except OSError:
            self._cut(link)
        if link in self._links:
            self._watch(link)

    def _pass_reply(self, link: _Link, data: bytes) -> None:
        if self._armed is not None and self._victim is None:
            self._victim, self._left = link, self._armed
        if link is self._victim:
            data, rest = data[: self._left], data[self._left :]
            self._left -= len(data)
            if self._left == 0 or rest:
                link.client.settimeout(patient(_CONNECT_SECONDS))
                link.client.sendall(link.to_client + data)
                self._armed = None
                self._cuts += 1
                self._cut(link)
                return
        link.to_client += data
        _send(link.client, link.to_client)

    def _watch(self, link: _Link) -> None:
        """Wait for what can be done: to send what is held, or else to receive more."""
        ways = [(link.client, link.to_client, link.to_server)]
        if link.server is not None:
            ways.append((link.server, link.to_server, link.to_client))
        for opened, outgoing, incoming in ways:
            events = (selectors.EVENT_WRITE if outgoing else 0) | (0 if incoming else selectors.EVENT_READ)
            if self._mode != "forward":
                events = 0
            known = opened in self._selector.get_map()
            if known and events:
                self._selector.modify(opened, events, link)
            elif known:
                self._selector.unregister(opened)
            elif events:
                self._selector.register(opened, events, link)

    def _cut_all(self) -> None:
        for link in list(self._links):
            self._cut(link)

    def _cut(self, link: _Link) -> None:
        for opened in (link.client, link.server):
            if opened is not None and opened.family == socket.AF_INET:
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._end(link)

    def _end(self, link: _Link) -> None:
        self._links.discard(link)
        if link is self._victim:
            self._victim = None
        for opened in (link.client, link.server):
            if opened is not None:
                if opened in self._selector.get_map():
                    self._selector.unregister(opened)
                opened.close()


def _send(to: socket.socket, held: bytearray) -> None:
    """Send what can be sent now of what is held."""
    try:
        del held[: to.send(held)]
    except BlockingIOError:
        return
