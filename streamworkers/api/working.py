"""Works on one request in a thread: one connection, one transaction, one row in the audit log."""

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg_pool import ConnectionPool

from streamworkers.actor import Actor
from streamworkers.admin.tokens import ApiToken, find_token, note_use
from streamworkers.api.attempts import Attempts
from streamworkers.api.call import JSON, ApiAnswer, ApiCall, ApiService, Caller
from streamworkers.api.event_answers import EventsWanted
from streamworkers.api.idempotency import KeyedRequest, answer_once, read_key
from streamworkers.api.limits import RequestLimits
from streamworkers.api.operation import Nothing, Operation
from streamworkers.api.problem import (
    Forbidden,
    Hidden,
    Problem,
    Unauthorized,
    Unavailable,
    WrongTry,
    to_problem,
    write_problem,
)
from streamworkers.api.reading import read_body, read_query
from streamworkers.audit.record import AuditChange, Outcome, record_change
from streamworkers.database import Connection
from streamworkers.faults import StoreFaultError, describe
from streamworkers.logger import get_logger

log = get_logger()
POOL_WAIT_SECONDS = 1.0
_LOCK_MS = 1_000
_SET_LIMITS = "SELECT set_config('statement_timeout', %s, true), set_config('lock_timeout', %s, true)"


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """A request as it came, with the operation that it is about."""

    id: str
    operation: Operation
    path: str
    path_values: dict[str, str]
    query: bytes
    headers: dict[str, str]
    address: str
    body: bytes
    abandoned: threading.Event  # set once it was answered without us: then nothing takes effect

    @property
    def token(self) -> str:
        """What it presents as a token; empty if it presents none."""
        kind, _, text = self.headers.get("authorization", "").partition(" ")
        return text.strip() if kind.lower() == "bearer" else ""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """An answer, whose token it is for, and the code of the problem that it is, if it is one."""

    status: int
    headers: dict[str, str]
    body: bytes
    token: int | None = None
    follow: EventsWanted | None = None
    problem: str | None = None


@dataclass(slots=True)
class _Seen:
    """What is known of a request so far: the token, whatever its state, and headers of every answer."""

    token: ApiToken | None = None
    headers: dict[str, str] = field(default_factory=dict)


