"""A TLS socket of a peer that is gone before the handshake is closed."""

import gc
import select
import socket
import ssl
import struct
import warnings

import pytest

from patience import patient
from streamworkers.tls import ClosingSocket


def test_a_connection_that_was_reset_leaves_no_socket_open() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.sslsocket_class = ClosingSocket
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        warnings.catch_warnings(record=True) as found,
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as plain,
    ):
        warnings.simplefilter("always", ResourceWarning)
        accepted, _ = server.accept()
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        accepted.close()
        poll = select.poll()
        poll.register(plain, 0)
        assert poll.poll(patient(10) * 1000), "the reset has come"
        with pytest.raises(ConnectionResetError):
            context.wrap_socket(plain, server_hostname="localhost")
        gc.collect()
    assert [str(warning.message) for warning in found] == []
