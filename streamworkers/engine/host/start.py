"""The start of a supervisor or scheduler while Redis or PostgreSQL is away: it waits, and reports for what."""

import time
from collections.abc import Callable, Sequence

from streamworkers.engine.backoff import Backoff
from streamworkers.engine.host.host import Host
from streamworkers.errors import (
    BlockedError,
    FaultKind,
    MissingSchemaError,
    ServiceUnreachableError,
    Store,
    StreamworkersError,
)
from streamworkers.faults import Fault, find_fault
from streamworkers.logger import get_logger

log = get_logger()
_NAME = "start"
_LONGEST_PAUSE_SECONDS = 2.0


def wait_for_stores(host: Host, checks: Sequence[Callable[[], None]], seconds: float) -> bool:
    """Repeat the checks until none of them raises; False if a signal asked the process to stop meanwhile.

    The host serves already: live, and not ready. Raises at once what waiting cannot heal, such as a wrong password,
    and after so many seconds what has not healed.
    """
    deadline = time.monotonic() + seconds
    backoff = Backoff(host.signals, longest_seconds=_LONGEST_PAUSE_SECONDS)
    while not host.signals.is_set():
        for loop in host.loops:
            loop.mark_turn()
        try:
            for check in checks:
                check()
        except Exception as error:
            fault = _find_passing_fault(error)
            if fault is None or seconds == 0:
                raise
            if time.monotonic() >= deadline:
                raise _give_up(error, fault, seconds) from error
            if not host.faults.own():
                log.info("start_waits", seconds=seconds, metrics_port=host.metrics_port, error=fault.text)
            host.faults.record(_NAME, fault)
            backoff.failed()
        else:
            host.faults.clear(_NAME)
            return True
    return False


def _find_passing_fault(error: Exception) -> Fault | None:
    """What may heal by itself; None for what needs somebody."""
    if isinstance(error, MissingSchemaError):
        return Fault(Store.POSTGRESQL, FaultKind.REJECTED, str(error))
    if isinstance(error, BlockedError):  # as by a migration
        return Fault(Store.POSTGRESQL, FaultKind.AWAY, str(error))
    fault = find_fault(error)
    return fault if fault is not None and fault.kind is not FaultKind.REJECTED else None


def _give_up(error: Exception, fault: Fault, seconds: float) -> StreamworkersError:
    text = f"{fault.text} (waited {seconds:g} s: STREAMWORKERS_START_WAIT_SECONDS)"
    if isinstance(error, MissingSchemaError):
        return MissingSchemaError(text)
    return ServiceUnreachableError(text, fault.kind, fault.store)
