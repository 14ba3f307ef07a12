"""The text form reads into the same tree as JSON, prints back, and its errors point at the column."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rule_strategies import SmallVocabulary, rule_documents
from streamworkers.rules.build import build_rule, parse_rule
from streamworkers.rules.canonical import leaf_hash, rule_to_json
from streamworkers.rules.market_vocabulary import MarketVocabulary
from streamworkers.rules.printer import print_rule
from streamworkers.rules.problem import RuleError
from streamworkers.rules.text import parse_rule_text
from streamworkers.rules.tree import Condition, Group, leaves

SMALL, MARKET = SmallVocabulary(), MarketVocabulary()


@settings(max_examples=500)
@given(rule_documents())
def test_a_rule_prints_to_text_and_json_that_give_the_same_rule(document: dict[str, Any]) -> None:
    rule = build_rule(document, SMALL)
    assert parse_rule_text(print_rule(rule), SMALL) == rule
    assert build_rule(json.loads(json.dumps(rule_to_json(rule))), SMALL) == rule


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("price > 150", "price > 150"),
        ("close>=150", "price >= 150"),
        ("150 < price", "price > 150"),
        ("PRICE > 1_000", None),
        ("price = 5", "price == 5"),
        ("price <> 5 tolerance 0.01", "price != 5 tolerance 0.01"),
        ("rsi(14) < 30 and price crosses_above sma(50)", "rsi(14) < 30 and price crosses_above sma(50)"),
        ("RSI() < 30", "rsi(14) < 30"),
        ("price > 1.02 * sma(50)", "price > 1.02 * sma(50)"),
        ("price > 2 * 75", "price > 150"),
        ("price > -5 * -2", "price > 10"),
        ("price > (150)", "price > 150"),
        ("((price > 150))", "price > 150"),
        ("volume > 1.5M", "volume > 1500000"),
        ("volume > 20k", "volume > 20000"),
        ("(high - low) / atr(14) > 2", "(high - low) / atr(14) > 2"),
        ("high - (low - open) > 2", "high - (low - open) > 2"),
        ("high - low - open > 2", "high - low - open > 2"),
        ("high / (low / open) > 2", "high / (low / open) > 2"),
        ("-price < -2", "-1 * price < -2"),
        ("macd(12, 26, 9).macdsignal > 0", "macd(12, 26, 9).macdsignal > 0"),
        ("macd > 0", "macd(12, 26, 9).macd > 0"),
        ("bbands(nbdevup=3).upperband < high", "bbands(20, 3, 2, 0).upperband < high"),
        ("anchored_vwap(month) < price", "anchored_vwap(month) < price"),
        ("cmf > CMF", "cmf(20) > CMF(20)"),
        ("price crosses above 5", "price crosses_above 5"),
        ("price Moves Up Pct 3 in 5 bars", "price moves_up_pct 3 in 5 bars"),
        ("price moves_down 3", "price moves_down 3 in 1 bar"),
        ("price between 1 and 2 and rsi(14) outside 30 and 70", "price between 1 and 2 and rsi(14) outside 30 and 70"),
        ("price enters_channel 1 and 2 as x", "price enters_channel 1 and 2 as x"),
        ("at_least 2 of (price > 1, price > 2 or low > 3, high > 4)", None),
        ("not price > 1 or price > 2 and price > 3", "not price > 1 or price > 2 and price > 3"),
        ("not (price > 1 or price > 2)", "not (price > 1 or price > 2)"),
        ("(price > 1 or price > 2) and price > 3", "(price > 1 or price > 2) and price > 3"),
        ("(price > 1 and price > 2) and price > 3", "(price > 1 and price > 2) and price > 3"),
        ("pattern CDLENGULFING bullish confidence 0.7", "pattern cdlengulfing bullish confidence 0.7"),
        ("pattern golden_cross(20, 100)", "pattern golden_cross(20, 100)"),
        ("not not price > 1", "not not price > 1"),
    ],
)
def test_texts_and_what_they_print(text: str, printed: str | None) -> None:
    if printed is None and "_000" in text:
        with pytest.raises(RuleError, match="column 10"):
            parse_rule_text(text, MARKET)
        return
    rule = parse_rule_text(text, MARKET)
    assert print_rule(rule) == (printed or text)
    assert parse_rule_text(print_rule(rule), MARKET) == rule
    assert parse_rule(rule_to_json(rule), MARKET) == rule


def test_signs_of_mathematics_read_as_those_of_a_keyboard() -> None:
    signs = "\N{GREATER-THAN OR EQUAL TO} 2 \N{MULTIPLICATION SIGN} low \N{MINUS SIGN} open \N{DIVISION SIGN} 2"
    assert parse_rule_text(f"price {signs}", MARKET) == parse_rule_text("price >= 2 * low - open / 2", MARKET)


def test_a_chain_is_one_group_and_parentheses_make_another() -> None:
    flat = parse_rule_text("price > 1 and price > 2 and price > 3", MARKET)
    nested = parse_rule_text("(price > 1 and price > 2) and price > 3", MARKET)
    assert isinstance(flat, Group)
    assert isinstance(nested, Group)
    assert (len(flat.children), len(nested.children)) == (3, 2)


def test_the_hash_of_a_leaf_leaves_its_id_out_and_nothing_else() -> None:
    texts = ["price > 1", "price > 1 as x", "price > 2", "price >= 1", "high > 1", "sma(3) > 1", "sma(4) > 1"]
    hashes = [leaf_hash(next(leaves(parse_rule_text(text, MARKET)))) for text in texts]
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == len(texts) - 1


WRONG = [
    ("", 1, "the text is empty"),
    ("price", 6, "the text ends where an operator such as > or crosses_above is expected"),
    ("price >", 8, "expected a field or number, found the end"),
    ("price > 150 and", 16, "expected a field or number, found the end"),
    ("price > 150 or and", 16, "expected a field or number, found 'and'"),
    ("price > 150 150", 13, "expected 'and', 'or' or the end, found '150'"),
    ("price > 5 and low", 18, "the text ends where an operator such as > or crosses_above is expected"),
    ("price 150", 7, "expected an operator such as > or crosses_above, found '150'"),
    (
        "price cross_above 3",
        7,
        "expected an operator such as > or crosses_above, found 'cross_above'; did you mean 'crosses_above'?",
    ),
    ("price > 150x", 9, "'150x' is no number: it may end with k, m or b"),
    ("price > ?", 9, "'?' has no meaning here"),
    ("price > 1e999", 9, "inf is not a finite number"),
    ("rsx(14) < 3", 1, "no field is named 'rsx'; did you mean 'rsi'?"),
    ("price > 5 and rsx(14) < 3", 15, "no field is named 'rsx'; did you mean 'rsi'?"),
    ("price > sma(50", 15, "expected ',' or ')', found the end"),
    ("price > rsi(1)", 13, "timeperiod of RSI is 1, not in 2 to 100000"),
    ("price > sma(2.5)", 13, "timeperiod of SMA is 2.5, not a whole number"),
    ("price > sma(2, 3)", 13, "sma is given 2 parameters, but takes 1: timeperiod"),
    ("price > price(3)", 9, "price is a column of the bar: it has no parameters and no outputs"),
    ("price > bbands(20, nbdevup=2)", 20, "give parameters all by position or all by name"),
    ("price > bbands(nbdevup=2, nbdevup=3)", 27, "parameter 'nbdevup' is given twice"),
    ("price > sma(period=3)", 13, "no parameter of SMA is named 'period'; did you mean 'timeperiod'?"),
    ("macd(12, 26, 9).hist > 0", 17, "no output of macd is named 'hist'; did you mean 'macdhist'?"),
    ("2 > 1", 1, "the left side is a constant; begin with a field"),
    ("5 crosses_above price", 1, "the left side is a constant; begin with a field"),
    ("price / 0 > 1", 1, "division by 0"),
    ("price > 1e308 * 10", 9, "1e+308 mul 10 is not a finite number"),
    ("price > volume", 9, "price (price) and volume (volume) are measured in different units"),
    ("price + volume > 3", 9, "price (price) and volume (volume) are measured in different units"),
    ("price * volume > price", 18, "the expression (price * volume) and price (price) are measured in different units"),
    (
        "obv > 5",
        7,
        "obv is a sum or position that counts from the first bar read, so a constant means nothing beside it",
    ),
    ("ad between 5 and volume", 12, "ad is a sum or position that counts from the first bar read"),
    ("obv moves_up_pct 5", 5, "moves_up_pct of a sum that has no origin depends on where it began"),
    ("price between 3 and 2", 15, "the lower bound 3 is above the upper bound 2"),
    ("price moves_up 0", 16, "0 is not more than 0"),
    ("price moves_up low", 16, "expected a number, found 'low'"),
    ("price moves_up 3 in 0 bars", 21, "0 is less than 1"),
    ("price moves_up 3 in 2.5 bars", 21, "expected a whole number, found '2.5'"),
    ("price moves_up 3 in 2 days", 23, "expected 'bars' or 'bar', found 'days'"),
    ("price > 5 tolerance 0.1", 21, "belongs to == and !=, not to >"),
    ("price == 5 tolerance 2", 22, "2 is not less than 1"),
    ("at_least 3 of (price > 1, price > 2)", 10, "3 is more than the 2 conditions"),
    ("at_least 0 of (price > 1)", 10, "0 is less than 1"),
    ("at_least 1 of price > 1", 15, "expected '(', found 'price'"),
    ("pattern engulfin", 9, "no pattern is named 'engulfin'"),
    ("pattern cdldoji bullish", 17, "'bullish', but pattern cdldoji has no direction"),
    ("pattern cdlengulfing confidence 2", 33, "2 is more than 1"),
    ("price > golden_cross", 9, "'golden_cross' is a pattern: write pattern golden_cross"),
    ("BETA(5) > 1", 1, "BETA cannot be a field: it compares two symbols"),
    ("anchored_vwap(start) > 1", 15, "anchor 'start' of anchored_vwap depends on the first bar read"),
    ("(price > 1) > 2", 13, "expected 'and', 'or' or the end, found '>'"),
    ("price > (low > 2)", 9, "expected a value, found a condition"),
    ("price + (low > 2) > 1", 9, "expected a value, found a condition"),
    ("(price > 1 and low > 2) as x", 28, "'as' gives one comparison or pattern a name of letters, digits and '_'"),
    ("not price > 1 as 5", 18, "'as' gives one comparison or pattern a name of letters, digits and '_'"),
    ("price > 1 as x and low > 1 as x", 1, "the id 'x' belongs to several conditions"),
    ("(" * 30 + "price > 1", 26, "nested deeper than 24 levels"),
    ("not " * 30 + "price > 1", 101, "nested deeper than 24 levels"),
    ("price > " + "-" * 30 + "low", 34, "nested deeper than 24 levels"),
    ("price > " + "1 + " * 300 + "low", 9, "9 levels of conditions and values are more than 8"),
    ("price > 1" + " and price > 1" * 100, 1, "102 nodes are more than 100"),
    ("price > " + "1 + " * 3000 + "low", 8007, "more than 4000 words, numbers and signs"),
    ("price > `a b`", 9, "no field is named 'a b'"),
    ('price > "x"', 9, "expected a field or number, found 'x'"),
]


@pytest.mark.parametrize(("text", "column", "problem"), WRONG, ids=[text[:40] for text, _, _ in WRONG])
def test_an_error_names_value_and_rule_and_points_at_the_column(text: str, column: int, problem: str) -> None:
    with pytest.raises(RuleError) as raised:
        parse_rule_text(text, MARKET)
    assert (raised.value.column, raised.value.problem[: len(problem)]) == (column, problem)
    message, line, caret = str(raised.value).split("\n")
    assert message.startswith(f"column {column}: ")
    if column <= len(text):
        assert line[caret.index("^")] == text[column - 1]


def test_fifty_one_fields_are_one_too_many() -> None:
    most = " and ".join(f"sma({bars}) > 1" for bars in range(2, 52))
    assert len(list(leaves(parse_rule_text(most, MARKET)))) == 50
    with pytest.raises(RuleError, match="51 fields are more than 50"):
        parse_rule_text(f"{most} and sma(99) > 1", MARKET)


WORDS = ["price", "low", "sma", "(", ")", "50", ",", ">", "crosses_above", "and", "or", "not", "as", "x", "-", "*", ".",
         "at_least", "of", "2", "pattern", "in", "bars", "between", "moves_up", "`", '"', "é", "1e5", "%"]  # fmt: skip


@settings(max_examples=500)
@given(st.lists(st.sampled_from(WORDS), max_size=30).map(" ".join) | st.text(max_size=60))
def test_any_text_is_a_rule_or_a_rule_error(text: str) -> None:
    try:
        rule: Condition = parse_rule_text(text, MARKET)
    except RuleError:
        return
    assert parse_rule_text(print_rule(rule), MARKET) == rule
