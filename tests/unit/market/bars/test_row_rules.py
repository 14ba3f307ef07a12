"""Rows are judged alike by the vectorised pass and by the plain rules, and each rejection names value and rule."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamworkers.market.bars.bar_times import DAYS, MOMENTS
from streamworkers.market.bars.column_rules import validate_rows
from streamworkers.market.bars.rules import BrokenRuleError, Rule, validate_row
from streamworkers.symbols import SYMBOL_RULE

GOOD = ("AAPL", "2024-01-02", "10", "12", "9", "11", "100")
NAMES = ("symbol", "date", "open", "high", "low", "close", "volume")


def row(**changes: str) -> tuple[str, ...]:
    return tuple(changes.get(name, value) for name, value in zip(NAMES, GOOD, strict=True))


@pytest.mark.parametrize(
    ("changes", "rule", "detail"),
    [
        ({"symbol": ""}, Rule.BAD_SYMBOL, "the symbol is empty"),
        ({"symbol": "A B"}, Rule.BAD_SYMBOL, f"the symbol 'A B' is not {SYMBOL_RULE}"),
        ({"symbol": "A" * 33}, Rule.BAD_SYMBOL, f"the symbol '{'A' * 33}' has 33 characters, more than 32"),
        ({"date": "2024-02-30"}, Rule.BAD_TIME, "'2024-02-30' is not a date or time like YYYY-MM-DD (ISO 8601)"),
        ({"open": "ten"}, Rule.BAD_NUMBER, "open 'ten' is not a number"),
        ({"open": ""}, Rule.BAD_NUMBER, "open '' is not a number"),
        ({"open": "1_0"}, Rule.BAD_NUMBER, "open '1_0' is not a number"),
        (
            {"open": "0." + "1" * 300},
            Rule.BAD_NUMBER,
            f"open '0.{'1' * 35}…' has 302 characters, more than 200",
        ),
        ({"close": "NaN"}, Rule.NOT_FINITE, "close 'NaN' is not a finite number"),
        ({"high": "inf"}, Rule.NOT_FINITE, "high 'inf' is not a finite number"),
        ({"high": "1e999"}, Rule.NOT_FINITE, "high '1e999' is too large for a finite number"),
        ({"low": "-1"}, Rule.NEGATIVE, "low '-1' is negative"),
        ({"volume": "-1"}, Rule.NEGATIVE, "volume '-1' is negative"),
        ({"volume": "many"}, Rule.BAD_NUMBER, "volume 'many' is not a number"),
        (
            {"open": "null", "high": "", "low": "-", "close": "N/A"},
            Rule.NO_PRICES,
            "the row has no prices: open is 'null'",
        ),
        ({"open": "0", "high": "0", "low": "0", "close": "0"}, Rule.ZERO_PRICE, "every price is 0"),
        ({"open": "0", "low": "0"}, Rule.ZERO_PRICE, "open is 0"),
        (
            {"open": "10,5"},
            Rule.BAD_NUMBER,
            "open '10,5' is not a number; if the comma is the decimal mark, add --decimal ,",
        ),
        (
            {"volume": "9223372036854775808"},
            Rule.BAD_VOLUME,
            "volume '9223372036854775808' is larger than 9223372036854775807",
        ),
        ({"high": "10.5"}, Rule.HIGH_TOO_LOW, "high 10.5 is below close 11"),
        ({"open": "13"}, Rule.HIGH_TOO_LOW, "high 12 is below open 13"),
        ({"low": "10.5"}, Rule.LOW_TOO_HIGH, "low 10.5 is above open 10"),
        ({"close": "8"}, Rule.LOW_TOO_HIGH, "low 9 is above close 8"),
    ],
)
def test_a_rejection_names_the_value_and_the_rule(changes: dict[str, str], rule: Rule, detail: str) -> None:
    with pytest.raises(BrokenRuleError) as raised:
        validate_row(row(**changes), DAYS.parse)
    assert (raised.value.rule, str(raised.value)) == (rule, detail)


@pytest.mark.parametrize("symbol", ["NA", "NAN", "NULL", "TRUE", "null", "None", "BRK.B", "BACpA"])
def test_words_that_mean_missing_elsewhere_are_symbols(symbol: str) -> None:
    assert validate_row(row(symbol=symbol), DAYS.parse)[0] == symbol


@pytest.mark.parametrize(
    ("text", "volume"),
    [
        ("123.0", "123"),
        ("1.5", "2"),
        ("2.5", "2"),
        ("0.4", "0"),
        ("1,234", "1234"),
        ("1.30M", "1300000"),
        ("", r"\N"),
        ("-", r"\N"),
        (" 7 ", "7"),
        ("1e3", "1000"),
        ("-0", "0"),
        ("9223372036854775807", "9223372036854775807"),
    ],
)
def test_a_volume_becomes_whole_shares_in_any_spelling_or_unknown(text: str, volume: str) -> None:
    assert validate_row(row(volume=text), DAYS.parse)[6] == volume


NUMBERS = st.one_of(
    st.decimals(min_value=0, max_value=30, places=2).map(str),
    st.sampled_from(
        ["", " 5", "5\t", "-1", "+9", "nan", "inf", "1e1", "1e999", "1e-999", ".5", "5.", ".", "1_0", "٣", "1" * 201]
    ),
    st.text(max_size=4),
)
VOLUMES = st.one_of(NUMBERS, st.integers(-2, 2**64).map(str), st.just("12.0"))
SYMBOLS = st.one_of(st.sampled_from(["NA", "AAPL", "", "A B", "A\n", "A" * 33]), st.text(max_size=3))
STAMPS = st.sampled_from(["2024-01-02", "2024-01-02 10:00", "2024-13-01", "", "2024-01-02T00:00:00Z"])
ROWS = st.lists(st.tuples(SYMBOLS, STAMPS, NUMBERS, NUMBERS, NUMBERS, NUMBERS, VOLUMES), max_size=12)
PLAIN = st.lists(st.tuples(*map(st.just, GOOD[:2]), *[st.integers(8, 14).map(str)] * 5), max_size=12)


@settings(max_examples=400, deadline=None)
@given(rows=st.one_of(ROWS, PLAIN, st.tuples(PLAIN, ROWS).map(lambda pair: pair[0] + pair[1])), intraday=st.booleans())
def test_the_vectorised_pass_agrees_with_the_rules_on_every_row(rows: list[tuple[str, ...]], intraday: bool) -> None:
    columns = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(7)]
    texts = [",".join(fields) for fields in rows]
    times = MOMENTS if intraday else DAYS
    good, bad = [], []
    for line, fields in enumerate(rows, 2):
        try:
            good.append((line, *validate_row(fields, times.parse)))
        except BrokenRuleError as error:
            bad.append((line, error.rule, str(error)))
    chunk = validate_rows(range(2, len(rows) + 2), columns, texts, times)
    found = chunk.rows
    assert good == list(
        zip(
            found.lines,
            found.symbols,
            found.times,
            found.open,
            found.high,
            found.low,
            found.close,
            found.volume,
            strict=True,
        )
    )
    assert bad == [(reject.line, reject.rule, reject.detail) for reject in chunk.rejects]
