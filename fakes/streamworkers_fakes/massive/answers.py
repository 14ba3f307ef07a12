"""An answer of the fake API, and those that say no."""

from dataclasses import dataclass

import msgspec

from streamworkers_fakes.massive.plans import NotAuthorizedError
from streamworkers_fakes.massive.reference import MissingError


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer, sent after `hold_seconds`, with `declared_length` as Content-Length if that is to be false.

    With `trickle_seconds` it is sent in small parts, each so long after the one before.
    """

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    hold_seconds: float = 0.0
    declared_length: int | None = None
    trickle_seconds: float = 0.0


class RejectedError(Exception):
    """The call is answered with this HTTP status and error instead of data."""

    def __init__(self, status: int, message: str, kind: str = "ERROR") -> None:
        super().__init__(message)
        self.status, self.message, self.kind = status, message, kind


def too_many_requests(request_id: str, headers: tuple[tuple[str, str], ...]) -> Answer:
    """The answer 429."""
    body = {
        "status": "ERROR",
        "request_id": request_id,
        "error": "You have made more requests per minute than your plan allows. Please wait.",
    }
    return Answer(429, msgspec.json.encode(body), headers=headers)


def reject(error: Exception, request_id: str) -> Answer:
    """The answer to a call that breaks a rule, or asks for what the plan does not include or nobody has."""
    if isinstance(error, NotAuthorizedError):
        body = {"status": "NOT_AUTHORIZED", "request_id": request_id, "message": str(error)}
        return Answer(403, msgspec.json.encode(body))
    if isinstance(error, MissingError):
        return Answer(
            404, msgspec.json.encode({"status": "NOT_FOUND", "request_id": request_id, "message": str(error)})
        )
    status, kind = (error.status, error.kind) if isinstance(error, RejectedError) else (400, "ERROR")
    return Answer(status, msgspec.json.encode({"status": kind, "request_id": request_id, "error": str(error)}))
