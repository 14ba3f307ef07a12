"""What the vocabulary says of fields is what their functions do: dimension, origin, look-back, outputs."""

from collections.abc import Iterator

import numpy as np
import pytest

from streamworkers.analysis.candles import CANDLE_TRAITS
from streamworkers.analysis.chart_patterns import CHART_PATTERNS
from streamworkers.analysis.definitions import IndicatorDefinition, PatternDefinition
from streamworkers.analysis.own_indicators import OWN_INDICATORS
from streamworkers.analysis.ta_functions import REJECTED_FUNCTIONS, indicator_functions, ta_function
from streamworkers.errors import UnknownNameError
from streamworkers.market.bars.bars import Bars
from streamworkers.rules.bar_columns import compute_columns
from streamworkers.rules.build import parse_rule
from streamworkers.rules.dimensions import PRICE, RATIO, VOLUME, Dimension
from streamworkers.rules.evaluate import FloatColumn, compile_rule
from streamworkers.rules.market_vocabulary import MarketVocabulary, function_of
from streamworkers.rules.text import parse_rule_text
from streamworkers.rules.tree import (
    Field,
    PatternMatch,
    is_adjustable,
    leaves,
    lookback,
    lookback_days,
    needed_fields,
    needed_patterns,
)
from streamworkers.rules.truth import TRUE, UNKNOWN

MARKET = MarketVocabulary()
LENGTH = 1200
CLOSE_ENOUGH = 1e-4


def _bars(price: float = 1.0, volume: float = 1.0, start: int = 0, end: int = LENGTH) -> Bars:
    rng = np.random.default_rng(3)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, LENGTH)))
    opened = close * np.exp(rng.normal(0, 0.003, LENGTH))
    high = np.maximum(opened, close) * (1 + abs(rng.normal(0, 0.003, LENGTH)))
    low = np.minimum(opened, close) * (1 - abs(rng.normal(0, 0.003, LENGTH)))
    traded = np.floor(rng.uniform(1e5, 2e5, LENGTH)) * 4
    times = np.datetime64("2020-01-01", "D") + np.arange(LENGTH)
    part = slice(start, end)
    opened, high, low, close = (column[part] * price for column in (opened, high, low, close))
    return Bars(times[part], opened, high, low, close, traded[part] * volume)


def _fields() -> Iterator[Field]:
    for name in ("open", "high", "low", "close", "volume"):
        yield MARKET.find_field(name, None, None)
    for function in (*indicator_functions(), *OWN_INDICATORS):
        if function not in REJECTED_FUNCTIONS:
            own = OWN_INDICATORS.get(function)
            for output in ta_function(function).outputs if own is None else own.outputs:
                yield MARKET.find_field(function, None, output)


FIELDS = list(_fields())
NAMES = [f"{field.name}.{field.output or ''}" for field in FIELDS]


def _column(field: Field, bars: Bars) -> FloatColumn:
    return compute_columns(bars, [field]).fields[field]


@pytest.fixture(scope="module")
def columns() -> dict[str, dict[Field, FloatColumn]]:
    """Every field over the series, over one with doubled prices, with doubled volumes, and without its first third."""
    series = {"plain": _bars(), "price": _bars(price=2), "volume": _bars(volume=2), "late": _bars(start=400)}
    return {name: dict(compute_columns(bars, FIELDS).fields) for name, bars in series.items()}


@pytest.mark.parametrize("field", FIELDS, ids=NAMES)
def test_the_dimension_says_how_a_field_scales(field: Field, columns: dict[str, dict[Field, FloatColumn]]) -> None:
    plain = columns["plain"][field]
    scales = []
    dimension = field.dimension or RATIO
    for series, power in (("price", dimension.price), ("volume", dimension.volume)):
        expected = plain * 2.0**power
        scales.append(np.allclose(columns[series][field], expected, rtol=CLOSE_ENOUGH, atol=1e-9, equal_nan=True))
    if field.dimension is not None:
        assert scales == [True, True]
    elif field.name not in ("acos", "asin", "sqrt", "tanh", "sarext"):  # without values, or with a power of a half
        assert scales == [False, True]


@pytest.mark.parametrize("field", FIELDS, ids=NAMES)
def test_a_field_has_an_origin_if_it_does_not_depend_on_the_first_bar(
    field: Field, columns: dict[str, dict[Field, FloatColumn]]
) -> None:
    plain, late = columns["plain"][field][-50:], columns["late"][field][-50:]
    scale = 1e-6 * max(1.0, float(np.nanmax(np.abs(plain), initial=0.0)))
    assert np.allclose(plain, late, rtol=1e-3, atol=scale, equal_nan=True) == field.has_origin


@pytest.mark.parametrize("field", FIELDS, ids=NAMES)
def test_the_look_back_is_the_number_of_bars_before_the_first_value(
    field: Field, columns: dict[str, dict[Field, FloatColumn]]
) -> None:
    known = np.flatnonzero(np.isfinite(columns["plain"][field]))
    if field.name in ("acos", "asin"):
        assert not known.size
    elif field.days:
        assert field.lookback < int(known[0]) <= field.days
    else:
        assert int(known[0]) == field.lookback


@pytest.mark.parametrize("anchor", ["year", "quarter", "month"])
def test_an_anchored_field_has_a_value_at_every_bar_after_its_days(anchor: str) -> None:
    field = MARKET.find_field("anchored_vwap", [anchor], None)
    for start in range(0, 800, 37):
        column = _column(field, _bars(start=start, end=start + field.days + 1))
        assert np.isfinite(column[-1])


