"""Why PostgreSQL cannot be reached over TLS, in words: libpq does not say what is wrong with a certificate."""

import os
import re
from typing import Any

from psycopg.conninfo import conninfo_to_dict

from streamworkers.tls import TlsNames, TlsTarget, find_tls_trouble

_SETTING = "STREAMWORKERS_DATABASE_URL"
_NAMES = TlsNames("PostgreSQL", _SETTING, "sslrootcert", "sslcert", "sslkey")
_REQUEST = bytes((0, 0, 0, 8, 4, 210, 22, 47))  # SSLRequest of the protocol
_PORT = 5432
# libpq's own words, and those of a server that wants TLS or a client certificate.
_ABOUT_TLS = re.compile(r"\bSSL\b|certificate|private key|no encryption", re.IGNORECASE)
_EACH_HOST = re.compile(r"connection to server (?:at|on) ")
_WHERE = re.compile(r"^(connection failed: )?(connection to server (at|on) \S+(, port \d+)? failed: )?")
_WANTED = re.compile(r"requires a valid client certificate")
_PLAIN = re.compile(r"no encryption|SSL off")


def find_postgres_tls_trouble(conninfo: str, answer: str, seconds: float) -> str | None:
    """Why TLS cannot be used, in a sentence with the way out, by what libpq answered; None if that is not the reason.

    Of several hosts, TLS is the reason only if it is for each.
    """
    if not _ABOUT_TLS.search(answer):
        return None
    parts = conninfo_to_dict(conninfo)
    if "," in str(parts.get("host", "")):
        each = [part for part in _EACH_HOST.split(answer)[1:] if part]
        if not all(_ABOUT_TLS.search(part) for part in each):
            return None
    elif trouble := _probe(parts, seconds):
        return trouble
    return f"no TLS connection to PostgreSQL: {_explain(answer)}"


def _explain(answer: str) -> str:
    if _WANTED.search(answer):
        return f"the server wants a client certificate: name its files as sslcert and sslkey in {_SETTING}"
    text = _WHERE.sub("", " ".join(answer.split()))
    if _PLAIN.search(answer):
        return f"{text}: set sslmode=verify-full and sslrootcert in {_SETTING}, or correct pg_hba.conf"
    return f"{text}: correct sslmode, sslrootcert, sslcert or sslkey in {_SETTING}"


def _probe(parts: dict[str, Any], seconds: float) -> str | None:
    """What is wrong with the files or the certificates; None where nothing is, or where libpq verifies nothing."""
    mode = str(parts.get("sslmode") or os.environ.get("PGSSLMODE", "prefer"))
    host, ca_file = str(parts.get("host") or ""), parts.get("sslrootcert")
    if not mode.startswith("verify-") or not host or host.startswith(("/", "@")):
        return None
    if ca_file is None:
        return None  # libpq names the file that it looks for
    target = TlsTarget(
        _NAMES,
        host,
        int(parts.get("port") or _PORT),
        ca_file=None if ca_file == "system" else str(ca_file),
        certificate_file=parts.get("sslcert"),
        key_file=parts.get("sslkey"),
        password=str(parts.get("sslpassword") or ""),
        checks_host=mode == "verify-full",
        request=_REQUEST,
    )
    return find_tls_trouble(target, seconds)
