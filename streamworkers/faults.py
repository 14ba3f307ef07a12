"""What an exception means: whether a store is at fault and how, and how to describe it without secrets."""

import re
import traceback
from typing import NamedTuple

import psycopg

from streamworkers.errors import FaultKind, ServiceUnreachableError, Store

_MOST_FRAMES = 20
_MOST_STACK_CHARACTERS = 4000
_MOST_CAUSES = 3
_MOST_CHARACTERS = 20_000
_HIDDEN = "…"
_SECRETS = (
    # user and password of a URL
    (re.compile(r"://[^/\s]*@"), f"://{_HIDDEN}@"),
    # a name that means a secret and its value, as in `password=x`, `"api_key": "x"`, `Authorization: Bearer x`
    (
        re.compile(
            r"""(?ix) ((?: password | passwd | pwd | secret | token | api[_-]?key | authorization ) ["']? \s* [=:] \s*)
            (?: ["']? (?: bearer | basic | token ) \s+ [^\s"',;&)}\]]+ ["']? | "[^"]*" | '[^']*' | [^\s"',;&)}\]]+ )"""
        ),
        rf"\1{_HIDDEN}",
    ),
)

# SQLSTATEs by what they begin with; the first line that matches counts.
_KINDS = (
    (FaultKind.FULL, ("53",)),
    # 57P04 is a database that was dropped.
    (FaultKind.REJECTED, ("28", "3D", "3F", "42", "57P04")),
    # The server is away or read-only, ended the session, or made it wait for another one.
    (FaultKind.AWAY, ("08", "57P", "25006", "25P03", "40001", "40P01", "55P03")),
)
_SCHEMA_STATES = ("3F000", "42P01", "42703", "42883")
SCHEMA_ADVICE = "the schema of the database is missing or out of date: run `streamworkers migrate`"
_ADVICE = {
    "28": "correct the user or the password in STREAMWORKERS_DATABASE_URL, or pg_hba.conf",
    "3D": "create the database, or correct STREAMWORKERS_DATABASE_URL",
    "57P04": "create the database, or correct STREAMWORKERS_DATABASE_URL",
    "42501": "grant the right: `streamworkers migrate --roles`, and docs/guides/operations.md#rights",
    **dict.fromkeys(_SCHEMA_STATES, SCHEMA_ADVICE),
    "42": "is the schema of this release? `streamworkers migrate --status`",
    "53100": "free disk space for PostgreSQL",
    "53200": "give PostgreSQL more memory, or run fewer processes",
    "53300": "raise `max_connections` or the limit of the role, or run fewer processes",
}
_NAMES = {Store.REDIS: "Redis", Store.POSTGRESQL: "PostgreSQL"}
_VERBS = {FaultKind.AWAY: "does not answer", FaultKind.REJECTED: "rejects", FaultKind.FULL: "is full"}


class Fault(NamedTuple):
    """Why a store cannot be used now; `text` is one sentence with the way out."""

    store: Store
    kind: FaultKind
    text: str