def test_every_function_with_a_dimension_exists() -> None:
    assert sum(field.dimension is None for field in FIELDS) == 17
    kinds = {str(field.dimension) for field in FIELDS}
    assert kinds == {"None", "price", "volume", "ratio", "price * volume", "price * volume^-1", "price^2"}


@pytest.mark.parametrize("name", [*CANDLE_TRAITS, *CHART_PATTERNS])
def test_a_pattern_is_unknown_for_as_many_bars_as_its_look_back(name: str) -> None:
    pattern, least = MARKET.find_pattern(name, None)
    assert function_of(pattern.name) == name
    signal = compute_columns(_bars(), (), [pattern]).patterns[pattern].signal
    assert int(np.flatnonzero(np.isfinite(signal))[0]) == pattern.lookback
    assert least == 0
    short = compute_columns(_bars(end=pattern.lookback), (), [pattern]).patterns[pattern].signal
    assert not np.isfinite(short).any()


def test_a_pattern_matches_where_its_function_signals_with_direction_and_confidence() -> None:
    bars = _bars()
    text = "pattern cdlengulfing"
    rules = [f"{text} bullish", f"{text} bearish", f"{text} confidence 0.6", f"{text} confidence 1"]
    compiled = [compile_rule(parse_rule_text(rule, MARKET)) for rule in rules]
    (pattern,) = needed_patterns(compiled[0].rule)
    columns = compute_columns(bars, (), [pattern])
    up, down, sure, surest = (each.evaluate(columns).value for each in compiled)
    found = columns.patterns[pattern]
    assert ((up == TRUE) == (found.signal > 0)).all()
    assert ((down == TRUE) == (found.signal < 0)).all()
    assert ((sure == TRUE) == ((found.signal != 0) & (found.confidence >= 0.6)))[pattern.lookback :].all()
    assert 0 < (sure == TRUE).sum() < ((up == TRUE) | (down == TRUE)).sum()
    assert (surest == TRUE).sum() == 0
    assert (up[: pattern.lookback] == UNKNOWN).all()


def test_a_pattern_is_looked_for_at_the_last_bars_only_if_only_they_are_asked_for() -> None:
    bars, pattern = _bars(), needed_patterns(parse_rule_text("pattern cdlengulfing", MARKET))[0]
    whole = compute_columns(bars, (), [pattern]).patterns[pattern]
    for last in (1, 50, len(bars), len(bars) + 1):
        found = compute_columns(bars, (), [pattern], last).patterns[pattern]
        assert np.isnan(found.signal[:-last]).all()
        assert found.signal[-last:].tolist() == pytest.approx(whole.signal[-last:].tolist(), nan_ok=True)
        assert found.confidence[-last:].tolist() == whole.confidence[-last:].tolist()


def test_names_of_definitions_stand_for_their_function_and_parameters() -> None:
    fast = IndicatorDefinition("fast", "RSI", {"timeperiod": 3})
    hidden = IndicatorDefinition("rsi", "RSI", {"timeperiod": 7})
    sure = PatternDefinition("sure", "CDLENGULFING", {}, 0.8)
    vocabulary = MarketVocabulary([fast, hidden], [sure])

    def same(text: str, other: str) -> bool:
        return parse_rule_text(text, vocabulary) == parse_rule_text(other, MARKET)

    assert same("fast < 30", "rsi(3) < 30")
    assert same("rsi < 30", "rsi(7) < 30")
    assert same("rsi() < 30", "rsi(14) < 30")
    assert same("pattern sure", "pattern cdlengulfing confidence 0.8")
    assert same("pattern sure confidence 0.5", "pattern cdlengulfing confidence 0.5")
    assert parse_rule({"indicator": "fast", "operator": "<", "value": 30}, vocabulary) == parse_rule_text(
        "rsi(3) < 30", MARKET
    )
    with pytest.raises(UnknownNameError, match=r"no field is named 'fest'; did you mean 'fast'\?"):
        vocabulary.find_field("fest", None, None)


def test_what_a_rule_needs_is_known_without_bars() -> None:
    rule = parse_rule_text(
        "close > sma(50) and price crosses_above sma(20) and sma(20) moves_up 1 in 40 bars"
        " and pattern golden_cross and anchored_vwap(quarter) < price",
        MARKET,
    )
    assert [field.name for field in needed_fields(rule)] == ["price", "sma", "sma", "anchored_vwap"]
    assert [leaf.pattern.name for leaf in leaves(rule) if isinstance(leaf, PatternMatch)] == ["golden_cross"]
    assert (lookback(rule), lookback_days(rule)) == (200, 106)
    assert lookback(parse_rule_text("price crosses_above sma(20)", MARKET)) == 20
    assert lookback(parse_rule_text("sma(20) moves_up 1 in 40 bars", MARKET)) == 59


@pytest.mark.parametrize(
    ("text", "adjustable"),
    [("price > 5", True), ("ln > 5", False), ("ln > ln + 1", False), ("ln > price", False), ("ln * 2 > low", False)],
)
def test_a_rule_is_adjustable_if_a_split_scales_its_constants(text: str, adjustable: bool) -> None:
    assert is_adjustable(parse_rule_text(text, MARKET)) is adjustable


def test_dimensions_multiply_and_say_what_they_are() -> None:
    assert str(PRICE.times(VOLUME).over(PRICE.times(PRICE))) == "price^-1 * volume"
    assert (str(RATIO), PRICE.over(PRICE)) == ("ratio", RATIO)
    assert [Dimension(1, 0).scale(0.5), Dimension(0, 1).scale(0.5), Dimension(1, 1).scale(0.5)] == [0.5, 2.0, 1.0]
