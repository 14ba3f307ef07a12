"""A fake mail server on aiosmtpd, in a thread of this process or in a process of its own."""

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default as default_policy
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from streamworkers.errors import BadInputError, ServiceUnreachableError, UsageError
from streamworkers_fakes.serving import Certificate, command_process, running
from streamworkers_fakes.smtp.plans import SmtpPlan, SmtpPlans, parse_smtp_plan

if TYPE_CHECKING:
    from aiosmtpd.smtp import SMTP, Envelope, Session

_START_SECONDS = 30.0
Security = Literal["none", "starttls", "tls"]


class TakenMail(NamedTuple):
    """A mail that the server took, whether or not its sender learned of it; `at` is of a clock that never jumps."""

    at: float
    sender: str
    recipients: tuple[str, ...]
    content: bytes
    encrypted: bool
    user: str | None

    @property
    def message(self) -> EmailMessage:
        """The mail, parsed."""
        parsed = message_from_bytes(self.content, policy=default_policy)
        assert isinstance(parsed, EmailMessage)
        return parsed


@dataclass(frozen=True)
class SmtpOptions:
    """`certificate` is what `security` needs; with `user` and `password` nobody sends without logging in."""

    security: Security = "none"
    certificate: Certificate | None = None
    user: str | None = None
    password: str | None = None


class RunningFakeSmtp:
    """A mail server in a daemon thread, from `start` to `stop`. Thread-safe.

    Raises BadInputError if the address cannot be used, UsageError if aiosmtpd is not installed.
    """

    def __init__(self, options: SmtpOptions = SmtpOptions(), host: str = "127.0.0.1", port: int = 0) -> None:
        if options.security != "none" and options.certificate is None:
            raise BadInputError(f"security {options.security} needs a certificate")
        if find_spec("aiosmtpd") is None:
            raise UsageError("the fake mail server needs aiosmtpd; pip install 'streamworkers[fakes]'")
        self.options, self.plans = options, SmtpPlans()
        self._lock = threading.Lock()
        self._mails: list[TakenMail] = []
        try:
            self._socket = socket.create_server((host, port))
        except OSError as error:
            raise BadInputError(f"port {port} on {host} cannot be used: {error.strerror or error}") from error
        self.host, self.port = host, int(self._socket.getsockname()[1])
        self._up = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name=f"fake-smtp-{self.port}", daemon=True)

    @property
    def mails(self) -> list[TakenMail]:
        """A copy of the mails that were taken, in their order."""
        with self._lock:
            return list(self._mails)

    def plan(self, text: str | SmtpPlan) -> None:
        """Add a plan; a text is parsed by `parse_smtp_plan`."""
        self.plans.add(parse_smtp_plan(text) if isinstance(text, str) else text)

    def clear(self) -> None:
        """Forget mails and plans."""
        self.plans.clear()
        with self._lock:
            self._mails.clear()

    def start(self) -> None:
        """Starts the server; returns when it accepts connections."""
        self._thread.start()
        if not self._up.wait(_START_SECONDS):
            raise ServiceUnreachableError(f"the fake mail server did not start on port {self.port}")

    def stop(self) -> None:
        """Closes all connections, ends the thread."""
        if self._thread.ident is None:
            self._loop.close()
        else:
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()
        self._socket.close()

    def take(self, mail: TakenMail) -> None:
        """Keep a mail; for the conversation."""
        with self._lock:
            self._mails.append(mail)

    async def wait_until_stopped(self) -> None:
        """Return when the server stops; for the conversation."""
        await self._stopping.wait()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            with suppress(RuntimeError):
                self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()
            self._up.set()

    async def _serve(self) -> None:
        conversations: list[Any] = []
        context = _tls_context(self.options.certificate)
        implicit = context if self.options.security == "tls" else None

        def begin() -> Any:
            conversations.append(_make_conversation(self, context))
            return conversations[-1]

        server = await self._loop.create_server(begin, sock=self._socket, ssl=implicit)
        self._up.set()
        await self._stopping.wait()
        server.close()
        for conversation in conversations:
            if conversation.transport is not None:
                conversation.transport.abort()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


class _Handler:
    """The answers of one server, by its plans."""

    def __init__(self, server: RunningFakeSmtp) -> None:
        self._server = server

    async def handle_MAIL(  # noqa: N802  # aiosmtpd's name
        self, smtp: "SMTP", session: "Session", envelope: "Envelope", address: str, options: list[str]
    ) -> str:
        plan = self._server.plans.take("mail", "")
        if plan is not None and plan.name == "drop_before":
            _abort(smtp)
            return "421 gone"
        if plan is not None:
            return plan.answer(address)
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(  # noqa: N802  # aiosmtpd's name
        self, smtp: "SMTP", session: "Session", envelope: "Envelope", address: str, options: list[str]
    ) -> str:
        plan = self._server.plans.take("rcpt", address)
        if plan is not None:
            return plan.answer(address)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802  # aiosmtpd's name
        self, smtp: "SMTP", session: "Session", envelope: "Envelope"
    ) -> str:
        recipient = envelope.rcpt_tos[0]
        plan = self._server.plans.take("data", recipient)
        if plan is not None and plan.name.isdigit():
            return plan.answer(recipient)
        content = envelope.original_content or b""
        user = _login(session)
        encrypted = session.ssl is not None or self._server.options.security == "tls"
        taken = tuple(envelope.rcpt_tos)
        self._server.take(TakenMail(time.monotonic(), envelope.mail_from or "", taken, content, encrypted, user))
        if plan is not None and plan.name == "timeout":
            await self._server.wait_until_stopped()
        if plan is not None:
            _abort(smtp)
        return "250 OK"


def _login(session: "Session") -> str | None:
    """The user of a conversation; aiosmtpd leaves the type of what an authenticator returns open."""
    login: bytes | None = getattr(session.auth_data, "login", None)
    return login.decode() if session.authenticated and login is not None else None


def _abort(smtp: "SMTP") -> None:
    transport = smtp.transport
    assert isinstance(transport, asyncio.Transport)
    transport.abort()


def _tls_context(certificate: Certificate | None) -> ssl.SSLContext | None:
    if certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.chain, certificate.key)
    return context


def _make_conversation(server: RunningFakeSmtp, context: ssl.SSLContext | None) -> "SMTP":
    from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

    options = server.options

    def authenticate(_smtp: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        fits = (data.login.decode(), data.password.decode()) == (options.user, options.password)
        return AuthResult(success=fits, handled=False, auth_data=data)

    return SMTP(
        _Handler(server),
        hostname="fake.example",
        ident="fake",
        tls_context=context if options.security == "starttls" else None,
        require_starttls=options.security == "starttls",
        auth_required=options.user is not None,
        auth_require_tls=options.security == "starttls",
        authenticator=authenticate if options.user is not None else None,
        loop=asyncio.get_running_loop(),
    )


@contextmanager
def running_fake_smtp(
    options: SmtpOptions = SmtpOptions(),
    *,
    host: str = "127.0.0.1",
    port: int = 0,
) -> Iterator[RunningFakeSmtp]:
    """Run a mail server for the length of a block, by default without encryption on a free port."""
    with running(RunningFakeSmtp(options, host, port)) as server:
        yield server


@contextmanager
def fake_smtp_process(*words: str) -> Iterator[tuple[str, int]]:
    """Run `streamworkers fake-smtp WORDS` in a process of its own, and yield its host and port."""
    with command_process("fake mail server", "fake-smtp", *words) as line:
        host, _, port = line.rpartition(":")
        yield host, int(port)
