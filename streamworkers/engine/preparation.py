"""What a request must be, and what its job makes of it, before anything is written."""

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from pydantic import ValidationError

from streamworkers.database import Connection, fetch_value
from streamworkers.engine.job import ItemKind, Job, RunRequest
from streamworkers.engine.redis.lanes import require_priority
from streamworkers.errors import BadInputError, FaultKind, PrepareError, Store, UnknownNameError, UsageError
from streamworkers.faults import StoreFaultError, describe, is_transient, word_fault
from streamworkers.field_errors import word_rule
from streamworkers.symbols import find_symbol_error

MOST_LOST = 3
MAX_ITEMS = 5_000_000
MAX_KEY_CHARACTERS = 200
_MAX_ID_CHARACTERS = 200
_MOST_COUNTED = 1000
_CLOCKS_DIFFER = timedelta(minutes=1)


class LostInPrepareError(StoreFaultError):
    """PostgreSQL could not be used any more while, or because, a job's `prepare` was called: that may be its doing."""

    def __init__(self, job: str, reason: str) -> None:
        super().__init__(word_fault(Store.POSTGRESQL, FaultKind.AWAY, f"during prepare of job {job!r}: {reason}"))
        self.reason = reason


class LostPrepares:
    """How often PostgreSQL was lost while the same request was prepared, so that it is not repeated for ever.

    The counts are of this process: with n replicas a request is repeated n times as often at most.
    """

    def __init__(self) -> None:
        self._counts: OrderedDict[Hashable, int] = OrderedDict()

    def count(self, key: Hashable, error: BaseException) -> None:
        """Count an error of a request if PostgreSQL was lost in `prepare`."""
        if isinstance(error, LostInPrepareError):
            self._counts[key] = self._counts.get(key, 0) + 1
            if len(self._counts) > _MOST_COUNTED:
                self._counts.popitem(last=False)

    def require_few(self, key: Hashable) -> None:
        """Raise BadInputError, and forget the count, if it has happened too often."""
        if self._counts.get(key, 0) >= MOST_LOST:
            del self._counts[key]
            raise BadInputError(
                f"PostgreSQL was lost {MOST_LOST} times while the job prepared this run: does its `prepare` take longer"
                " than STREAMWORKERS_IDLE_TRANSACTION_SECONDS, or close its connection?"
            )


def prepare_request(connection: Connection, job: Job[Any], request: RunRequest) -> RunRequest:
    """Check a request, let its job complete it, and check the result.

    Raises BadInputError for parameters, items or a key that break a rule, UnknownNameError for a part that a job does
    not have, PrepareError for an error of PostgreSQL in the job's `prepare` or a transaction that it broke,
    LostInPrepareError if the connection is lost after it, and whatever else it raises.
    """
    if request.must_be_submitted:
        raise BadInputError(
            "a run that starts later or has a webhook is submitted, and prepared later: use enqueue_many"
        )
    checked = check_request(job, request)
    prepared = _call_prepare(connection, job, checked) if has_own_prepare(job) else checked
    return require_prepared(job, checked, prepared)


def require_prepared(job: Job[Any], checked: RunRequest, prepared: object) -> RunRequest:
    """Return what a job's `prepare` has made of a checked request.

    Raises TypeError if it is no request, and BadInputError for items that break a rule.
    """
    if not isinstance(prepared, RunRequest):
        raise TypeError(f"prepare of job {job.name!r} returned {prepared!r}, not a RunRequest")
    if prepared.symbols is not checked.symbols or prepared.timeframes is not checked.timeframes:
        _require_items(job, prepared)
    if not prepared.symbols and prepared.note is None:
        raise BadInputError(f"a run needs at least one {kind_of_items(job)}")
    return prepared


def has_own_prepare(job: Job[Any]) -> bool:
    """True if a job completes its requests."""
    return type(job).prepare is not Job.prepare


def _call_prepare(connection: Connection, job: Job[Any], request: RunRequest) -> RunRequest:
    status = connection.info.transaction_status
    try:
        prepared = job.prepare(connection, request)
    except UsageError:
        raise
    except Exception as error:
        if _is_lost(connection):
            raise LostInPrepareError(job.name, describe(error)) from error
        if not isinstance(error, psycopg.Error):
            raise
        if is_transient(error) and error.sqlstate is not None:  # an answer of a server, which may be ours
            raise LostInPrepareError(job.name, describe(error)) from error
        # Any other error of PostgreSQL is the job's own, and no reason for its caller to wait.
        raise PrepareError(f"job {job.name!r} cannot prepare a run: {describe(error)}") from error
    if connection.closed:
        raise LostInPrepareError(job.name, "it left the connection closed")
    if status == TransactionStatus.INTRANS:
        try:
            _require_sound_transaction(connection, job.name)
        except psycopg.Error as error:
            raise LostInPrepareError(job.name, describe(error)) from error
    return prepared


