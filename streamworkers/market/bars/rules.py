"""The rules that a row of bars must fulfil, one row at a time.

These functions decide. `column_rules` gives the same result for whole columns, faster.
"""

import re
from collections.abc import Callable
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from enum import StrEnum
from functools import lru_cache
from math import isfinite

from streamworkers.errors import BadInputError
from streamworkers.market.bars.numbers import MISSING_WORDS, POINT, UNKNOWN, NumberStyle
from streamworkers.symbols import find_symbol_error

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
    BAD_YEAR = "bad_year"
    OFF_SESSION = "off_session"
    AMBIGUOUS_WEEK = "ambiguous_week"
    NO_PRICES = "no_prices"
    BAD_NUMBER = "bad_number"
    NOT_FINITE = "not_finite"
    NEGATIVE = "negative"
    BAD_VOLUME = "bad_volume"
    HIGH_TOO_LOW = "high_too_low"
    LOW_TOO_HIGH = "low_too_high"
    PRICE_SPIKE = "price_spike"
    PRICE_JUMP = "price_jump"
    OTHER_SERIES = "other_series"
    DUPLICATE = "duplicate"
    OUT_OF_RANGE = "out_of_range"
    OUT_OF_ORDER = "out_of_order"
    ZERO_PRICE = "zero_price"
    BAD_NAME = "bad_name"
    BAD_TYPE = "bad_type"
    BAD_WEIGHT = "bad_weight"


class BrokenRuleError(BadInputError):
    """A row breaks a rule; the message names the value and the rule."""

    def __init__(self, rule: Rule, detail: str) -> None:
        super().__init__(detail)
        self.rule = rule


def quote_short(text: str) -> str:
    """Return a text of a file, quoted and cut off, for a message."""
    return repr(text if len(text) <= 40 else text[:37] + "…")


def require_symbol(text: str) -> str:
    """Return the symbol unchanged; raises BrokenRuleError if it breaks the rule of `streamworkers.symbols`."""
    if (problem := find_symbol_error(text)) is not None:
        raise BrokenRuleError(Rule.BAD_SYMBOL, problem)
    return text


def is_number(text: str) -> bool:
    """True if the text is a number as programs write it."""
    return _NUMBER.fullmatch(text) is not None


def _number_text(name: str, text: str, style: NumberStyle) -> str:
    """Return the digits of a finite number that is not negative, without the blanks around it."""
    stripped = text.strip()
    if _NOT_FINITE.fullmatch(stripped):
        raise BrokenRuleError(Rule.NOT_FINITE, f"{name} {quote_short(text)} is not a finite number")
    if len(stripped) > NUMBER_MAX_LENGTH:
        raise BrokenRuleError(
            Rule.BAD_NUMBER,
            f"{name} {quote_short(text)} has {len(stripped)} characters, more than {NUMBER_MAX_LENGTH}",
        )
    number = stripped if style.is_plain and is_number(stripped) else style.read(stripped)
    if number is None:
        raise BrokenRuleError(Rule.BAD_NUMBER, f"{name} {quote_short(text)} is not a number{style.hint(stripped)}")
    if not isfinite(float(number)):
        raise BrokenRuleError(Rule.NOT_FINITE, f"{name} {quote_short(text)} is too large for a finite number")
    if float(number) < 0:
        raise BrokenRuleError(Rule.NEGATIVE, f"{name} {quote_short(text)} is negative")
    return number


def parse_price(name: str, text: str, style: NumberStyle = POINT) -> str:
    """Return the digits of a price. Raises BrokenRuleError if they are not a finite number >= 0."""
    return _number_text(name, text, style)


def parse_volume(text: str, style: NumberStyle = POINT) -> str:
    """Return a volume as the digits of an integer, or `UNKNOWN` for an empty field or a word such as `-` or `N/A`.

    A fraction is rounded, half to even, because tables hold whole shares. Raises BrokenRuleError if it is not a number,
    negative, or larger than a bigint.
    """
    if text.strip().lower() in MISSING_WORDS:
        return UNKNOWN
    number = _number_text("volume", text, style)
    try:
        value = Decimal(number)
        if value > BIGINT_MAX:
            raise BrokenRuleError(Rule.BAD_VOLUME, f"volume {quote_short(text)} is larger than {BIGINT_MAX}")
        return str(int(value.to_integral_value(ROUND_HALF_EVEN)))
    except (InvalidOperation, ValueError):
        raise BrokenRuleError(Rule.BAD_NUMBER, f"volume {quote_short(text)} is not a number") from None


def validate_row(
    fields: tuple[str, ...], parse_time: Callable[[str], str], style: NumberStyle = POINT
) -> tuple[str, ...]:
    """Return (symbol, time, open, high, low, close, volume) in the form of `BarRows`.

    `fields` holds the same seven as the file has them. Raises BrokenRuleError for the first rule that the row breaks,
    in the order of this function. Prices are compared as float8, the type in which analysis reads them.
    """
    symbol = require_symbol(fields[0])
    time = parse_time(fields[1])
    if all(text.strip().lower() in MISSING_WORDS for text in fields[2:6]):
        raise BrokenRuleError(Rule.NO_PRICES, f"the row has no prices: open is {quote_short(fields[2])}")
    names = ("open", "high", "low", "close")
    prices = [parse_price(name, text, style) for name, text in zip(names, fields[2:6], strict=True)]
    volume = parse_volume(fields[6], style)
    opened, high, low, closed = map(float, prices)
    if high < max(opened, closed):
        name, over = ("open", prices[0]) if opened >= closed else ("close", prices[3])
        raise BrokenRuleError(Rule.HIGH_TOO_LOW, f"high {prices[1]} is below {name} {over}")
    if low > min(opened, closed):
        name, under = ("open", prices[0]) if opened <= closed else ("close", prices[3])
        raise BrokenRuleError(Rule.LOW_TOO_HIGH, f"low {prices[2]} is above {name} {under}")
    if low == 0:
        zero = next(name for name, price in zip(names, prices, strict=True) if float(price) == 0)
        raise BrokenRuleError(Rule.ZERO_PRICE, f"{'every price' if high == 0 else zero} is 0")
    return (symbol, time, *prices, volume)


@lru_cache(_CACHED_VALUES)
def is_symbol(text: str) -> bool:
    """True if `require_symbol` accepts it. Cached, because a file repeats its symbols."""
    try:
        require_symbol(text)
    except BrokenRuleError:
        return False
    return True
