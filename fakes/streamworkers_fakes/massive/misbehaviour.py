"""The ways in which the fake API misbehaves, and the rules by which a call meets one of them.

Whether a rule applies to a call is a function of the seed, the URL and the number of calls to this URL. It is the same
in each run, even if calls overlap, and a repeated call may succeed.
"""

import hashlib
import math
import random
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from streamworkers.errors import BadInputError, UnknownNameError

NO_AUTHORITY = "http://other-host.invalid"
_DAY_MS, _HOUR_MS = 86_400_000, 3_600_000
_HTML = b"<!DOCTYPE html><html><head><title>Maintenance</title></head><body><h1>Back soon</h1></body></html>"


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


@dataclass(frozen=True, slots=True)
class ReceivedCall:
    """What rules know about a call: `url` with its host and without keys, `path` with the query.

    `endpoint` is `aggregates`, `grouped`, `splits` or `tickers`; `first_ms` the start of the range of aggregates.
    """

    url: str
    path: str
    endpoint: str
    ticker: str | None
    request_id: str
    first_ms: int | None = None

    @property
    def has_bars(self) -> bool:
        """True for the endpoints that answer with bars."""
        return self.endpoint in ("aggregates", "grouped")


@dataclass(frozen=True, slots=True)
class _Kind:
    """A way to misbehave: the meaning and range of its value, and whether it needs an answer with bars."""

    meaning: str
    default: float | str | None = None
    least: float = 0.0
    most: float = math.inf
    whole: bool = False
    bars_only: bool = False


KINDS = {
    "absurd_price": _Kind("the prices of one bar multiplied by VALUE", 1000.0, 0.0, bars_only=True),
    "bad_bar": _Kind("one bar with its high below its low, and one with a null open", bars_only=True),
    "cut_connection": _Kind("a Content-Length larger than what is sent, then the connection is closed"),
    "clipped_bars": _Kind("the first part of the bars, VALUE of them, missing", 0.5, 0, 1, bars_only=True),
    "delayed": _Kind("good data with the status DELAYED"),
    "duplicate_bars": _Kind("the first bar twice", bars_only=True),
    "dst_shift": _Kind("all bars from the middle on an hour late", bars_only=True),
    "error_status": _Kind("HTTP 200 with the status ERROR"),
    "foreign_next_url": _Kind("a next_url on another host; VALUE: its base URL", NO_AUTHORITY),
    "gateway_timeout": _Kind("504 after VALUE seconds", 0.2),
    "high_below_low": _Kind("one bar with its high below its low", bars_only=True),
    "huge_body": _Kind("a good answer padded to more than VALUE MB", 64.0, 0.001, 4096.0),
    "loop_next_url": _Kind("a next_url that leads to the same page"),
    "missing_bars": _Kind("a share VALUE of the bars missing, others each time", 0.2, 0, 1, bars_only=True),
    "missing_results": _Kind("a resultsCount of 5 without results"),
    "not_authorized": _Kind("403: the plan does not include the data"),
    "not_json": _Kind("HTTP 200 with a page of HTML"),
    "null_open": _Kind("one bar with a null open", bars_only=True),
    "out_of_range_bars": _Kind("one bar before the range", bars_only=True),
    "random_failures": _Kind(
        "with the probability VALUE a 429, 500, 502, truncated_json or gateway_timeout", 0.2, 0, 1
    ),
    "rate_limit": _Kind("429; VALUE: seconds of Retry-After, which is left out without it", None, 0, 86_400, True),
    "redirect": _Kind("302 to another host; VALUE: its base URL", NO_AUTHORITY),
    "server_error": _Kind("an error of the server; VALUE: its HTTP status", 500, 500, 599, True),
    "timeout": _Kind("the good answer, but VALUE seconds late", 30.0),
    "trickle": _Kind("the good answer, 64 bytes every VALUE seconds", 0.5, 0.001, 3600.0),
    "truncated_bars": _Kind("the last part of the bars, VALUE of them, missing", 0.5, 0, 1, bars_only=True),
    "truncated_json": _Kind("a body that ends in its middle, with a Content-Length that fits"),
    "unordered_bars": _Kind("the first and the last bar exchanged", bars_only=True),
    "wrong_adjusted": _Kind("adjusted says the opposite of what was asked", bars_only=True),
    "wrong_count": _Kind("a resultsCount that is one too high"),
    "wrong_ticker": _Kind("the ticker of another symbol"),
}


