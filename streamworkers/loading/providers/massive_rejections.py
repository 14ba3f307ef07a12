"""What the Massive API means by an answer that is not good: the error that fits its code, status and message."""

from datetime import UTC, date, datetime, timedelta

from streamworkers.loading.providers.massive_answers import parse_retry_after, quote_message, read_rejection
from streamworkers.loading.providers.provider import (
    AuthError,
    BadPayloadError,
    NoDataError,
    NotYetError,
    PlanError,
    RateLimitedError,
    TooOldError,
    TransientError,
    UnsupportedError,
)
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE

Days = tuple[date, date] | None


def check_code(code: int, retry_after: str | None, body: bytes, days: Days, now: datetime) -> None:
    """Raise the error of an HTTP code that is not 200, for a call for bars of `days` at the API's `now`."""
    if code == 429:
        until = datetime.now(UTC) + timedelta(seconds=parse_retry_after(retry_after))
        raise RateLimitedError("massive allows no more calls now (HTTP 429)", until)
    if code == 402:
        raise AuthError(f"massive wants the key in STREAMWORKERS_MASSIVE_API_KEY to be paid for: {quote_message(body)}")
    if code == 403 and not body.lstrip().startswith(b"{"):  # what rejects calls for the API, such as a firewall
        raise NoDataError(f"massive answered HTTP 403 and no reason of its own: {quote_message(body)}")
    if code in (401, 403, 404):
        raise explain_status("", body, code, days, now)
    if code >= 500 or code in (408, 425):
        raise TransientError(f"massive answered HTTP {code}: {quote_message(body)}")
    if code < 300:
        raise BadPayloadError(f"massive answered HTTP {code}, not 200")
    if code < 400:
        raise BadPayloadError(f"massive answered HTTP {code}, a redirect; redirects are not followed")
    raise UnsupportedError(f"massive rejected the call with HTTP {code}: {quote_message(body)}")


def explain_status(status: str, body: bytes, code: int, days: Days, now: datetime) -> Exception:
    """Return the error of an answer whose status is not good."""
    message = quote_message(body)
    status = read_rejection(body).status or status
    if status == "NOT_AUTHORIZED" or (code == 403 and status != "ERROR"):
        return _explain_plan(message, days, now)
    if code in (401, 403):
        return AuthError(f"massive rejected the key in STREAMWORKERS_MASSIVE_API_KEY: {message}")
    if code == 404:
        return UnsupportedError(f"massive has no data there (HTTP 404): {message}")
    return TransientError(f"massive answered with status {status!r}: {message}")


def _explain_plan(message: str, days: Days, now: datetime) -> Exception:
    """Return which limit of the plan a call has met.

    The API says only in words which it is, and has the same ones for days that are too old and too new.
    """
    is_range = days is not None and ("timeframe" in message or "time frame" in message)
    if "before end of day" in message or (is_range and days and days[0] >= now.astimezone(EXCHANGE_ZONE).date()):
        return NotYetError(f"the plan of the key does not include this yet: {message}")
    if is_range:
        return TooOldError(f"the plan of the key does not reach so far back: {message}")
    return PlanError(f"the plan of the key does not include this: {message}")
