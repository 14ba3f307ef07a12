"""Where a client finds its pool, for whom it works, and how long a call may take."""

import math
import os
import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from streamworkers.client.door import Door
from streamworkers.client.http_door import HttpDoor
from streamworkers.client.sql_door import SqlDoor
from streamworkers.errors import BadInputError, ServiceUnreachableError
from streamworkers.tracing import switch_on_by_environment

_DATABASE_VARIABLE = "STREAMWORKERS_DATABASE_URL"
_TOKEN_VARIABLE = "STREAMWORKERS_API_TOKEN"  # noqa: S105  # a name
_API_PATH = "/api/v1"


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """The options of a client; the URL of PostgreSQL is looked for when it is first needed."""

    url: str | None
    token: str | None = field(repr=False)
    user: str | None
    timeout: float

    @classmethod
    def of(cls, url: str | None, token: str | None, user: str | None, timeout: float) -> "ClientOptions":
        """Check options and keep them. Raises BadInputError for one that breaks a rule."""
        if not 0 < timeout < math.inf:
            raise BadInputError(f"timeout {timeout} is not a number of seconds above 0")
        switch_on_by_environment()
        options = cls(url, token or os.environ.get(_TOKEN_VARIABLE), user, timeout)
        if options.is_http:
            options._require_token()
        elif token is not None:
            raise BadInputError("a token is for a URL of the HTTP API, which begins with https:// or http://")
        return options

    @property
    def is_http(self) -> bool:
        """True if the URL is that of the HTTP API."""
        return self.url is not None and self.url.lower().startswith(("https://", "http://"))

    @property
    def door(self) -> Door:
        """The way to the pool that the URL stands for."""
        return HttpDoor() if self.is_http else SqlDoor()

    @property
    def api_url(self) -> str:
        """The URL of the HTTP API, below which its routes are."""
        assert self.url is not None
        parts = urlsplit(self.url)
        return parts._replace(path=f"{parts.path.rstrip('/') or _API_PATH}/").geturl()

    @property
    def api_token(self) -> str:
        """The token for the HTTP API."""
        assert self.token is not None
        return self.token

    @property
    def database_url(self) -> str:
        """The URL of PostgreSQL: the one given, that of the environment, or that of the embedded one.

        Raises ServiceUnreachableError if there is none.
        """
        if found := self.url or os.environ.get(_DATABASE_VARIABLE):
            return found
        from streamworkers.config import load_settings
        from streamworkers.embedded import EmbeddedServices

        status = next(each for each in EmbeddedServices(load_settings()).status() if each.name == "postgres")
        if status.pid is None:
            raise ServiceUnreachableError(f"no PostgreSQL: set {_DATABASE_VARIABLE}, or give the client a URL")
        return status.url

    def _require_token(self) -> None:
        if self.token is None:
            raise BadInputError(f"the HTTP API needs a token: give token=, or set {_TOKEN_VARIABLE}")
        if not re.fullmatch(r"[!-~]{1,200}", self.token):
            raise BadInputError("the token is not 1 to 200 visible characters of ASCII")
        if not urlsplit(self.api_url).hostname:
            raise BadInputError("the URL of the HTTP API names no host")
