"""The rules that a row of bars must fulfil, one row at a time.

These functions decide. `column_rules` gives the same result for whole columns, faster.
"""

import re
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from functools import lru_cache
from math import isfinite

from streamworkers.errors import BadInputError
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE

SYMBOL_MAX_LENGTH = 32
NUMBER_MAX_LENGTH = 200
BIGINT_MAX = 2**63 - 1
_CACHED_VALUES = 1 << 16
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_NOT_FINITE = re.compile(r"[+-]?(?:nan|inf|infinity)", re.IGNORECASE)


class Rule(StrEnum):
    """Stable codes of the rules that a row can break."""

    FIELD_COUNT = "field_count"
    BAD_QUOTES = "bad_quotes"
    BAD_SYMBOL = "bad_symbol"
    BAD_TIME = "bad_time"
    BAD_NUMBER = "bad_number"
    NOT_FINITE = "not_finite"
    NEGATIVE = "negative"
    BAD_VOLUME = "bad_volume"
    HIGH_TOO_LOW = "high_too_low"
    LOW_TOO_HIGH = "low_too_high"
    DUPLICATE = "duplicate"
    OUT_OF_RANGE = "out_of_range"
    OUT_OF_ORDER = "out_of_order"
    ZERO_PRICE = "zero_price"
    ABSURD_PRICE = "absurd_price"
    BAD_NAME = "bad_name"
    BAD_TYPE = "bad_type"
    BAD_WEIGHT = "bad_weight"


class BrokenRuleError(BadInputError):
    """A row breaks a rule; the message names the value and the rule."""

    def __init__(self, rule: Rule, detail: str) -> None:
        super().__init__(detail)
        self.rule = rule


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "…")


def require_symbol(text: str) -> str:
    """Return the symbol unchanged: `NA`, `NULL` and `TRUE` are symbols like any other.

    Raises BrokenRuleError if it is empty, is longer than 32 characters, or holds blanks or control characters.
    """
    if not text:
        raise BrokenRuleError(Rule.BAD_SYMBOL, "the symbol is empty")
    if len(text) > SYMBOL_MAX_LENGTH:
        raise BrokenRuleError(
            Rule.BAD_SYMBOL,
            f"the symbol {_shown(text)} has {len(text)} characters, more than {SYMBOL_MAX_LENGTH}",
        )
    if not text.isprintable() or any(character.isspace() for character in text):
        raise BrokenRuleError(Rule.BAD_SYMBOL, f"the symbol {_shown(text)} holds blanks or control characters")
    return text


def parse_bar_time(text: str, *, intraday: bool) -> str:
    """Return the start of a bar in the form of `BarRows.times`.

    Day, week and month take a date or a timestamp. A timestamp with a zone gives its date in New York, except that
    midnight in any zone stands for its own date. Intraday takes a timestamp; without a zone it is New York time, and
    the first pass of the hour that is repeated in autumn. Raises BrokenRuleError for anything else.
    """
    stripped = text.strip()
    bare = _parsed_date(stripped)
    if bare is not None:
        if intraday:
            raise BrokenRuleError(Rule.BAD_TIME, f"{_shown(text)} is a date; an intraday bar needs a time of day")
        return bare.isoformat()
    try:
        moment = datetime.fromisoformat(stripped)
        if not intraday:
            midnight = moment.timetz().replace(tzinfo=None) == time()
            return (
                (moment if moment.tzinfo is None or midnight else moment.astimezone(EXCHANGE_ZONE)).date().isoformat()
            )
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=EXCHANGE_ZONE)
        return moment.astimezone(UTC).isoformat()
    except (ValueError, OverflowError):
        wanted = "YYYY-MM-DD HH:MM:SS" if intraday else "YYYY-MM-DD"
        raise BrokenRuleError(Rule.BAD_TIME, f"{_shown(text)} is not a date or time like {wanted} (ISO 8601)") from None


