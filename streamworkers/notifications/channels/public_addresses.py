"""Connections to public addresses only: a name is resolved once, and the call goes to the address that was checked."""

import ipaddress
import socket
from collections.abc import Iterable
from typing import Any

import httpcore

from streamworkers.deadline import DeadlineBackend
from streamworkers.notifications.channels.channel import NotSentError

_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")  # of IPv4 by NAT64


class PublicBackend(DeadlineBackend):
    """Connects to the public addresses of a host. Host header, SNI and certificate stay those of its name."""

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first public address that answers. Raises NotSentError if the host has none."""
        options = None if socket_options is None else list(socket_options)
        failure: Exception | None = None
        for address in _public_addresses(host, port):
            try:
                return super().connect_tcp(address, port, timeout, local_address, options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        if failure is not None:
            raise failure
        raise NotSentError("its host has a private address; STREAMWORKERS_WEBHOOK_PRIVATE allows it", permanent=True)


def is_public(address: str) -> bool:
    """True for an address that everybody on the internet means the same by."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in _TRANSLATED:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def _public_addresses(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise httpcore.ConnectError(f"its host has no address: {error.strerror or error}") from None
    return [address for address in dict.fromkeys(str(each[4][0]) for each in found) if is_public(address)]
