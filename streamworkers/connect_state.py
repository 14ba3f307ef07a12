"""Why PostgreSQL accepts no connection, as SQLSTATEs: libpq gives only a text, in the server's language.

So the connection is tried once more, with libpq asked for codes in place of texts. What it cannot find out stays
unknown.
"""

import ctypes
import re
import select
import sys
import time
from collections.abc import Callable
from ctypes.util import find_library
from functools import cache
from typing import NamedTuple

from psycopg import pq

_CODES_ONLY = 3  # PQERRORS_SQLSTATE
# `FATAL:  28P01`, the severity in any language.
_CODE = re.compile(r":\s+([0-9A-Z]{5})$", re.MULTILINE)


class ConnectAnswer(NamedTuple):
    """The SQLSTATE with which each host rejects a connection, and what libpq says where there is none."""

    states: list[str]
    text: str


_NO_ANSWER = ConnectAnswer([], "")


def ask_to_connect(conninfo: str, seconds: float) -> ConnectAnswer:
    """Try to connect once more; nothing is in the answer if no host answers, or if one accepts."""
    set_verbosity = _verbosity_setter()
    if set_verbosity is None:
        return _NO_ANSWER
    connection = pq.PGconn.connect_start(conninfo.encode())
    try:
        pointer = getattr(connection, "pgconn_ptr", None)
        if not pointer:
            return _NO_ANSWER
        set_verbosity(pointer, _CODES_ONLY)
        if connection.status != pq.ConnStatus.BAD and not _poll(connection, time.monotonic() + seconds):
            return _NO_ANSWER
        text = connection.error_message.decode("utf-8", "replace")
        return ConnectAnswer(_CODE.findall(text), text)
    finally:
        connection.finish()


def _poll(connection: "pq.abc.PGconn", deadline: float) -> bool:
    """Go on until the attempt has ended; True if it failed in time."""
    while (left := deadline - time.monotonic()) > 0:
        match connection.connect_poll():
            case pq.PollingStatus.READING:
                select.select([connection.socket], [], [], left)
            case pq.PollingStatus.WRITING:
                select.select([], [connection.socket], [], left)
            case status:
                return status == pq.PollingStatus.FAILED
    return False


@cache
def _verbosity_setter() -> Callable[[int, int], object] | None:
    """PQsetErrorVerbosity of the libpq that psycopg uses, which does not offer it; None where it is not found."""
    module = sys.modules.get(pq.PGconn.__module__)
    for name in (getattr(module, "__file__", None), find_library("pq")):
        try:
            function = ctypes.CDLL(name).PQsetErrorVerbosity if name else None
        except (OSError, AttributeError):
            continue
        if function is not None:
            function.argtypes = [ctypes.c_void_p, ctypes.c_int]
            return lambda pointer, verbosity: function(pointer, verbosity)
    return None