def _require_sound_transaction(connection: Connection, job: str) -> None:
    """Raise PrepareError if the caller cannot go on in the transaction in which it called `prepare`."""
    match connection.info.transaction_status:
        case TransactionStatus.INERROR:
            raise PrepareError(f"prepare of job {job!r} caught an error of the database")
        case TransactionStatus.INTRANS:
            if fetch_value(connection, "SHOW transaction_read_only") == "on":
                raise PrepareError(f"prepare of job {job!r} made its transaction read-only")
        case _:
            raise PrepareError(f"prepare of job {job!r} ended the transaction that it was called in")


def _is_lost(connection: Connection) -> bool:
    """True if the connection does not answer any more."""
    if connection.closed:
        return True
    try:
        connection.execute("SELECT 1")
    except psycopg.errors.InFailedSqlTransaction:
        return False
    except psycopg.Error:
        return True
    return False


def check_request(job: Job[Any], request: RunRequest) -> RunRequest:
    """Return the request with all parts of a job that has parts and was asked for none."""
    symbols = request.symbols or job.parts
    _require_key(request.idempotency_key)
    _require_past(request.as_of)
    if request.priority is not None:
        require_priority(request.priority)
    if not symbols and kind_of_items(job) != "id":
        raise BadInputError("a run needs at least one symbol")
    checked = request if symbols is request.symbols else replace(request, symbols=symbols)
    _require_items(job, checked)
    for symbol in symbols if job.parts else ():
        if symbol not in job.parts:
            raise UnknownNameError(f"part of job {job.name!r}", symbol, job.parts)
    require_parameters(job, request.parameters or {})
    return checked


def kind_of_items(job: Job[Any]) -> ItemKind:
    """Return what the keys of a job's items are."""
    return "part" if job.parts else job.item_kind


def require_parameters(job: Job[Any], parameters: dict[str, Any]) -> None:
    """Raise BadInputError naming the parameter that a job does not have, or that breaks its rule."""
    try:
        job.parameters.model_validate(parameters)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        rule = word_rule(first, job.parameters.model_fields)
        value = "" if first["type"] == "missing" else f"={first['input']!r}"
        raise BadInputError(f"parameter {name}{value} of job {job.name!r}: {rule}") from None


def _require_key(key: str | None) -> None:
    if key is not None and not (0 < len(key) <= MAX_KEY_CHARACTERS and key.isprintable()):
        raise BadInputError(f"key {key[:80]!r} is not 1 to {MAX_KEY_CHARACTERS} printable characters")


def _require_past(as_of: datetime | None) -> None:
    """Check that an as-of is a moment that has come; the clock of who names it may be a little ahead."""
    if as_of is None:
        return
    if getattr(as_of, "tzinfo", None) is None:  # a date, or a moment of nobody knows which zone
        raise BadInputError(f"as-of {as_of} is not a moment: give a datetime with its zone")
    if as_of > datetime.now(UTC) + _CLOCKS_DIFFER:
        raise BadInputError(
            f"as-of {as_of.isoformat()} is in the future: leave it out, and the run sees what is there now"
        )


def _require_items(job: Job[Any], request: RunRequest) -> None:
    symbols = request.symbols
    kind = kind_of_items(job)
    if kind == "id":
        _require_ids(symbols)
    elif kind == "symbol" and (problem := next(filter(None, map(find_symbol_error, symbols)), None)):
        raise BadInputError(problem)
    if len(set(symbols)) != len(symbols):
        repeated = next(symbol for symbol in symbols if symbols.count(symbol) > 1)
        raise BadInputError(f"symbol {repeated!r} is named twice; each symbol of a run is one item")
    if request.item_count > MAX_ITEMS:
        raise BadInputError(f"a run of {request.item_count} items is over the limit of {MAX_ITEMS}")
    if len(set(request.timeframes)) != len(request.timeframes):
        raise BadInputError(f"a timeframe is named twice in {', '.join(request.timeframes)}")


def _require_ids(ids: Sequence[str]) -> None:
    for key in ids:
        if not (0 < len(key) <= _MAX_ID_CHARACTERS and key.isprintable()):
            raise BadInputError(f"id {key[:80]!r} is not 1 to {_MAX_ID_CHARACTERS} printable characters")
