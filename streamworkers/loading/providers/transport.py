"""How a provider's server is reached: through a proxy or not, and with a deadline for the whole of an answer."""

import httpx

from streamworkers.config import Settings
from streamworkers.deadline import Deadline, DeadlineBackend
from streamworkers.errors import UsageError


def make_transport(settings: Settings, deadline: Deadline) -> httpx.HTTPTransport:
    """Return a transport for the Massive API whose waits end by a deadline. Raises UsageError for a bad proxy."""
    proxy = settings.massive_proxy
    try:
        transport = httpx.HTTPTransport(
            trust_env=False,
            limits=httpx.Limits(max_connections=settings.load_threads),
            proxy=None if proxy is None else proxy.get_secret_value(),
        )
    except (ValueError, httpx.InvalidURL):
        raise UsageError("STREAMWORKERS_MASSIVE_PROXY is not the URL of an HTTP proxy") from None
    # The client has no parameter for it.
    transport._pool._network_backend = DeadlineBackend(deadline)
    return transport
