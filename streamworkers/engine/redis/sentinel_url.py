"""URLs of a Redis that Sentinel watches: `redis+sentinel://USER:PASSWORD@HOST:PORT,HOST:PORT/SERVICE/NUMBER`.

User, password and number are those of the Redis server. Sentinels with a login of their own have it in the query, as
`sentinel_username` and `sentinel_password`. With `rediss+sentinel://` sentinels and server speak TLS, with the same
options as `rediss://`.
"""

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from streamworkers.errors import BadInputError

SENTINEL_SCHEME, SECURE_SENTINEL_SCHEME = "redis+sentinel://", "rediss+sentinel://"
_PORT = 26379
_QUERY = {"sentinel_username": "username", "sentinel_password": "password"}


@dataclass(frozen=True, slots=True)
class SentinelService:
    """The name by which sentinels know a primary, where they are, and the logins of the server and of themselves.

    `options` are those of TLS, as the URL says them.
    """

    name: str
    sentinels: list[tuple[str, int]]
    login: dict[str, Any]
    sentinel_login: dict[str, Any]
    options: dict[str, str] = field(default_factory=dict)


def parse_sentinel_url(url: str) -> SentinelService:
    """Return the parts of a URL. Raises BadInputError, which does not quote it: it may hold a password."""
    parts = urlsplit(url)
    userinfo, _, hosts = parts.netloc.rpartition("@")
    username, _, password = userinfo.partition(":")
    name, _, number = parts.path.removeprefix("/").partition("/")
    query = {word: values[-1] for word, values in parse_qs(parts.query).items()}
    options = {word: value for word, value in query.items() if word.startswith("ssl_")}
    if not name or (number and not number.isdecimal()) or query.keys() - _QUERY.keys() - options.keys():
        raise _malformed()
    login = {"username": unquote(username), "password": unquote(password), "db": int(number or 0)}
    return SentinelService(
        name,
        [_parse_address(host) for host in hosts.split(",")],
        {word: value for word, value in login.items() if value != ""},
        {_QUERY[word]: value for word, value in query.items() if word in _QUERY},
        options,
    )


def _parse_address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    if not colon:
        host, port = text, str(_PORT)
    if not host or not port.isdecimal():
        raise _malformed()
    return host.strip("[]"), int(port)


def _malformed() -> BadInputError:
    return BadInputError(
        "STREAMWORKERS_REDIS_URL is not redis+sentinel://USER:PASSWORD@HOST:PORT,HOST:PORT/SERVICE/NUMBER, where hosts"
        " are sentinels, SERVICE is what they call the primary, and a query can have sentinel_username,"
        " sentinel_password, and with rediss+sentinel:// the options of TLS"
    )
