"""How a provider's server is reached: through a proxy or not, and with a deadline for the whole of an answer."""

import re
import ssl
from http import HTTPStatus

import httpx

from streamworkers.config import Settings
from streamworkers.deadline import Deadline, DeadlineBackend
from streamworkers.errors import UsageError
from streamworkers.loading.providers.provider import ProxyError, TransientError

_PASSING = frozenset({408, 425, 429})  # of the codes below 500, those that another time may not bring
_LASTING = frozenset({501, 505, 511})  # of those from 500 on, what only another configuration changes


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


def explain_proxy_answer(answer: str, host: str) -> ProxyError | TransientError:
    """Return the error of a proxy that does not lead to `host`, by an answer that begins with its code.

    What a proxy wants changed, such as the password, lasts until somebody changes it. That it cannot reach the API, or
    has too much to do, passes: the API is away. Nothing else of the answer is shown, as it may repeat the password.
    """
    found = re.match(r"\d{3}\b", answer)
    if found is None:
        return TransientError(f"the proxy in STREAMWORKERS_MASSIVE_PROXY did not lead to {host}")
    code = int(found[0])
    try:
        text = f"HTTP {code} ({HTTPStatus(code).phrase})"
    except ValueError:
        text = f"HTTP {code}"
    if code in _PASSING or (code >= 500 and code not in _LASTING):
        return TransientError(f"the proxy in STREAMWORKERS_MASSIVE_PROXY did not reach {host}: {text}")
    if code == 407:
        return ProxyError(
            f"the proxy wants another user and password in the URL of STREAMWORKERS_MASSIVE_PROXY: {text}"
        )
    return ProxyError(f"the proxy in STREAMWORKERS_MASSIVE_PROXY does not lead to {host}: it answered {text}")
