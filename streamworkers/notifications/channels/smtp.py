"""One conversation with a mail server, after which one knows: taken, not taken, or nobody knows."""

import re
import smtplib
import socket
import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from streamworkers.config import Settings
from streamworkers.faults import describe
from streamworkers.notifications.channels.channel import NotSentError
from streamworkers.notifications.channels.http import NoAnswerError

_WAIT_SECONDS = 15.0  # for a connection and for each answer
_MOST_SHOWN = 200


@dataclass(frozen=True, slots=True)
class MailAccount:
    """Where mail is given to, and as whom. `sender_header` may have a name beside the address.

    Of the server's answers before STARTTLS, and of those after it, `most_answer_bytes` are read.
    """

    host: str
    port: int
    security: str
    sender: str
    sender_header: str
    user: str | None
    password: str | None
    ca_file: str | None
    most_answer_bytes: int

    @classmethod
    def of(cls, settings: Settings, sender: str) -> Self:
        """Return the account that the settings name."""
        password = settings.smtp_password
        return cls(
            host=settings.smtp_host or "",
            port=settings.smtp_port,
            security=settings.smtp_security,
            sender=sender,
            sender_header=settings.smtp_from or sender,
            user=settings.smtp_user,
            password=None if password is None else password.get_secret_value(),
            ca_file=settings.smtp_ca_file,
            most_answer_bytes=settings.channel_max_answer_bytes,
        )


class _BoundedLines:
    """The lines of a server: smtplib keeps those of one answer for as long as they come."""

    def __init__(self, sock: socket.socket, most_bytes: int) -> None:
        self._file, self._left, self._most_bytes = sock.makefile("rb"), most_bytes, most_bytes

    def readline(self, size: int) -> bytes:
        line = self._file.readline(size)
        self._left -= len(line)
        if self._left < 0:
            raise OSError(f"what it answers exceeds STREAMWORKERS_CHANNEL_MAX_ANSWER_BYTES={self._most_bytes}")
        return line

    def close(self) -> None:
        self._file.close()


class _Smtp(smtplib.SMTP):
    most_bytes = 0

    def getreply(self) -> tuple[int, bytes]:
        if self.file is None and self.sock is not None:
            self.file = _BoundedLines(self.sock, self.most_bytes)
        return super().getreply()


class _SmtpOverTls(_Smtp, smtplib.SMTP_SSL): ...


class MailServer:
    """A connection for the length of a block, encrypted and logged in as the account says.

    After so many seconds it is cut, whatever it waits for. Raises NotSentError.
    """

    def __init__(self, account: MailAccount, seconds: float) -> None:
        self._account, self._seconds = account, seconds
        self._smtp: _Smtp | None = None
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        try:
            self._open()
        except (smtplib.SMTPException, OSError) as error:
            self._close()
            raise NotSentError(f"no connection to the mail server: {_describe(error)}") from None
        except NotSentError:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def send(self, sender: str, recipient: str, message: bytes) -> None:
        """Give the server one mail. Raises NotSentError, and NoAnswerError once the end of the mail was sent."""
        assert self._smtp is not None
        try:
            self._require("MAIL", *self._smtp.mail(sender))
            self._require("RCPT", *self._smtp.rcpt(recipient))
            code, text = self._smtp.docmd("DATA")
        except (smtplib.SMTPException, OSError) as error:
            raise NotSentError(f"the mail server ended the connection: {_describe(error)}") from None
        if code != 354:
            self._require("DATA", code, text)
            raise NotSentError(f"the mail server answered {code} to DATA")
        body = re.sub(rb"(?m)^\.", b"..", message)
        try:
            self._smtp.send(body + (b"" if body.endswith(b"\r\n") else b"\r\n") + b".\r\n")
            code, text = self._smtp.getreply()
        except (smtplib.SMTPException, OSError) as error:
            raise NoAnswerError(f"no answer to the end of the mail: {_describe(error)}") from None
        self._require("the mail", code, text)

    def _open(self) -> None:
        account = self._account
        context = ssl.create_default_context(cafile=account.ca_file)
        if account.security == "tls":
            self._smtp = _SmtpOverTls(local_hostname=_own_name(), timeout=_WAIT_SECONDS, context=context)
        else:
            self._smtp = _Smtp(local_hostname=_own_name(), timeout=_WAIT_SECONDS)
        self._smtp.most_bytes = account.most_answer_bytes
        self._smtp._host = account.host  # type: ignore[attr-defined]  # the name in its certificate
        code, text = self._smtp.connect(account.host, account.port)
        self._require("the connection", code, text, is_about_mail=False)
        if account.security == "starttls":
            self._smtp.ehlo_or_helo_if_needed()
            if not self._smtp.has_extn("starttls"):
                raise NotSentError("the mail server offers no STARTTLS, which STREAMWORKERS_SMTP_SECURITY requires")
            self._require("STARTTLS", *self._smtp.starttls(context=context), is_about_mail=False)
        self._smtp.ehlo_or_helo_if_needed()
        if account.user is not None:
            self._log_in(self._smtp, account.user, account.password or "")

    def _log_in(self, smtp: smtplib.SMTP, user: str, password: str) -> None:
        try:
            smtp.login(user, password)
        except smtplib.SMTPAuthenticationError as error:
            raise NotSentError(
                f"the mail server answered {error.smtp_code} to the login: correct STREAMWORKERS_SMTP_USER or"
                " STREAMWORKERS_SMTP_PASSWORD"
            ) from None

    def _require(self, step: str, code: int, text: bytes, *, is_about_mail: bool = True) -> None:
        """Raise NotSentError unless the answer is 2yz; 5yz about a mail is one for good."""
        if 200 <= code < 300:
            return
        shown = " ".join(text.decode("utf-8", "replace").split())[:_MOST_SHOWN]
        reason = f"the mail server answered {code} to {step}: {shown}"
        raise NotSentError(reason, permanent=is_about_mail and code >= 500)

    def _cut(self) -> None:
        sock = getattr(self._smtp, "sock", None)
        if sock is not None:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _close(self) -> None:
        """Say goodbye without waiting for the answer."""
        self._timer.cancel()
        if self._smtp is not None:
            with suppress(smtplib.SMTPException, OSError):
                self._smtp.putcmd("QUIT")
            with suppress(OSError):
                self._smtp.close()


def _own_name() -> str:
    """Return how this machine presents itself; smtplib would ask the DNS for it, once for each mail."""
    name = socket.gethostname()
    return name if "." in name else "[127.0.0.1]"


def _describe(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        text = error.smtp_error
        words = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
        return f"{error.smtp_code} {' '.join(words.split())[:_MOST_SHOWN]}"
    return describe(error)[:_MOST_SHOWN]
