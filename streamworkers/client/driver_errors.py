"""What an error of a driver means to a client, whatever has wrapped it: SQLAlchemy, Django or nobody."""

import psycopg

from streamworkers.errors import SUBMIT_ERRORS, ServiceUnreachableError, Store, StreamworkersError
from streamworkers.faults import find_fault

_STATEMENT_CANCELLED = "57014"
_MOST_CAUSES = 5


def find_submit_error(error: BaseException) -> StreamworkersError | None:
    """The error of this package for what `submit_runs` has raised; None for anything else."""
    found = [(each, SUBMIT_ERRORS[state]) for each in _causes(error) if (state := _state_of(each)) in SUBMIT_ERRORS]
    for each, kind in found:
        if message := _message_of(each):
            return kind(message)
    return found[0][1](str(found[0][0])) if found else None


def find_own_error(error: Exception, seconds: float) -> StreamworkersError | None:
    """The error of this package for an error on a connection of the client itself; None for a defect."""
    if isinstance(error, StreamworkersError):
        return error
    if (wrong := find_submit_error(error)) is not None:
        return wrong
    if isinstance(error, psycopg.Error) and error.sqlstate == _STATEMENT_CANCELLED:
        return ServiceUnreachableError(f"PostgreSQL has not answered within {seconds:g} s", store=Store.POSTGRESQL)
    fault = find_fault(error)
    return None if fault is None else ServiceUnreachableError(fault.text, fault.kind, fault.store)


def _causes(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    each: BaseException | None = error
    while each is not None and each not in found and len(found) < _MOST_CAUSES:
        found.append(each)
        original = getattr(each, "orig", None)  # SQLAlchemy's name
        each = original if isinstance(original, BaseException) else each.__cause__
    return found


def _message_of(error: BaseException) -> str | None:
    """PostgreSQL's own words, by psycopg's name or asyncpg's; a wrapper has neither."""
    message = getattr(getattr(error, "diag", None), "message_primary", None) or getattr(error, "message", None)
    return message if isinstance(message, str) else None


def _state_of(error: BaseException) -> str | None:
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    return state if isinstance(state, str) else None
