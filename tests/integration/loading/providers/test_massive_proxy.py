"""The provider `massive` behind proxies: CONNECT to an API that speaks TLS, with TLS to the proxy too or without."""

import select
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr

from certificates import Authority
from harness import run_status
from loading import THIRTY, Loader, massive, results
from patience import patient
from streamworkers.config import Settings
from streamworkers.errors import ItemError, UsageError
from streamworkers.loading.outages import list_outages
from streamworkers.loading.providers.massive import Massive
from streamworkers.loading.providers.provider import BarsRequest, ProxyError, TransientError
from streamworkers.loading.providers.transport import explain_proxy_answer
from streamworkers.market.calendar.timeframes import TIMEFRAMES
from streamworkers_fakes.massive import FakeMassive, RunningFakeMassive, running_fake_massive

KEY = "a-very-secret-key"
NOW = datetime(2025, 12, 5, 23, 0, tzinfo=UTC)
WEEK = BarsRequest("AAPL", TIMEFRAMES["day"], date(2025, 11, 24), date(2025, 11, 28))
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def server(authority: Authority) -> Iterator[RunningFakeMassive]:
    fake = FakeMassive(now=NOW, api_keys=[KEY])
    with running_fake_massive(fake, certificate=authority.issue("localhost")) as running:
        yield running


