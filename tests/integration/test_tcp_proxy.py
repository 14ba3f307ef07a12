"""The proxy of the fault tests does what they believe it does, seen with plain sockets."""

import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from harness import wait_until
from patience import patient
from tcp_proxy import TcpProxy


@pytest.fixture
def echo_path() -> Iterator[str]:
    """A Unix socket behind which all that comes is sent back."""
    with tempfile.TemporaryDirectory(prefix="sw-echo-") as folder:
        path = str(Path(folder) / "echo.sock")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen(64)
            thread = threading.Thread(target=_serve, args=(listener,))
            thread.start()
            yield path
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(patient(30))
            assert not thread.is_alive()


@pytest.fixture
def proxy(echo_path: str) -> Iterator[TcpProxy]:
    with TcpProxy(echo_path) as made:
        yield made


def test_bytes_come_through_unchanged_also_many(proxy: TcpProxy) -> None:
    sent = os.urandom(4_000_000)
    with _client(proxy) as client:
        sender = threading.Thread(target=client.sendall, args=(sent,))
        sender.start()
        assert _receive(client, len(sent)) == sent
        sender.join()


def test_a_tcp_target_is_reached_too_and_both_ends_see_a_clean_end(proxy: TcpProxy) -> None:
    with TcpProxy(("127.0.0.1", proxy.port)) as outer:
        with _client(outer) as client:
            client.sendall(b"hello")
            assert _receive(client, 5) == b"hello"
            assert (outer.connections, proxy.connections) == (1, 1)
        wait_until(lambda: (outer.connections, proxy.connections) == (0, 0))


def test_cut_resets_all_connections_and_the_next_one_is_served(proxy: TcpProxy) -> None:
    with _client(proxy) as first, _client(proxy) as second:
        for client in (first, second):
            client.sendall(b"x")
            assert _receive(client, 1) == b"x"
        proxy.cut()
        assert proxy.connections == 0
        for client in (first, second):
            with pytest.raises(ConnectionResetError):
                client.recv(1)
    _assert_serves(proxy)


@pytest.mark.parametrize("count", [0, 1, 7, 100])
def test_cut_after_lets_exactly_that_many_bytes_of_replies_through(proxy: TcpProxy, count: int) -> None:
    proxy.cut_after(count)
    with _client(proxy) as client:
        client.sendall(b"0123456789" * 20)
        assert _received_until_reset(client) == (b"0123456789" * 20)[:count]
    assert proxy.cuts == 1
    _assert_serves(proxy)


def test_cut_after_hits_only_the_connection_that_gets_a_reply_first(proxy: TcpProxy) -> None:
    with _client(proxy) as silent, _client(proxy) as asking:
        silent.sendall(b"x")
        assert _receive(silent, 1) == b"x"
        proxy.cut_after(3)
        asking.sendall(b"ab")
        assert _receive(asking, 2) == b"ab"
        silent.sendall(b"y" * 10)
        assert _receive(silent, 10) == b"y" * 10
        assert proxy.cuts == 0
        asking.sendall(b"cd")
        assert _received_until_reset(asking) == b"c"
        assert proxy.connections == 1


def test_reject_resets_old_and_new_connections_until_it_resumes(proxy: TcpProxy) -> None:
    with _client(proxy) as old:
        proxy.reject()
        with pytest.raises(ConnectionResetError):
            old.recv(1)
    _assert_turned_away(proxy)
    proxy.resume()
    _assert_serves(proxy)


def test_hang_swallows_what_is_sent_and_resume_delivers_it(proxy: TcpProxy) -> None:
    with _client(proxy) as old:
        _assert_answers(old)
        proxy.hang()
        with _client(proxy) as new:
            for client in (old, new):
                client.sendall(b"late")
                client.settimeout(0.3)
                with pytest.raises(TimeoutError):
                    client.recv(1)
            wait_until(lambda: proxy.connections == 2)
            proxy.resume()
            for client in (old, new):
                client.settimeout(patient(30))
                assert _receive(client, 4) == b"late"


def test_a_target_that_is_away_resets_the_connection(proxy: TcpProxy, tmp_path: Path) -> None:
    del proxy
    with TcpProxy(str(tmp_path / "nobody.sock")) as alone:
        _assert_turned_away(alone)
        assert alone.connections == 0


def test_close_leaves_no_thread_and_no_descriptor(echo_path: str) -> None:
    threads, descriptors = threading.active_count(), _descriptors()
    proxy = TcpProxy(echo_path)
    with _client(proxy) as client:
        _assert_answers(client)
        with suppress(OSError):
            proxy.hang()
        proxy.close()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    proxy.close()
    wait_until(lambda: (threading.active_count(), _descriptors()) == (threads, descriptors), what="nothing is left")


def _serve(listener: socket.socket) -> None:
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            threading.Thread(target=_echo, args=(client,)).start()


def _echo(client: socket.socket) -> None:
    with client, suppress(OSError):
        while data := client.recv(65536):
            client.sendall(data)


@contextmanager
def _client(proxy: TcpProxy) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=patient(30)) as opened:
        yield opened


def _receive(client: socket.socket, count: int) -> bytes:
    received = bytearray()
    while len(received) < count and (data := client.recv(65536)):
        received += data
    return bytes(received)


def _received_until_reset(client: socket.socket) -> bytes:
    received = bytearray()
    try:
        while data := client.recv(65536):
            received += data
    except ConnectionResetError:
        return bytes(received)
    pytest.fail("a clean end instead of a reset")


def _assert_answers(client: socket.socket) -> None:
    client.sendall(b"there?")
    assert _receive(client, 6) == b"there?"


def _assert_serves(proxy: TcpProxy) -> None:
    with _client(proxy) as client:
        _assert_answers(client)


def _assert_turned_away(proxy: TcpProxy) -> None:
    # The reset may arrive before the connection is reported as made, or after.
    with pytest.raises(ConnectionResetError), _client(proxy) as client:
        client.recv(1)


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
