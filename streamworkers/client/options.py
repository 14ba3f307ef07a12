"""Where a client finds its pool, for whom it works, and how long a call may take."""

import math
import os
from dataclasses import dataclass

from streamworkers.errors import BadInputError, ServiceUnreachableError

_VARIABLE = "STREAMWORKERS_DATABASE_URL"


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """The options of a client; the URL is looked for when it is first needed."""

    url: str | None
    user: str | None
    timeout: float

    @classmethod
    def of(cls, url: str | None, user: str | None, timeout: float) -> "ClientOptions":
        """Check options and keep them. Raises BadInputError for a timeout that is none."""
        if not 0 < timeout < math.inf:
            raise BadInputError(f"timeout {timeout} is not a number of seconds above 0")
        return cls(url, user, timeout)

    @property
    def database_url(self) -> str:
        """The URL of PostgreSQL: the one given, that of the environment, or that of the embedded one.

        Raises ServiceUnreachableError if there is none.
        """
        if found := self.url or os.environ.get(_VARIABLE):
            return found
        from streamworkers.config import load_settings
        from streamworkers.embedded import EmbeddedServices

        status = next(each for each in EmbeddedServices(load_settings()).status() if each.name == "postgres")
        if status.pid is None:
            raise ServiceUnreachableError(f"no PostgreSQL: set {_VARIABLE}, or give the client a URL")
        return status.url