def _parsed_date(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _number_text(name: str, text: str) -> str:
    """Return the digits of a finite number that is not negative, without the blanks around it."""
    stripped = text.strip()
    if _NOT_FINITE.fullmatch(stripped):
        raise BrokenRuleError(Rule.NOT_FINITE, f"{name} {_shown(text)} is not a finite number")
    if len(stripped) > NUMBER_MAX_LENGTH:
        raise BrokenRuleError(
            Rule.BAD_NUMBER,
            f"{name} {_shown(text)} has {len(stripped)} characters, more than {NUMBER_MAX_LENGTH}",
        )
    if not _NUMBER.fullmatch(stripped):
        raise BrokenRuleError(Rule.BAD_NUMBER, f"{name} {_shown(text)} is not a number")
    if not isfinite(float(stripped)):
        raise BrokenRuleError(Rule.NOT_FINITE, f"{name} {_shown(text)} is too large for a finite number")
    if float(stripped) < 0:
        raise BrokenRuleError(Rule.NEGATIVE, f"{name} {_shown(text)} is negative")
    return stripped


def parse_price(name: str, text: str) -> str:
    """Return the digits of a price. Raises BrokenRuleError if they are not a finite number >= 0."""
    return _number_text(name, text)


def parse_volume(text: str) -> str:
    """Return a volume as the digits of an integer (`123.0` becomes 123).

    Raises BrokenRuleError if it is not a number, negative, not whole, or larger than a bigint.
    """
    stripped = _number_text("volume", text)
    try:
        value = Decimal(stripped)
        if value > BIGINT_MAX:
            raise BrokenRuleError(Rule.BAD_VOLUME, f"volume {_shown(text)} is larger than {BIGINT_MAX}")
        whole = int(value)
    except (InvalidOperation, ValueError):
        raise BrokenRuleError(Rule.BAD_NUMBER, f"volume {_shown(text)} is not a number") from None
    if whole != value:
        raise BrokenRuleError(Rule.BAD_VOLUME, f"volume {_shown(text)} is not a whole number")
    return str(whole)


def validate_row(fields: tuple[str, ...], *, intraday: bool) -> tuple[str, ...]:
    """Return (symbol, time, open, high, low, close, volume) in the form of `BarRows`.

    `fields` holds the same seven as the file has them. Raises BrokenRuleError for the first rule that the row breaks,
    in the order of this function. Prices are compared as float8, the type in which analysis reads them.
    """
    symbol = require_symbol(fields[0])
    time = parse_bar_time(fields[1], intraday=intraday)
    names = ("open", "high", "low", "close")
    prices = [parse_price(name, text) for name, text in zip(names, fields[2:6], strict=True)]
    volume = parse_volume(fields[6])
    opened, high, low, closed = map(float, prices)
    if high < max(opened, closed):
        name, over = ("open", prices[0]) if opened >= closed else ("close", prices[3])
        raise BrokenRuleError(Rule.HIGH_TOO_LOW, f"high {prices[1]} is below {name} {over}")
    if low > min(opened, closed):
        name, under = ("open", prices[0]) if opened <= closed else ("close", prices[3])
        raise BrokenRuleError(Rule.LOW_TOO_HIGH, f"low {prices[2]} is above {name} {under}")
    return (symbol, time, *prices, volume)


@lru_cache(_CACHED_VALUES)
def is_symbol(text: str) -> bool:
    """True if `require_symbol` accepts it. Cached, because a file repeats its symbols."""
    try:
        require_symbol(text)
    except BrokenRuleError:
        return False
    return True


@lru_cache(_CACHED_VALUES)
def parse_known_time(text: str, intraday: bool) -> str | None:
    """Return what `parse_bar_time` returns, or None if it raises. Cached, because a file repeats its times."""
    try:
        return parse_bar_time(text, intraday=intraday)
    except BrokenRuleError:
        return None