@dataclass(frozen=True, slots=True)
class Misbehaviour:
    """A rule: which calls meet which misbehaviour.

    It applies to calls for `tickers` (empty: all) whose path begins with `path`, to a `share` of them, and only to the
    first `calls` of these. KINDS describes `value` for each name. Raises UnknownNameError and BadInputError.
    """

    name: str
    value: float | str | None = None
    tickers: frozenset[str] = frozenset()
    calls: int | None = None
    share: float = 1.0
    path: str = "/"

    def __post_init__(self) -> None:
        kind = KINDS.get(self.name)
        if kind is None:
            raise UnknownNameError("misbehaviour", self.name, KINDS)
        if not 0 <= self.share <= 1:
            raise BadInputError(f"misbehaviour {self.name}: share {self.share:g} is not from 0 to 1")
        if self.calls is not None and self.calls < 1:
            raise BadInputError(f"misbehaviour {self.name}: calls {self.calls} is below 1")
        object.__setattr__(self, "value", _check_value(self.name, kind, self.value))
        object.__setattr__(self, "tickers", frozenset(self.tickers))

    @property
    def number(self) -> float:
        """Return the value, which must be a number."""
        assert isinstance(self.value, int | float)
        return self.value

    def concerns(self, asked: ReceivedCall) -> bool:
        """Return whether the rule can apply to a call."""
        if KINDS[self.name].bars_only and not asked.has_bars:
            return False
        return asked.path.startswith(self.path) and (not self.tickers or asked.ticker in self.tickers)


def _check_value(name: str, kind: _Kind, value: float | str | None) -> float | str | None:
    if value is None:
        return kind.default
    if kind.default is None and kind.most == math.inf:
        raise BadInputError(f"misbehaviour {name} takes no value, not {value!r}")
    if isinstance(kind.default, str):
        if not str(value).startswith(("http://", "https://")):
            raise BadInputError(f"misbehaviour {name}: {value!r} is not an http:// or https:// URL")
        return str(value).rstrip("/")
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not kind.least <= number <= kind.most or math.isinf(number) or (kind.whole and number != int(number)):
        what = "a whole number" if kind.whole else "a number"
        limits = f"from {kind.least:g}" + ("" if kind.most == math.inf else f" to {kind.most:g}")
        raise BadInputError(f"misbehaviour {name}: {value!r} is not {what} {limits}")
    return number


def parse_misbehaviour(text: str) -> Misbehaviour:
    """Parse a rule written as `NAME[=VALUE][,ticker=T]…[,calls=N][,share=S][,path=P]`.

    Raises UnknownNameError for the name and BadInputError for the rest.
    """
    head, *words = text.split(",")
    name, equals, value = head.partition("=")
    rule = Misbehaviour(name, value if equals else None)
    for word in words:
        key, _, given = word.partition("=")
        try:
            if key == "ticker":
                rule = replace(rule, tickers=rule.tickers | {given})
            elif key == "calls":
                rule = replace(rule, calls=int(given))
            elif key == "share":
                rule = replace(rule, share=float(given))
            elif key == "path":
                rule = replace(rule, path=given)
            else:
                raise BadInputError(f"misbehaviour {text!r}: {word!r} is none of ticker=, calls=, share=, path=")
        except ValueError:
            what = "a whole number" if key == "calls" else "a number"
            raise BadInputError(f"misbehaviour {text!r}: {key} {given!r} is not {what}") from None
    return rule


@dataclass(slots=True)
class _Rule:
    misbehaviour: Misbehaviour
    left: float
    asked: Counter[str] = field(default_factory=Counter)


