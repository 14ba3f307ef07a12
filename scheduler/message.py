"""Parses and validates the messages of other programs. Pure."""

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from streamworkers.config import Settings
from streamworkers.engine.redis.cut_message import size_of
from streamworkers.engine.redis.keys import DATA_LOAD_COMPLETE
from streamworkers.engine.redis.lanes import Priority, require_priority
from streamworkers.errors import BadInputError
from streamworkers.json_depth import find_too_deep
from streamworkers.json_errors import word_json_error
from streamworkers.market.bars.rules import require_symbol
from streamworkers.market.calendar.timeframes import timeframe_named
from streamworkers.names import find_name_error

# Why a message is rejected: metric labels. The last three are not the fault of the message.
REASONS = (
    *("not_json", "not_an_object", "too_large", "no_message", "unknown_type", "bad_field"),
    *("unknown_user", "no_schedule", "unknown_job", "internal_error"),
)
MAX_SYMBOLS = 10_000
MAX_YEARS = 100
_SHOWN_CHARACTERS = 80
LOAD_REQUEST = "csv_universe_load"
_ID = re.compile(r"[A-Za-z0-9_.:@/-]{1,100}")


@dataclass(frozen=True, slots=True)
class MessageLimits:
    """The most bytes, symbols, and levels of lists and objects, that a message may have."""

    bytes: int = 1 << 20
    symbols: int = MAX_SYMBOLS
    depth: int = 32

    @classmethod
    def of(cls, settings: Settings) -> "MessageLimits":
        """Return the limits of the settings."""
        return cls(settings.message_max_bytes, settings.message_max_symbols, settings.message_max_depth)


DEFAULT_LIMITS = MessageLimits()