class Proxy:
    """Answers one CONNECT on each connection; `seen` is everything that clients have sent to it."""

    def __init__(self, answer: bytes, context: ssl.SSLContext | None) -> None:
        self.answer, self.context, self.seen = answer, context, bytearray()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        """End, with all connections that clients have closed."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(patient(30))

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
                self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), self._secured(connection) as client:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += client.recv(1)
            self.seen += head
            client.sendall(self.answer)
            if self.answer == ESTABLISHED:
                port = int(head.split()[1].rpartition(b":")[2])
                with socket.create_connection(("127.0.0.1", port)) as there:
                    self._splice(client, there)

    def _secured(self, connection: socket.socket) -> socket.socket:
        return connection if self.context is None else self.context.wrap_socket(connection, server_side=True)

    def _splice(self, client: socket.socket, there: socket.socket) -> None:
        while True:
            pending = isinstance(client, ssl.SSLSocket) and client.pending()
            ready = [client] if pending else select.select([client, there], [], [], patient(10))[0]
            for source, target in ((client, there), (there, client)):
                if source in ready:
                    part = source.recv(65536)
                    if not part:
                        return
                    self.seen += part if source is client else b""
                    target.sendall(part)


@contextmanager
def proxy(answer: bytes = ESTABLISHED, context: ssl.SSLContext | None = None) -> Iterator[Proxy]:
    found = Proxy(answer, context)
    try:
        yield found
    finally:
        found.close()


def days(server: RunningFakeMassive, proxy_url: str, ca_file: Path | None) -> int:
    source = Massive(
        Settings(
            massive_api_key=SecretStr(KEY),
            massive_base_url=f"https://localhost:{server.port}",
            massive_proxy=SecretStr(proxy_url),
            massive_ca_file=ca_file,
        )
    )
    try:
        return sum(len(page.bars) for page in source.pages(WEEK))
    finally:
        source.close()


def failure(server: RunningFakeMassive, proxy_url: str, ca_file: Path | None) -> str:
    with pytest.raises(TransientError) as raised:
        days(server, proxy_url, ca_file)
    return str(raised.value)


def test_a_tunnel_through_a_proxy_leads_to_the_api_and_hides_the_key(
    server: RunningFakeMassive, authority: Authority
) -> None:
    with proxy() as between:
        assert days(server, f"http://me:pass@127.0.0.1:{between.port}", authority.file) == 4
    assert between.seen.startswith(f"CONNECT localhost:{server.port} HTTP/1.1\r\n".encode())
    assert b"Proxy-Authorization: Basic " in between.seen
    assert KEY.encode() not in between.seen


def test_the_proxy_may_speak_tls_itself(server: RunningFakeMassive, authority: Authority) -> None:
    own = authority.issue("127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own.chain, own.key)
    with proxy(context=context) as between:
        assert days(server, f"https://127.0.0.1:{between.port}", authority.file) == 4
    assert between.seen.startswith(b"CONNECT localhost:")


OUTAGES = {
    408: "HTTP 408 (Request Timeout)",
    429: "HTTP 429 (Too Many Requests)",
    500: "HTTP 500 (Internal Server Error)",
    502: "HTTP 502 (Bad Gateway)",
    503: "HTTP 503 (Service Unavailable)",
    504: "HTTP 504 (Gateway Timeout)",
    599: "HTTP 599",
}
LASTING = {
    302: "HTTP 302 (Found)",
    400: "HTTP 400 (Bad Request)",
    401: "HTTP 401 (Unauthorized)",
    403: "HTTP 403 (Forbidden)",
    404: "HTTP 404 (Not Found)",
    405: "HTTP 405 (Method Not Allowed)",
    499: "HTTP 499",
    501: "HTTP 501 (Not Implemented)",
    511: "HTTP 511 (Network Authentication Required)",
}
PASSWORD = "pass-of-the-proxy"
WANTS_PASSWORD = "the proxy wants another user and password in the URL of STREAMWORKERS_MASSIVE_PROXY: HTTP 407"


def answered(code: int) -> bytes:
    """An answer that repeats the password, as a proxy should not."""
    return f"HTTP/1.1 {code} no {PASSWORD}\r\nContent-Length: 9\r\nConnection: close\r\n\r\n<p>no</p>".encode()


@pytest.mark.parametrize("code", [*OUTAGES, *LASTING, 407])
def test_every_answer_of_a_proxy_that_opens_no_tunnel_is_an_outage_or_ends_the_run(
    code: int, server: RunningFakeMassive, authority: Authority
) -> None:
    name = "the proxy in STREAMWORKERS_MASSIVE_PROXY"
    expected: tuple[type[Exception], str] = (ProxyError, f"{WANTS_PASSWORD} (Proxy Authentication Required)")
    if code in OUTAGES:
        expected = TransientError, f"{name} did not reach localhost: {OUTAGES[code]}"
    elif code in LASTING:
        expected = ProxyError, f"{name} does not lead to localhost: it answered {LASTING[code]}"
    with proxy(answered(code)) as between, pytest.raises(ItemError) as raised:
        days(server, f"http://me:{PASSWORD}@127.0.0.1:{between.port}", authority.file)
    assert (type(raised.value), str(raised.value)) == expected


def test_what_is_no_answer_of_a_proxy_is_an_outage() -> None:
    error = explain_proxy_answer("0 for 5", "localhost")
    assert type(error) is TransientError
    assert str(error) == "the proxy in STREAMWORKERS_MASSIVE_PROXY did not lead to localhost"


@pytest.mark.parametrize(("code", "error"), [(407, WANTS_PASSWORD), (403, "it answered HTTP 403 (Forbidden)")])
def test_a_load_through_a_proxy_that_rejects_its_calls_ends_at_once_with_one_error(
    code: int, error: str, loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without TLS there is no tunnel: the proxy answers in the place of the API."""
    with proxy(answered(code)) as between, massive(monkeypatch) as api:
        monkeypatch.setenv("STREAMWORKERS_MASSIVE_PROXY", f"http://me:{PASSWORD}@127.0.0.1:{between.port}")
        run = loader.load(*THIRTY[:12], first="2025-11-17", last="2025-11-21")
        assert api.calls == []
    assert run_status(loader.connection, run) == "FAILED"
    found = results(loader.connection, run).values()
    assert [state for state, _, _ in found].count("failed") == 1
    (text,) = {text for _, _, text in found}
    assert text is not None
    assert text.startswith("ProxyError: ")
    assert error in text
    assert PASSWORD not in text
    assert list_outages(loader.connection) == []


def test_an_authority_that_is_not_named_is_not_trusted(server: RunningFakeMassive) -> None:
    with proxy() as between:
        text = failure(server, f"http://127.0.0.1:{between.port}", None)
    assert text.startswith("massive: ConnectError: ")
    assert "certificate verify failed" in text
    assert KEY.encode() not in between.seen


def test_a_file_without_a_certificate_is_named(tmp_path: Path) -> None:
    def rejected(file: Path) -> str:
        with pytest.raises(UsageError) as raised:
            Massive(Settings(massive_api_key=SecretStr(KEY), massive_ca_file=file))
        return str(raised.value)

    gone, empty = tmp_path / "gone.pem", tmp_path / "empty.pem"
    empty.write_text("no certificate")
    assert rejected(gone) == f"STREAMWORKERS_MASSIVE_CA_FILE='{gone}' cannot be used: No such file or directory"
    assert rejected(empty) == f"STREAMWORKERS_MASSIVE_CA_FILE='{empty}' cannot be used: it holds no certificate"
