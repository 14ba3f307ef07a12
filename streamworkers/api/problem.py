"""Why a request is not answered as asked: problems in the form of RFC 9457, and the errors that they stand for."""

from http import HTTPStatus
from typing import Any

import msgspec
import psycopg
from psycopg import errors as postgres

from streamworkers.errors import (
    BlockedError,
    KeyConflictError,
    PrepareError,
    ServiceUnreachableError,
    UnknownJobError,
    UsageError,
)
from streamworkers.faults import find_fault, is_schema_fault

RETRY_SECONDS = 1
_TYPE = "urn:streamworkers:problem:"


class Problem(Exception):  # noqa: N818  # RFC 9457's word
    """Ends a request with this status. `code` names the kind for programs; the text is for people."""

    def __init__(self, status: int, code: str, detail: str, *, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail = status, code, detail
        self.headers = headers or {}


class ProblemBody(msgspec.Struct, frozen=True):
    """What an answer with status 400 or above holds; `error` repeats `detail` for callers of the replaced systems."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    error: str


class NotFound(Problem):
    """There is no such thing, or the caller may not know of it."""

    def __init__(self, kind: str, name: object) -> None:
        super().__init__(404, "not-found", f"no {kind} is named {str(name)[:200]!r}")


class Hidden(NotFound):
    """There is such a thing, and the caller may not know of it: only the audit log tells the difference."""


class Conflict(Problem):
    """The thing is in a state in which this cannot be done."""

    def __init__(self, detail: str) -> None:
        super().__init__(409, "conflict", detail)


class InvalidInput(Problem):
    """A value of the request breaks a rule."""

    def __init__(self, detail: str) -> None:
        super().__init__(422, "invalid", detail)


class WrongTry(InvalidInput):
    """What was tried is wrong and counts: what the request has written so far takes effect."""


class Unavailable(Problem):
    """The same request can succeed later."""

    def __init__(self, detail: str, code: str = "unavailable") -> None:
        super().__init__(503, code, detail, headers={"Retry-After": str(RETRY_SECONDS)})


class Unauthorized(Problem):
    """The request has no good token; which of the reasons it is, nobody learns."""

    def __init__(self) -> None:
        text = "the request needs the header `Authorization: Bearer TOKEN` with a good token"
        super().__init__(401, "unauthorized", text, headers={"WWW-Authenticate": 'Bearer realm="streamworkers"'})


class Forbidden(Problem):
    """The token does not allow this."""

    def __init__(self, scope: str) -> None:
        super().__init__(403, "forbidden", f"the token lacks the scope {scope!r}")


def write_problem(problem: Problem, request_id: str) -> bytes:
    """Return the body of an answer."""
    title, instance = HTTPStatus(problem.status).phrase, f"urn:uuid:{request_id}"
    body = ProblemBody(_TYPE + problem.code, title, problem.status, problem.detail, instance, problem.detail)
    return msgspec.json.encode(body)


def to_problem(error: BaseException) -> Problem | None:
    """The problem that an error of our own functions stands for; None for a fault of the program."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, KeyConflictError):
        return Problem(422, "key-conflict", str(error))
    if isinstance(error, UnknownJobError):
        return Problem(422, "unknown-job", str(error))
    if isinstance(error, UsageError | PrepareError):
        return InvalidInput(str(error))
    if isinstance(error, ServiceUnreachableError | BlockedError):
        return Unavailable(str(error))
    return _of_postgres(error) if isinstance(error, psycopg.Error) else None


def _of_postgres(error: psycopg.Error) -> Problem | None:
    if isinstance(error, postgres.QueryCanceled):
        return Unavailable("PostgreSQL took longer than a request may wait for a statement", "time-limit")
    if isinstance(error, postgres.LockNotAvailable | postgres.DeadlockDetected | postgres.SerializationFailure):
        return Unavailable("another transaction holds what this request needs", "locked")
    if is_schema_fault(error):
        return Unavailable("the schema of the database is not that of this release")
    if find_fault(error) is not None:
        return Unavailable("PostgreSQL cannot be used now")
    if isinstance(error, psycopg.DataError):
        return InvalidInput(f"PostgreSQL rejects a value: {error.diag.message_primary or 'it is malformed'}"[:300])
    return None


def to_headers(headers: dict[str, Any]) -> list[tuple[bytes, bytes]]:
    """Headers as a server takes them."""
    return [(name.lower().encode("latin-1"), str(value).encode("latin-1")) for name, value in headers.items()]