class MisbehaviourRules:
    """The rules in force, in order; the first that applies to a call is used. Thread-safe."""

    def __init__(self, seed: int, misbehaviours: Iterable[Misbehaviour] = ()) -> None:
        self._seed = seed
        self._lock = threading.Lock()
        self._rules: list[_Rule] = []
        for misbehaviour in misbehaviours:
            self.add(misbehaviour)

    def add(self, misbehaviour: Misbehaviour) -> None:
        """Add a rule after the others."""
        with self._lock:
            self._rules.append(_Rule(misbehaviour, misbehaviour.calls or math.inf))

    def clear(self) -> None:
        """Remove all rules."""
        with self._lock:
            self._rules.clear()

    def list(self) -> list[Misbehaviour]:
        """Return the rules in force, including those whose calls are used up."""
        with self._lock:
            return [rule.misbehaviour for rule in self._rules]

    def strike(self, asked: ReceivedCall) -> Misbehaviour | None:
        """Return the misbehaviour that a call meets, or None, and counts the call. `random_failures` draws another."""
        with self._lock:
            for rule in self._rules:
                if rule.left <= 0 or not rule.misbehaviour.concerns(asked):
                    continue
                rule.asked[asked.path] += 1
                found = self._draw(rule.misbehaviour, asked, rule.asked[asked.path])
                if found is not None:
                    rule.left -= 1
                    return found
        return None

    def _draw(self, rule: Misbehaviour, asked: ReceivedCall, time: int) -> Misbehaviour | None:
        text = f"{self._seed}/{rule.name}/{time}/{asked.path}"
        digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
        first, second = (int.from_bytes(part, "little") / 2**64 for part in (digest[:8], digest[8:]))
        if rule.name != "random_failures":
            return rule if first < rule.share else None
        if first >= rule.share * rule.number:
            return None
        return _FAILURES[int(second * len(_FAILURES))]


_FAILURES = (
    Misbehaviour("rate_limit"),
    Misbehaviour("server_error", 500),
    Misbehaviour("server_error", 502),
    Misbehaviour("truncated_json"),
    Misbehaviour("gateway_timeout"),
)