class StoreFaultError(psycopg.OperationalError):
    """PostgreSQL, or what user code needs of Redis, cannot be used now; `fault` says why."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.text)
        self.fault = fault


def word_fault(store: Store, kind: FaultKind, answer: str, advice: str = "") -> Fault:
    """Put a fault into the one sentence that every message about it uses."""
    text = f"{_NAMES[store]} {_VERBS[kind]}: {answer}"
    return Fault(store, kind, f"{text}: {advice}" if advice else text)


def find_fault(error: BaseException) -> Fault | None:
    """The fault of a store that an error of our own calls stands for; None for any other error.

    A statement cancelled by its time limit is the statement's fault.
    """
    if isinstance(error, StoreFaultError):
        return error.fault
    if isinstance(error, ServiceUnreachableError):
        return None if error.store is None else Fault(error.store, error.kind, str(error))
    if not isinstance(error, psycopg.Error):
        return None
    kind = kind_of_state(error.sqlstate, is_connection=isinstance(error, psycopg.OperationalError))
    if kind is None and isinstance(error, psycopg.InterfaceError) and error.sqlstate is None:
        kind = FaultKind.AWAY  # the connection was closed
    return None if kind is None else word_postgres_fault(kind, error.sqlstate, _answer_of(error))


def is_transient(error: BaseException) -> bool:
    """True if a store is away or full, so that the same work can succeed later without a change of its data."""
    fault = find_fault(error)
    return fault is not None and fault.kind is not FaultKind.REJECTED


def kind_of_state(state: str | None, *, is_connection: bool) -> FaultKind | None:
    """The kind of fault that an SQLSTATE stands for; a lost connection carries none."""
    if state is None:
        return FaultKind.AWAY if is_connection else None
    return next((kind for kind, beginnings in _KINDS if state.startswith(beginnings)), None)


def word_postgres_fault(kind: FaultKind, state: str | None, answer: str) -> Fault:
    """The fault of PostgreSQL in one sentence, with the way out that its SQLSTATE names."""
    matching = [beginning for beginning in _ADVICE if (state or "").startswith(beginning)]
    fault = word_fault(Store.POSTGRESQL, kind, answer, _ADVICE[max(matching, key=len)] if matching else "")
    if kind is FaultKind.AWAY and state is not None and not state.startswith("08"):
        return fault._replace(text=f"PostgreSQL cannot work now: {answer}")
    return fault


def is_schema_fault(error: BaseException) -> bool:
    """True if a table, column or function is missing: the schema is older or newer than this release."""
    return isinstance(error, psycopg.Error) and error.sqlstate in _SCHEMA_STATES


def _answer_of(error: psycopg.Error) -> str:
    """What the server answered, with the name of the condition where it has one."""
    text = printable(" ".join((error.diag.message_primary or str(error)).split()))
    return f"{type(error).__name__}: {text}" if error.sqlstate is not None else text


def describe(error: BaseException) -> str:
    """Return an exception in one line: its type and message, without secrets."""
    text = clean_text(" ".join(_message(error).split()))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def describe_stack(error: BaseException) -> str:
    """Return where an exception was raised, and before it where its causes were: the newest frames, without secrets."""
    chain = _causes(error)
    room = _MOST_STACK_CHARACTERS // len(chain)
    parts = []
    for each in reversed(chain):
        frames = clean_stack("".join(traceback.format_tb(each.__traceback__)[-_MOST_FRAMES:]))
        end = "" if each is error else f"{describe(each)[: room // 4]}\n\nwhich led to:\n"
        parts.append(frames[-(room - len(end)) :] + end)
    return "".join(parts)


def printable(text: str) -> str:
    """Return the text as PostgreSQL can store it: without NUL and without half of a surrogate pair."""
    return text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")


def clean_text(text: str) -> str:
    """Return the beginning of the text of user code, without secrets, as PostgreSQL can store it."""
    return hide_secrets(printable(text[:_MOST_CHARACTERS]))


def clean_stack(text: str) -> str:
    """Return the end of a stack that a handler made, without secrets."""
    return clean_text(text[-_MOST_CHARACTERS:])[-_MOST_STACK_CHARACTERS:]


def hide_secrets(text: str) -> str:
    """Return the text without passwords of URLs and without values after names such as `password` or `api_key`."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def _causes(error: BaseException) -> list[BaseException]:
    """Return an exception and what caused it, the newest first; of a group of exceptions, the first one."""
    chain = [error]
    while len(chain) <= _MOST_CAUSES:
        newest = chain[-1]
        cause = newest.__cause__ or (None if newest.__suppress_context__ else newest.__context__)
        if isinstance(newest, BaseExceptionGroup):
            cause = newest.exceptions[0]
        if cause is None or cause in chain:
            break
        chain.append(cause)
    return chain


def _message(error: BaseException) -> str:
    """Return the text of an exception; that of user code can raise in turn."""
    try:
        return str(error)
    except Exception as another:  # noqa: BLE001  # not our code
        return f"its message raises {type(another).__name__}"
