"""The ways in which the fake API misbehaves, and which calls meet one of them."""

import math
from dataclasses import dataclass, replace

from streamworkers.errors import BadInputError, UnknownNameError

NO_AUTHORITY = "http://other-host.invalid"


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
