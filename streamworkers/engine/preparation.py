"""What a request must be, and what its job makes of it, before anything is written."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import psycopg
from pydantic import ValidationError

from streamworkers.database import Connection
from streamworkers.engine.job import ItemKind, Job, RunRequest
from streamworkers.errors import BadInputError, PrepareError, UnknownNameError
from streamworkers.faults import describe, is_transient

MAX_ITEMS = 5_000_000
MAX_KEY_CHARACTERS = 200
_MAX_SYMBOL_CHARACTERS = 64
_MAX_ID_CHARACTERS = 200


def prepare_request(connection: Connection, job: Job[Any], request: RunRequest) -> RunRequest:
    """Check a request, let its job complete it, and check the result.

    Raises BadInputError for parameters, items or a key that break a rule, UnknownNameError for a part that a job does
    not have, PrepareError for an error of PostgreSQL in the job's `prepare`, and whatever else that raises.
    """
    checked = check_request(job, request)
    prepared = _call_prepare(connection, job, checked)
    if not isinstance(prepared, RunRequest):
        raise TypeError(f"prepare of job {job.name!r} returned {prepared!r}, not a RunRequest")
    if prepared.symbols is not checked.symbols or prepared.timeframes is not checked.timeframes:
        _require_items(job, prepared)
    if not prepared.symbols and prepared.note is None:
        raise BadInputError(f"a run needs at least one {kind_of_items(job)}")
    return prepared


def _call_prepare(connection: Connection, job: Job[Any], request: RunRequest) -> RunRequest:
    try:
        return job.prepare(connection, request)
    except psycopg.Error as error:
        if is_transient(error):
            raise
        # What PostgreSQL rejects here is the job's own, and no reason for its caller to wait.
        raise PrepareError(f"job {job.name!r} cannot prepare a run: {describe(error)}") from error


def check_request(job: Job[Any], request: RunRequest) -> RunRequest:
    """Return the request with all parts of a job that has parts and was asked for none."""
    symbols = request.symbols or job.parts
    _require_key(request.idempotency_key)
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
        raise BadInputError(f"parameter {name}={first['input']!r} of job {job.name!r}: {first['msg']}") from None


def _require_key(key: str | None) -> None:
    if key is not None and not (0 < len(key) <= MAX_KEY_CHARACTERS and key.isprintable()):
        raise BadInputError(f"key {key[:80]!r} is not 1 to {MAX_KEY_CHARACTERS} printable characters")


def _require_items(job: Job[Any], request: RunRequest) -> None:
    symbols = request.symbols
    if kind_of_items(job) == "id":
        _require_ids(symbols)
    else:
        _require_symbols(symbols)
    if len(set(symbols)) != len(symbols):
        repeated = next(symbol for symbol in symbols if symbols.count(symbol) > 1)
        raise BadInputError(f"symbol {repeated!r} is named twice; each symbol of a run is one item")
    if request.item_count > MAX_ITEMS:
        raise BadInputError(f"a run of {request.item_count} items is over the limit of {MAX_ITEMS}")
    if len(set(request.timeframes)) != len(request.timeframes):
        raise BadInputError(f"a timeframe is named twice in {', '.join(request.timeframes)}")


def _require_symbols(symbols: Sequence[str]) -> None:
    for symbol in symbols:
        if not symbol or len(symbol) > _MAX_SYMBOL_CHARACTERS or not symbol.isprintable() or " " in symbol:
            raise BadInputError(
                f"symbol {symbol!r} is not 1 to {_MAX_SYMBOL_CHARACTERS} printable characters without space"
            )


def _require_ids(ids: Sequence[str]) -> None:
    for key in ids:
        if not (0 < len(key) <= _MAX_ID_CHARACTERS and key.isprintable()):
            raise BadInputError(f"id {key[:80]!r} is not 1 to {_MAX_ID_CHARACTERS} printable characters")
