"""Why a server cannot be reached over TLS, in words: what its clients say is often only `certificate verify failed`.

So the connection is begun once more, up to the end of the handshake, without a login.
"""

import socket
import ssl
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

_ALERT_SECONDS = 3.0
_PEEK_BYTES = 8


class ClosingSocket(ssl.SSLSocket):
    """A TLS socket that is closed when its peer is gone before the handshake; Python's own is left open then."""

    def getpeername(self) -> Any:
        try:
            return super().getpeername()
        except OSError as error:
            self.close()
            raise ConnectionResetError(str(error)) from error


class TlsNames(NamedTuple):
    """What messages call a server, the setting with its URL, and the options of that URL.

    `scheme` begins a URL with TLS. `right_host` and `right_port` say what to correct where it is not the URL that
    names the server.
    """

    store: str
    setting: str
    ca: str
    certificate: str
    key: str
    scheme: str = "rediss://"
    right_host: str = ""
    right_port: str = ""


@dataclass(frozen=True, slots=True)
class TlsTarget:
    """A server, and the files of our side; None for a file that is not named.

    `request` asks the server for TLS, and it answers `S`; a server without TLS answers `greeting` with `+` or `-`.
    """

    names: TlsNames
    host: str
    port: int
    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    password: str = ""
    verifies: bool = True
    checks_host: bool = True
    request: bytes = b""
    greeting: bytes = b""


class _Trouble(Enum):
    """What is wrong, and the way out."""

    EXPIRED = "the server's certificate has expired", "renew it on the server"
    EARLY = "the server's certificate is not valid yet", "compare the clock of this machine with that of its authority"
    AUTHORITY = (
        "the server's certificate is not signed by an authority that is trusted here",
        "name the file of its authority as {ca} in {setting}",
    )
    HOST = "the server's certificate is not for the host {host!r}", "{right_host}"
    WANTED = "the server wants a client certificate", "name its files as {certificate} and {key} in {setting}"
    NOT_ACCEPTED = (
        "the server does not accept our client certificate",
        "it has expired, or is of another authority: correct {certificate} and {key} in {setting}",
    )
    NO_TLS = "the server does not use TLS at port {port}", "{right_port}"
    TLS_ONLY = "the server uses TLS at port {port}", "begin {setting} with {scheme}"


_BY_VERIFY_CODE = {
    9: _Trouble.EARLY,
    10: _Trouble.EXPIRED,
    **dict.fromkeys((2, 18, 19, 20, 21), _Trouble.AUTHORITY),
    **dict.fromkeys((62, 64), _Trouble.HOST),
}


def find_tls_trouble(target: TlsTarget, seconds: float) -> str | None:
    """Why no TLS connection can be made, in a sentence with the way out; None if one can, or if nobody answers."""
    try:
        context = _make_context(target)
    except ValueError as error:
        return f"no TLS connection to {target.names.store}: {error}: correct {target.names.setting}"
    try:
        trouble = _try_handshake(target, context, seconds)
    except OSError:
        return None
    return _word(trouble, target) if isinstance(trouble, _Trouble) else trouble


def find_tls_server(target: TlsTarget, seconds: float) -> str | None:
    """The sentence for a plain connection to a port at which the server uses TLS; None if it does not."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.sslsocket_class = ClosingSocket
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((target.host, target.port), seconds) as plain,
            context.wrap_socket(plain, server_hostname=target.host),
        ):
            return _word(_Trouble.TLS_ONLY, target)
    except OSError:
        return None


def _word(trouble: _Trouble, target: TlsTarget) -> str:
    reason, advice = trouble.value
    names = target.names
    words = {
        **names._asdict(),
        "host": target.host,
        "port": target.port,
        "right_host": names.right_host or f"use a name that the certificate has in {names.setting}",
        "right_port": names.right_port or f"correct the port or the scheme in {names.setting}",
    }
    return f"no TLS connection to {names.store}: {reason.format(**words)}: {advice.format(**words)}"


def _make_context(target: TlsTarget) -> ssl.SSLContext:
    """What verifies the server. Raises ValueError that names the file which cannot be used."""
    files = {
        target.names.ca: target.ca_file,
        target.names.certificate: target.certificate_file,
        target.names.key: target.key_file,
    }
    for option, file in files.items():
        if file is not None:
            try:
                with Path(file).open("rb") as opened:
                    opened.read(1)
            except (OSError, ValueError) as error:
                reason = getattr(error, "strerror", None) or "not a path"
                raise ValueError(f"{option}={file!r} cannot be read ({reason})") from None
    context = ssl.create_default_context()
    context.sslsocket_class = ClosingSocket
    context.check_hostname = target.verifies and target.checks_host
    context.verify_mode = ssl.CERT_REQUIRED if target.verifies else ssl.CERT_NONE
    if target.ca_file is not None:
        try:
            context.load_verify_locations(target.ca_file)
        except ssl.SSLError:
            raise ValueError(f"{target.names.ca}={target.ca_file!r} holds no certificate") from None
    if target.certificate_file is not None:
        try:
            # Without a password, OpenSSL would ask for one at the terminal.
            context.load_cert_chain(target.certificate_file, target.key_file, target.password)
        except ssl.SSLError:
            raise ValueError(
                f"{target.names.certificate}={target.certificate_file!r} holds no certificate, or the key of"
                f" {target.names.key} is not its key or has another password"
            ) from None
    return context


def _try_handshake(target: TlsTarget, context: ssl.SSLContext, seconds: float) -> _Trouble | str | None:
    if target.greeting and _answers_plainly(target, seconds):
        return _Trouble.NO_TLS  # it would take the beginning of a handshake for half of a command, and wait
    with socket.create_connection((target.host, target.port), seconds) as plain:
        if target.request:
            plain.sendall(target.request)
            if plain.recv(1) != b"S":
                return _Trouble.NO_TLS
        try:
            with context.wrap_socket(plain, server_hostname=target.host) as secure:
                # That it does not accept our certificate, the server says after the handshake.
                secure.settimeout(_ALERT_SECONDS)
                secure.recv(_PEEK_BYTES)
        except ssl.SSLCertVerificationError as error:
            return _BY_VERIFY_CODE.get(error.verify_code) or _say(target, error.verify_message)
        except ssl.SSLError as error:
            return _find_alert(error.reason or "", target)
        except OSError:
            return None
    return None


def _find_alert(reason: str, target: TlsTarget) -> _Trouble | str | None:
    """What an alert of the server means; None if it was no alert."""
    if "ALERT" not in reason:
        return None
    if "CERTIFICATE_REQUIRED" in reason or (target.certificate_file is None and "HANDSHAKE_FAILURE" in reason):
        return _Trouble.WANTED
    if target.certificate_file is not None and ("CERTIFICATE" in reason or "UNKNOWN_CA" in reason):
        return _Trouble.NOT_ACCEPTED
    return _say(target, f"the server ended the handshake ({reason.lower().replace('_', ' ')})")


def _say(target: TlsTarget, reason: str) -> str:
    return f"no TLS connection to {target.names.store}: {reason}: correct {target.names.setting}"


def _answers_plainly(target: TlsTarget, seconds: float) -> bool:
    with socket.create_connection((target.host, target.port), seconds) as plain:
        try:
            plain.sendall(target.greeting)
            return plain.recv(1) in (b"+", b"-")
        except OSError:
            return False  # as a server with TLS ends a connection that does not begin with a handshake
