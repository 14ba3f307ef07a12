"""What user code can change in its process and the next call would inherit: read before calls, restored after each.

Context variables, the decimal context among them, need no row here: a call runs in a context of its own.
"""

import gc
import locale
import logging
import os
import resource
import signal
import socket
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

from streamworkers.logger import structlog

_SIGNALS = (
    *(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM, signal.SIGCHLD, signal.SIGPIPE),
    *(signal.SIGUSR1, signal.SIGUSR2),
)
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
_LIMITS = (resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_DATA, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE)


class _Aspect(NamedTuple):
    """A part of the state: how it is read, and how it is set to what was read."""

    read: Callable[[], Any]
    restore: Callable[[Any], object]


def _restore_timer(timer: int, earlier: tuple[float, float]) -> None:
    # One that ran before the call has moved on, which is no change.
    if earlier == (0.0, 0.0):
        signal.setitimer(timer, 0)


def _read_environment() -> dict[bytes, bytes]:
    # What os.environb keeps, read before and after each call: through its public face that would take 17 µs.
    return dict(os.environ._data)  # type: ignore[attr-defined]


def _restore_environment(earlier: dict[bytes, bytes]) -> None:
    os.environb.clear()
    os.environb.update(earlier)
    time.tzset()


def _read_folder() -> str:
    try:
        return os.getcwd()  # noqa: PTH109  # a path object takes five times as long
    except OSError:  # it was removed
        return "/"


def _read_umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _restore_warnings(earlier: list[Any]) -> None:
    with warnings.catch_warnings():  # which lets the module notice the change
        pass
    warnings.filters[:] = earlier  # type: ignore[index]


def _restore_streams(earlier: tuple[Any, ...]) -> None:
    sys.stdin, sys.stdout, sys.stderr = earlier


def _read_logging() -> tuple[int, int, list[logging.Handler]]:
    root = logging.getLogger()
    return root.level, root.manager.disable, root.handlers[:]


def _restore_logging(earlier: tuple[int, int, list[logging.Handler]]) -> None:
    root = logging.getLogger()
    root.level, root.manager.disable, root.handlers[:] = earlier
    root.manager._clear_cache()  # type: ignore[attr-defined]  # as setLevel does


def _restore_limit(limit: int, earlier: tuple[int, int]) -> None:
    with suppress(ValueError):  # user code lowered the hard limit, which cannot be undone
        resource.setrlimit(limit, earlier)


_ASPECTS = (
    *(_Aspect(partial(signal.getitimer, timer), partial(_restore_timer, timer)) for timer in _TIMERS),
    *(_Aspect(partial(signal.getsignal, number), partial(signal.signal, number)) for number in _SIGNALS),
    _Aspect(partial(signal.pthread_sigmask, signal.SIG_BLOCK, ()), partial(signal.pthread_sigmask, signal.SIG_SETMASK)),
    _Aspect(_read_folder, os.chdir),
    _Aspect(_read_environment, _restore_environment),
    _Aspect(_read_umask, os.umask),
    _Aspect(socket.getdefaulttimeout, socket.setdefaulttimeout),
    _Aspect(partial(locale.setlocale, locale.LC_ALL), partial(locale.setlocale, locale.LC_ALL)),
    _Aspect(sys.getrecursionlimit, sys.setrecursionlimit),
    _Aspect(gc.isenabled, lambda enabled: gc.enable() if enabled else gc.disable()),
    _Aspect(lambda: warnings.filters[:], _restore_warnings),
    _Aspect(lambda: (sys.stdin, sys.stdout, sys.stderr), _restore_streams),
    _Aspect(structlog.get_config, lambda earlier: structlog.configure(**earlier)),
    _Aspect(_read_logging, _restore_logging),
    *(_Aspect(partial(resource.getrlimit, limit), partial(_restore_limit, limit)) for limit in _LIMITS),
)


def read_process_state() -> tuple[Any, ...]:
    """Return the state as it is now."""
    return tuple(aspect.read() for aspect in _ASPECTS)


def restore_process_state(earlier: tuple[Any, ...]) -> None:
    """Set what differs from an earlier state to what it was."""
    for aspect, value in zip(_ASPECTS, earlier, strict=True):
        if aspect.read() != value:
            with suppress(OSError, ValueError):
                aspect.restore(value)