class RejectedError(BadInputError):
    """A message that breaks a rule; `reason` is one of `REASONS`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class LoadComplete:
    """Bars of these symbols were loaded, in these timeframes; `is_own` if a run of this pool loaded them."""

    symbols: tuple[str, ...]
    timeframes: tuple[str, ...]
    run_analysis: bool
    job_id: str | None
    event_id: str | None
    requested_by: str | None
    is_own: bool = False

    def key(self, timeframe: str) -> str | None:
        """The idempotency key of the run of a timeframe; None if the message has no id."""
        if self.job_id is not None:
            return f"{DATA_LOAD_COMPLETE}:job:{self.job_id}:{timeframe}"
        if self.event_id is not None:
            return f"{DATA_LOAD_COMPLETE}:event:{self.event_id}:{timeframe}"
        return None

    @property
    def status_id(self) -> str | None:
        """The id that it is known by, and that its status is kept under; None if only its content tells it."""
        return self.job_id or self.event_id


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """A request to load bars of a universe, of symbols, or of both; `years` None loads only new bars."""

    job_id: str
    universe: str | None
    symbols: tuple[str, ...]
    timeframes: tuple[str, ...]
    years: float | None
    provider: str | None
    run_analysis: bool
    requested_by: str | None
    priority: Priority | None = None

    @property
    def status_id(self) -> str:
        """The id that its status is kept under."""
        return self.job_id

    @property
    def key(self) -> str:
        """The idempotency key of its run."""
        return f"{LOAD_REQUEST}:job:{self.job_id}"


def parse_message(raw: bytes, limits: MessageLimits = DEFAULT_LIMITS) -> LoadComplete | LoadRequest:
    """Parse a message. Raises RejectedError naming value and rule."""
    return parse_fields(parse_object(raw, limits), limits)


def parse_fields(fields: dict[str, Any], limits: MessageLimits = DEFAULT_LIMITS) -> LoadComplete | LoadRequest:
    """Parse the fields of a message. Raises RejectedError naming value and rule."""
    kind = fields.get("event_type", fields.get("job_type"))
    if kind == DATA_LOAD_COMPLETE:
        return LoadComplete(
            symbols=_symbols(fields, limits.symbols),
            timeframes=_timeframes(fields),
            run_analysis=_flag(fields, "run_analysis", default=True),
            job_id=find_id(fields, "job_id"),
            event_id=find_id(fields, "event_id"),
            requested_by=_user(fields),
            is_own="load_job_id" in fields,
        )
    if kind == LOAD_REQUEST:
        job_id = find_id(fields, "job_id")
        if job_id is None:
            raise RejectedError("bad_field", f"a {LOAD_REQUEST} needs a job_id")
        universe = _text(fields, "universe_key") or None
        if universe is None and not fields.get("symbols"):
            raise RejectedError("bad_field", f"a {LOAD_REQUEST} needs a universe_key or symbols")
        return LoadRequest(
            job_id=job_id,
            universe=universe,
            symbols=_symbols(fields, limits.symbols) if fields.get("symbols") else (),
            timeframes=_timeframes(fields),
            years=_years(fields),
            provider=_text(fields, "provider") or None,
            run_analysis=_flag(fields, "run_analysis", default=True),
            requested_by=_user(fields),
            priority=_priority(fields),
        )
    known = f"event_type {DATA_LOAD_COMPLETE!r} or job_type {LOAD_REQUEST!r}"
    raise RejectedError("unknown_type", f"the message is of type {_shown(kind)}, not {known}")


def parse_object(raw: bytes, limits: MessageLimits = DEFAULT_LIMITS) -> dict[str, Any]:
    """Parse a JSON object within the limits. Raises RejectedError naming value and rule."""
    if (size := size_of(raw)) > limits.bytes:
        raise RejectedError(
            "too_large", f"the message of {size:,} bytes exceeds STREAMWORKERS_MESSAGE_MAX_BYTES={limits.bytes}"
        )
    try:
        text = raw.decode(json.detect_encoding(raw), "surrogatepass")
        if find_too_deep(text, limits.depth) is not None:
            raise RejectedError("too_large", f"the message exceeds STREAMWORKERS_MESSAGE_MAX_DEPTH={limits.depth}")
        fields: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        detail = f"the message is not JSON: {_shown(raw[:80])} ({_find_json_rule(error)})"
        raise RejectedError("not_json", detail) from None
    if not isinstance(fields, dict):
        raise RejectedError("not_an_object", f"the message is {_shown(fields)}, not a JSON object")
    return fields


def _find_json_rule(error: ValueError | RecursionError) -> str:
    match error:
        case UnicodeDecodeError():
            return f"byte {error.start + 1} is no text"
        case json.JSONDecodeError():
            return word_json_error(error)
    return "a number has too many digits"


def _symbols(fields: dict[str, Any], most: int) -> tuple[str, ...]:
    symbols = fields.get("symbols")
    if not isinstance(symbols, list) or not symbols:
        raise RejectedError("bad_field", f"symbols {_shown(symbols)} is not a list of at least one symbol")
    if len(symbols) > most:
        detail = f"the message names {len(symbols):,} symbols, which exceeds STREAMWORKERS_MESSAGE_MAX_SYMBOLS={most}"
        raise RejectedError("bad_field", detail)
    for symbol in symbols:
        if not isinstance(symbol, str):
            raise RejectedError("bad_field", f"the symbol {_shown(symbol)} is not a text")
        try:
            require_symbol(symbol)
        except BadInputError as error:
            raise RejectedError("bad_field", str(error)) from None
    return tuple(dict.fromkeys(symbols))


def _years(fields: dict[str, Any]) -> float | None:
    value = fields.get("years")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MAX_YEARS:
        raise RejectedError("bad_field", f"years {_shown(value)} is not a number above 0 and up to {MAX_YEARS}")
    return float(value)


def _timeframes(fields: dict[str, Any]) -> tuple[str, ...]:
    given = fields.get("timeframes", [fields.get("timeframe", "day")])
    given = ["day"] if given is None else given
    if not isinstance(given, list) or not given:
        raise RejectedError("bad_field", f"timeframes {_shown(given)} is not a list of at least one timeframe")
    names = []
    for name in given:
        if not isinstance(name, str):
            raise RejectedError("bad_field", f"the timeframe {_shown(name)} is not a text")
        try:
            names.append(timeframe_named(name[:_SHOWN_CHARACTERS]).name)
        except BadInputError as error:
            raise RejectedError("bad_field", str(error)) from None
    return tuple(dict.fromkeys(names))


def _flag(fields: dict[str, Any], name: str, *, default: bool) -> bool:
    value = fields.get(name, default)
    if not isinstance(value, bool):
        raise RejectedError("bad_field", f"{name} {_shown(value)} is not true or false")
    return value


def find_id(fields: dict[str, Any], name: str) -> str | None:
    """Return the id of this name, None if there is none. Raises RejectedError for an invalid one."""
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise RejectedError("bad_field", f"{name} {_shown(value)} is not 1 to 100 letters, digits or _.:@/-")
    return value


def _user(fields: dict[str, Any]) -> str | None:
    value: str | None = fields.get("requested_by")
    if value is None or value == "":
        return None
    if (problem := find_name_error("user", value)) is not None:
        raise RejectedError("bad_field", f"requested_by: {problem}")
    return value


def _priority(fields: dict[str, Any]) -> Priority | None:
    value = fields.get("priority")
    if value is None:
        return None
    try:
        return require_priority(value)
    except BadInputError as error:
        raise RejectedError("bad_field", str(error)) from None


def _text(fields: dict[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not value.isprintable() or len(value) > 200:
        raise RejectedError("bad_field", f"{name} {_shown(value)} is not at most 200 printable characters")
    return value


def make_digest(fields: dict[str, Any]) -> bytes:
    """A hash of the content, independent of the time of sending and of the order of the fields."""
    content = {name: value for name, value in fields.items() if name not in ("timestamp", "sent_at")}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode("utf-8", "surrogatepass")).digest()


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 3]}…"
