"""How a provider's server is reached: through a proxy or not, and with a deadline for the whole of an answer."""

import ssl

import httpx

from streamworkers.config import Settings
from streamworkers.deadline import Deadline, DeadlineBackend
from streamworkers.errors import UsageError


def make_transport(settings: Settings, deadline: Deadline) -> httpx.HTTPTransport:
    """Return a transport for the Massive API whose waits end by a deadline. Raises UsageError for a bad proxy or CA."""
    proxy = settings.massive_proxy
    verify = _make_context(settings)
    try:
        transport = httpx.HTTPTransport(
            verify=verify,
            trust_env=False,
            limits=httpx.Limits(max_connections=settings.load_threads),
            proxy=None if proxy is None else _make_proxy(proxy.get_secret_value(), verify),
        )
    except (ValueError, httpx.InvalidURL):
        raise UsageError("STREAMWORKERS_MASSIVE_PROXY is not the URL of an HTTP proxy") from None
    # The client has no parameter for it.
    transport._pool._network_backend = DeadlineBackend(deadline)
    return transport


def _make_proxy(url: str, verify: ssl.SSLContext) -> httpx.Proxy:
    is_secure = httpx.URL(url).scheme == "https"
    return httpx.Proxy(url, ssl_context=verify if is_secure else None)


def _make_context(settings: Settings) -> ssl.SSLContext:
    """Return what verifies certificates, of the API and of a proxy."""
    context = httpx.create_ssl_context(trust_env=False)
    if (file := settings.massive_ca_file) is not None:
        try:
            context.load_verify_locations(file)
        except (OSError, ssl.SSLError) as error:
            reason = error.strerror if type(error) is not ssl.SSLError and error.strerror else "it holds no certificate"
            raise UsageError(f"STREAMWORKERS_MASSIVE_CA_FILE={str(file)!r} cannot be used: {reason}") from None
    return context