class RequestWorker:
    """Answers requests; its threads share a pool that no thread waits for longer than a second."""

    def __init__(self, pool: "ConnectionPool[Connection]", service: ApiService, limits: RequestLimits) -> None:
        self._pool, self._service, self._limits = pool, service, limits
        self._attempts = Attempts(limits)
        self._statement_ms = round(service.settings.api_statement_seconds * 1000)

    def answer(self, request: ApiRequest) -> Outgoing:
        """Work on a request. Never raises: what goes wrong is an answer too."""
        seen = _Seen()
        try:
            self._attempts.require_few(request.address)
            try:
                connection = self._pool.getconn(POOL_WAIT_SECONDS)
            except (psycopg.Error, StoreFaultError):
                raise Unavailable("PostgreSQL cannot be used now, or all connections to it are in use") from None
            try:
                return self._answer_with(connection, request, seen)
            finally:
                self._pool.putconn(connection)
        except Exception as error:  # noqa: BLE001  # a request is answered whatever happens
            return _to_outgoing(_as_problem(error, request.id), request.id, seen)

    def _answer_with(self, connection: Connection, request: ApiRequest, seen: _Seen) -> Outgoing:
        after: list[Callable[[Connection], None]] = []
        try:
            with connection.transaction():
                try:
                    answer: Outgoing | WrongTry = self._answer_in(connection, request, seen, after)
                except WrongTry as wrong:
                    answer = wrong
                if request.abandoned.is_set():
                    raise Unavailable("the request took too long", "time-limit")
            if isinstance(answer, WrongTry):
                raise answer
        except Exception as error:  # noqa: BLE001
            problem = _as_problem(error, request.id)
            self._record_problem(connection, request, problem, seen)
            return _to_outgoing(problem, request.id, seen)
        for step in after:
            _try_step(connection, step)
        answer.headers.update(seen.headers)
        return answer

    def _answer_in(
        self,
        connection: Connection,
        request: ApiRequest,
        seen: _Seen,
        after: list[Callable[[Connection], None]],
    ) -> Outgoing:
        connection.execute(_SET_LIMITS, (f"{self._statement_ms}ms", f"{_LOCK_MS}ms"))
        caller = self._authenticate(connection, request, seen)
        caller.require(request.operation.scope)
        key = read_key(request.headers.get("idempotency-key")) if request.operation.method == "POST" else None

        def work() -> ApiAnswer:
            call = self._make_call(connection, caller, request)
            answer = request.operation.handler(call)
            after.extend(call.after_commit)
            return answer

        if caller.token.last_used_at is None or request.operation.changing:
            after.append(lambda connection: note_use(connection, caller.token.id))
        if key is None:
            answer = work()
            return _to_good(answer, caller)
        made: list[ApiAnswer] = []

        def work_once() -> tuple[int, bytes]:
            made.append(work())
            return made[0].status, made[0].encode()

        target = f"{request.path}?{request.query.decode('latin-1')}" if request.query else request.path
        keyed = KeyedRequest(caller.token.id, key, request.operation.method, target, request.body)
        status, body, is_kept = answer_once(connection, keyed, work_once)
        if is_kept:
            return Outgoing(status, {"Content-Type": JSON, "Idempotency-Replayed": "true"}, body, caller.token.id)
        return _to_good(made[0], caller)

    def _authenticate(self, connection: Connection, request: ApiRequest, seen: _Seen) -> Caller:
        """Find the caller by one statement, whatever is presented. Raises Unauthorized."""
        token = find_token(connection, request.token)
        seen.token = token
        if token is None or token.is_expired or token.is_revoked:
            self._attempts.failed(request.address)
            raise Unauthorized
        self._require_allowed(token, seen)
        return Caller(token, _actor_of(request, token))

    def _require_allowed(self, token: ApiToken, seen: _Seen) -> None:
        """Raise Problem 429 for a token that has no request left in this minute."""
        limit = self._service.settings.api_requests_per_minute
        if not limit:
            return
        allowance = self._limits.take(f"token:{token.id}", limit)
        seen.headers["RateLimit-Limit"] = str(limit)
        seen.headers["RateLimit-Remaining"] = str(allowance.left)
        seen.headers["RateLimit-Reset"] = str(math.ceil(allowance.whole_seconds))
        if not allowance.is_allowed:
            text = f"token {token.id} may send {limit} requests a minute"
            headers = {"Retry-After": str(math.ceil(allowance.next_seconds))}
            raise Problem(429, "too-many-requests", text, headers=headers)

    def _make_call(self, connection: Connection, caller: Caller, request: ApiRequest) -> ApiCall:
        operation = request.operation
        query = read_query(request.query, operation.query)
        body = None
        if operation.body is not Nothing:
            body = read_body(request.body or b"{}", operation.body)
        elif request.body.strip() not in (b"", b"{}"):
            raise Problem(422, "invalid", f"{operation.method} {operation.route} takes no body")
        words = (request.path_values, query, body, request.headers, operation.method)
        return ApiCall(connection, caller, self._service, *words)

    def _record_problem(self, connection: Connection, request: ApiRequest, problem: Problem, seen: _Seen) -> None:
        """Keep what was rejected, and what failed, in the audit log: of reading only what was not allowed."""
        operation = request.operation
        if not (operation.changing or isinstance(problem, Unauthorized | Forbidden | Hidden)):
            return
        if problem.status == 429:  # what is limited must not fill the log
            return
        name = operation.action or f"{operation.object_type or 'api'}.read"
        change = AuditChange(name, operation.object_type or "path", request.path)
        outcome: Outcome = "failed" if problem.status >= 500 else "rejected"
        actor = _actor_of(request, seen.token)
        try:
            with connection.transaction():
                connection.execute(_SET_LIMITS, (f"{self._statement_ms}ms", f"{_LOCK_MS}ms"))
                record_change(connection, actor, change, outcome, f"{problem.status}: {problem.detail}")
        except psycopg.Error as error:
            log.warning("audit_failed", request=request.id, action=name, error=describe(error))


def _actor_of(request: ApiRequest, token: ApiToken | None) -> Actor:
    user, number = ("", None) if token is None else (token.user, str(token.id))
    return Actor(user, "api", number, request.id, request.address or None)


def _as_problem(error: BaseException, request_id: str) -> Problem:
    problem = to_problem(error)
    if problem is None:
        log.error("request_failed", request=request_id, error=describe(error), exc_info=error)
        return Problem(
            500, "internal", "the request failed by a fault of the program; its log has it under the instance"
        )
    return problem


def _to_outgoing(problem: Problem, request_id: str, seen: _Seen) -> Outgoing:
    headers = {"Content-Type": "application/problem+json", **problem.headers, **seen.headers}
    token = seen.token.id if seen.token is not None else None
    return Outgoing(problem.status, headers, write_problem(problem, request_id), token, problem=problem.code)


def _to_good(answer: ApiAnswer, caller: Caller) -> Outgoing:
    headers = {"Content-Type": JSON, **answer.headers}
    return Outgoing(answer.status, headers, answer.encode_whole(), caller.token.id, answer.follow)


def _try_step(connection: Connection, step: Callable[[Connection], Any]) -> None:
    try:
        step(connection)
    except Exception as error:  # noqa: BLE001  # the pool repairs what such a step leaves undone
        log.warning("after_commit_failed", error=describe(error))
