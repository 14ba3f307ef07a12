"""Answers of the Massive API: their shapes, how they are decoded, and what they say when they hold no data."""

from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import Annotated, Any, TypeVar

import msgspec

from streamworkers.loading.providers.provider import BadPayloadError, NoDataError

T = TypeVar("T")
_SHOWN = 200
_RETRY_SECONDS = 30.0
_MOST_RETRY_SECONDS = 3600.0
_UnixMs = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799_999)]  # to the end of 9999


class ApiBar(msgspec.Struct):
    """A bar; `T` names its symbol where an answer has several."""

    t: _UnixMs
    o: float | None
    h: float | None
    l: float | None  # noqa: E741  # the API's name
    c: float | None
    v: float | None
    T: str = ""


class ApiBars(msgspec.Struct):
    """The bars of a symbol, or of a day."""

    status: str
    resultsCount: int = 0  # noqa: N815  # the API's name
    results: list[ApiBar] | None = None
    ticker: str = ""
    adjusted: bool | None = None
    next_url: str | None = None


class ApiSplit(msgspec.Struct):
    """A split of a symbol."""

    ticker: str
    execution_date: date
    split_from: float
    split_to: float


class ApiSplits(msgspec.Struct):
    """A page of splits of all symbols."""

    status: str
    results: list[ApiSplit] | None = None
    next_url: str | None = None


class ApiTicker(msgspec.Struct):
    """A symbol, and since and until when it is listed."""

    ticker: str = ""
    active: bool = True
    list_date: date | None = None
    delisted_utc: str | None = None


class ApiOneTicker(msgspec.Struct):
    """The answer about one symbol."""

    status: str
    results: ApiTicker


class ApiTickers(msgspec.Struct):
    """The answer about symbols that were searched for."""

    status: str
    results: list[ApiTicker] | None = None


class ApiRename(msgspec.Struct):
    """The name that a symbol has got."""

    ticker: str


class ApiTickerEvent(msgspec.Struct):
    """A change of a symbol on a day."""

    date: date
    ticker_change: ApiRename | None = None


class ApiTickerEvents(msgspec.Struct):
    """All changes of a symbol."""

    events: list[ApiTickerEvent] = []


class ApiEvents(msgspec.Struct):
    """The answer about the changes of a symbol."""

    status: str
    results: ApiTickerEvents


class ApiRejection(msgspec.Struct):
    """What an answer without data says."""

    status: str = ""
    error: str = ""
    message: str = ""


def decode_answer(body: bytearray, kind: type[T]) -> T:
    """Return an answer of a kind. Raises BadPayloadError, or NoDataError for what is no JSON."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError) as error:
        wrong = BadPayloadError if body.lstrip().startswith((b"{", b"[")) else NoDataError
        raise wrong(f"the answer of {len(body):,} bytes is malformed: {error}") from None


def quote_message(body: bytes) -> str:
    """Return the message of an answer, shortened."""
    rejection = read_rejection(body)
    words = rejection.error or rejection.message or rejection.status
    return shorten(words or body[:_SHOWN].decode("utf-8", "replace"))


def read_rejection(body: bytes) -> ApiRejection:
    """Return what an answer without data says, empty words if it says nothing."""
    try:
        return msgspec.json.decode(body, type=ApiRejection)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ApiRejection()


def parse_retry_after(header: str | None) -> float:
    """Return the seconds to wait by a header of seconds or a date, half a minute if it is neither."""
    if header is None:
        return _RETRY_SECONDS
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return _RETRY_SECONDS
    return min(max(seconds, 1.0), _MOST_RETRY_SECONDS) if isfinite(seconds) else _RETRY_SECONDS


def parse_day(text: str) -> date:
    """Return the day of a time of the API. Raises BadPayloadError."""
    try:
        return date.fromisoformat(text[:10])
    except ValueError:
        raise BadPayloadError(f"the time {shorten(text)} is malformed") from None


def shorten(value: Any) -> str:
    """Return a value as errors show it: in one line, and not longer than 200 characters."""
    text = " ".join(repr(value).split())
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