def misbehave(rule: Misbehaviour, asked: ReceivedCall, good: bytes) -> Answer | None:
    """What is sent in place of a good body, None where that has not what this misbehaviour would spoil."""
    rejection = _rejected(rule, asked)
    if rejection is not None:
        return rejection
    if rule.name == "timeout":
        return Answer(200, good, hold_seconds=rule.number)
    if rule.name == "trickle":
        return Answer(200, good, trickle_seconds=rule.number)
    if rule.name == "truncated_json":
        return Answer(200, good[: len(good) // 2])
    if rule.name == "cut_connection":
        return Answer(200, good[: len(good) // 2], declared_length=len(good))
    if rule.name == "huge_body":
        return Answer(200, good[:-1] + b',"padding":"' + b"x" * int(rule.number * 1_000_000) + b'"}')
    payload: dict[str, Any] = msgspec.json.decode(good)
    if not _spoil(rule, asked, payload):
        return None
    return Answer(200, msgspec.json.encode(payload))


def _rejected(rule: Misbehaviour, asked: ReceivedCall) -> Answer | None:
    match rule.name:
        case "rate_limit":
            wait = () if rule.value is None else (("Retry-After", f"{rule.number:.0f}"),)
            return too_many_requests(asked.request_id, wait)
        case "server_error":
            return Answer(int(rule.number), _error(asked, "the server failed"))
        case "gateway_timeout":
            return Answer(504, _error(asked, "the server took too long"), hold_seconds=rule.number)
        case "not_authorized":
            body = {
                "status": "NOT_AUTHORIZED",
                "request_id": asked.request_id,
                "message": "You are not entitled to this data. Please upgrade your plan.",
            }
            return Answer(403, msgspec.json.encode(body))
        case "not_json":
            return Answer(200, _HTML, "text/html; charset=utf-8")
        case "error_status":
            return Answer(200, _error(asked, "the data could not be read"))
        case "redirect":
            return Answer(302, b"", headers=(("Location", f"{rule.value}{asked.path}"),))
    return None


def too_many_requests(request_id: str, headers: tuple[tuple[str, str], ...]) -> Answer:
    """The answer 429."""
    body = {
        "status": "ERROR",
        "request_id": request_id,
        "error": "You have made more requests per minute than your plan allows. Please wait.",
    }
    return Answer(429, msgspec.json.encode(body), headers=headers)


def _error(asked: ReceivedCall, text: str) -> bytes:
    return msgspec.json.encode({"status": "ERROR", "request_id": asked.request_id, "error": text})


def _spoil(rule: Misbehaviour, asked: ReceivedCall, payload: dict[str, Any]) -> bool:
    """Change a decoded answer; False where there was nothing to change."""
    match rule.name:
        case "delayed":
            payload["status"] = "DELAYED"
        case "missing_results":
            payload.pop("results", None)
            payload["resultsCount"] = 5
        case "wrong_count":
            payload["resultsCount"] = len(payload.get("results", ())) + 1
        case "foreign_next_url":
            payload["next_url"] = f"{rule.value}{asked.path}"
        case "loop_next_url":
            payload["next_url"] = asked.url
        case "wrong_adjusted":
            payload["adjusted"] = not payload["adjusted"]
        case "wrong_ticker":
            return _rename(payload)
        case _:
            return _spoil_bars(rule, asked, payload)
    return True


def _rename(payload: dict[str, Any]) -> bool:
    if "ticker" in payload:
        payload["ticker"] = "ZZZZ"
        return True
    rows = payload.get("results", [])
    for row in rows[:1]:
        row["T" if "T" in row else "ticker"] = "ZZZZ"
    return bool(rows)


def _left_out(rule: Misbehaviour, asked: ReceivedCall, rows: list[Any]) -> list[Any]:
    """Return the bars of an answer that is good in itself, and has not all of them."""
    count = round(len(rows) * rule.number)
    if rule.name == "clipped_bars":
        return rows[count:]
    if rule.name == "truncated_bars":
        return rows[: len(rows) - count]
    gone = set(random.Random(asked.request_id).sample(range(len(rows)), count))  # noqa: S311  # not a secret
    return [row for place, row in enumerate(rows) if place not in gone]


def _spoil_bars(rule: Misbehaviour, asked: ReceivedCall, payload: dict[str, Any]) -> bool:
    rows, name = payload.get("results", []), rule.name
    if len(rows) < (2 if name == "unordered_bars" else 1):
        return False
    if name in ("clipped_bars", "truncated_bars", "missing_bars"):
        rows[:] = _left_out(rule, asked, rows)
        if name == "truncated_bars":
            payload.pop("next_url", None)
    else:
        _spoil_rows(rule, asked, rows)
    payload["resultsCount"] = len(rows)
    if "count" in payload:
        payload["count"] = len(rows)
    return True


def _spoil_rows(rule: Misbehaviour, asked: ReceivedCall, rows: list[dict[str, Any]]) -> None:
    first, middle, last = rows[0], rows[len(rows) // 2], rows[-1]
    match rule.name:
        case "duplicate_bars":
            rows.insert(0, dict(first))
        case "unordered_bars":
            rows[0], rows[-1] = last, first
        case "out_of_range_bars":
            first_ms = min(row["t"] for row in rows) if asked.first_ms is None else asked.first_ms
            rows.insert(0, {**first, "t": first_ms - _DAY_MS})
        case "dst_shift":
            for row in rows[len(rows) // 2 :]:
                row["t"] += _HOUR_MS
        case "absurd_price":
            middle |= {key: middle[key] * rule.number for key in "ohlc"}
    if rule.name in ("bad_bar", "high_below_low"):
        first["h"] = round(first["l"] - 0.01, 4)
    if rule.name in ("bad_bar", "null_open"):
        last["o"] = None
