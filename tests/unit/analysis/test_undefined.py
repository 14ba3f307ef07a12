"""Each indicator on prices and volumes that its formula cannot divide by: no value there, and true zeros stay."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamworkers.analysis.decay import mean_bars, wilder_bars
from streamworkers.analysis.definitions import IndicatorDefinition
from streamworkers.analysis.flat import FLAT, longest_calm
from streamworkers.analysis.indicators import compute, compute_last_bars
from streamworkers.analysis.own_indicators import OWN_INDICATORS
from streamworkers.analysis.ta_functions import REJECTED_FUNCTIONS, indicator_functions
from streamworkers.analysis.undefined import UNDEFINED
from streamworkers.market.bars.bars import Bars, FloatArray

SeriesMaker = Callable[..., Bars]
ROOT = Path(__file__).parents[3]
BARS, HALT, LONG_HALT = 400, 70, 2500
FUNCTIONS = sorted({*indicator_functions(), *OWN_INDICATORS} - set(REJECTED_FUNCTIONS) - {"ACOS", "ASIN"})

_VOLUME = {
    *("CMF", "CORREL", "MARKETFI", "MFI", "PVO", "RVOL", "VWAP", "VWMA"),
    *("anchored_vwap", "cmf", "relative_volume", "rolling_vwap"),
}
_HALT = {
    *("BOP", "CCI", "CMF", "CMOU", "CORREL", "ER", "HT_DCPERIOD", "HT_DCPHASE", "HT_SINE", "HT_TRENDMODE", "IMI"),
    *("KDJ", "MFI", "STOCH", "STOCHF", "STOCHRSI", "ULTOSC", "VHF", "VORTEX", "WILLR", "cmf"),
}
_DECAYED = {"ADX", "ADXR", "CMO", "CVI", "DX", "MASSI", "MINUS_DI", "PLUS_DI", "RSI", "RVI", "SMI", "TSI"}
NO_VALUE: Mapping[str, set[str]] = {
    "constant": _HALT | _DECAYED,
    "constant with residue": _HALT | _DECAYED,
    "halt": _HALT,
    "long halt": _HALT | _DECAYED,
    "no volume": _VOLUME,
    "limit-locked": {"BOP", "CMF", "CVI", "IMI", "MASSI", "cmf"},
    "up": {"STOCHRSI"},
    "down": {"STOCHRSI"},
}


def _join(first: Bars, second: Mapping[str, Any]) -> Bars:
    columns = {name: np.concatenate((getattr(first, name), values)) for name, values in second.items()}
    return Bars(np.datetime64("2010-01-01", "D") + np.arange(len(columns["close"])), **columns)


def _halted(walk: Bars, bars: int) -> Bars:
    """The walk, and then bars at its last close that still trade some volume."""
    volume = np.random.default_rng(5).integers(1, 9999, bars).astype(np.float64)
    return _join(
        walk, {name: np.full(bars, walk.close[-1]) for name in ("open", "high", "low", "close")} | {"volume": volume}
    )


def _line(step: float) -> Bars:
    close = np.array([200.0 + step * number for number in range(BARS)], np.float64)
    volume = np.random.default_rng(5).integers(1, 9999, BARS).astype(np.float64)
    times = np.datetime64("2022-03-01", "D") + np.arange(BARS)
    before, above, below = (np.array(close + shift, np.float64) for shift in (-step, 0.07, -0.07))
    return Bars(times, before, above, below, close, volume)


def _shape(name: str, random_series: SeriesMaker) -> Bars:
    walk = random_series(BARS)
    if name in ("constant", "constant with residue"):
        price: FloatArray = np.full(BARS, 100.1)
        if name == "constant with residue":
            np.multiply(price, np.random.default_rng(2).uniform(1 - 1e-15, 1 + 1e-15, BARS), out=price)
        return Bars(walk.times, price, price, price, price, walk.volume)
    if name in ("halt", "long halt"):
        return _halted(walk, HALT if name == "halt" else LONG_HALT)
    if name == "no volume":
        return Bars(walk.times, walk.open, walk.high, walk.low, walk.close, np.zeros(BARS))
    if name == "limit-locked":
        return Bars(walk.times, walk.close, walk.close, walk.close, walk.close, walk.volume)
    return _line(0.1 if name == "up" else -0.1)


def _outputs(function: str, series: Bars, **params: Any) -> list[float]:
    return [float(array[-1]) for array in compute(IndicatorDefinition("x", function, params), series).values()]


@pytest.mark.parametrize("shape", NO_VALUE)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_has_no_value_exactly_where_it_divides_by_zero(
    function: str, shape: str, random_series: SeriesMaker
) -> None:
    series = _shape(shape, random_series)
    has_value = all(np.isfinite(_outputs(function, series)))
    assert has_value == (function not in NO_VALUE[shape])


@pytest.mark.parametrize("function", sorted(UNDEFINED))
def test_a_function_with_a_rule_has_its_plain_values_on_ordinary_bars(
    function: str, random_series: SeriesMaker
) -> None:
    assert np.isfinite(_outputs(function, random_series(BARS))).all()


@pytest.mark.parametrize(
    ("function", "shape", "expected"),
    [
        ("RSI", "down", 0.0),
        ("RSI", "up", 100.0),
        ("CMO", "down", -100.0),
        ("MFI", "down", 0.0),
        ("MFI", "up", 100.0),
        ("DX", "up", 100.0),
        ("MINUS_DI", "up", 0.0),
        ("CMOU", "down", -100.0),
        ("IMI", "down", 0.0),
        ("RVI", "down", 0.0),
        ("ATR", "constant", 0.0),
        ("NATR", "constant", 0.0),
        ("ROC", "constant", 0.0),
        ("MOM", "constant", 0.0),
        ("returns", "constant", 0.0),
        ("STDDEV", "constant", 0.0),
        ("MARKETFI", "constant", 0.0),
    ],
)
def test_a_true_zero_and_the_ends_of_a_scale_stay(
    function: str, shape: str, expected: float, random_series: SeriesMaker
) -> None:
    assert _outputs(function, _shape(shape, random_series)) == [pytest.approx(expected, abs=1e-9)]


def test_the_ends_of_williams_r_and_the_stochastic_stay(random_series: SeriesMaker) -> None:
    walk = random_series(100)
    walk.high[-1] = walk.close[-1] = walk.high.max() + 1
    assert _outputs("WILLR", walk) == [0.0]
    assert _outputs("STOCHF", walk)[0] == 100.0
    walk.low[-1] = walk.close[-1] = walk.low.min() - 1
    assert _outputs("WILLR", walk) == [-100.0]
    assert _outputs("STOCHF", walk)[0] == 0.0


def test_the_rsi_of_a_halt_stays_until_its_means_have_decayed(random_series: SeriesMaker) -> None:
    series = _halted(random_series(BARS), LONG_HALT)
    (rsi,) = compute(IndicatorDefinition("x", "RSI", {"timeperiod": 14}), series).values()
    assert rsi[BARS + 50] == pytest.approx(rsi[BARS - 1])
    last = int(np.flatnonzero(np.isfinite(rsi))[-1])
    change = np.abs(np.diff(series.close[:BARS])).mean() / series.close[-1]
    assert last - BARS == pytest.approx(np.log(FLAT / change) / np.log(13 / 14), abs=30)


@pytest.mark.parametrize(("matype", "bars"), [(0, 3), (1, mean_bars(1, 3)), (13, wilder_bars(3))])
def test_a_mean_has_no_value_while_it_takes_in_a_bar_without_one(
    random_series: SeriesMaker, matype: int, bars: int
) -> None:
    walk, period = random_series(60), 5
    series = _join(
        _halted(walk, period), {name: getattr(walk, name) for name in ("open", "high", "low", "close", "volume")}
    )
    series = _join(series, {name: getattr(walk, name) for name in ("open", "high", "low", "close", "volume")})
    params = {"fastk_period": period, "slowk_period": 3, "slowk_matype": matype, "slowd_period": 1, "slowd_matype": 0}
    outputs = compute(IndicatorDefinition("x", "STOCH", params), series)
    flat = 60 + period - 1  # the one bar whose last five have no range
    expected = [index for index in range(60, 120) if flat <= index < flat + bars]
    assert np.flatnonzero(np.isnan(outputs["slowk"][60:120])).tolist() == [index - 60 for index in expected]


def test_a_value_without_a_bar_of_its_own_is_missing_not_zero(bars_of: SeriesMaker) -> None:
    names = {"rsi": "RSI", "stoch": "STOCH", "mfi": "MFI", "willr": "WILLR", "stochrsi": "STOCHRSI", "sma": "SMA"}
    definitions = [IndicatorDefinition(name, function) for name, function in names.items()]
    found = compute_last_bars(definitions, bars_of(close=[50.0] * 100))
    assert found.missing == ["rsi", "stoch", "mfi", "willr", "stochrsi"]
    assert set(found.values) == {"sma"}


@pytest.mark.parametrize("function", sorted(name for name, rule in UNDEFINED.items() if rule.windows))
def test_no_mask_is_skipped_that_has_a_bar(function: str) -> None:
    rule, params = UNDEFINED[function], IndicatorDefinition("x", function).all_params()
    least, skipped = rule.least_calm(params), 0
    assert least > 1
    for calm in range(least + 4):
        series = _line(0.1)
        for begin in range(60, BARS - least, least + 20):
            for prices in (series.open, series.high, series.low, series.close):
                prices[begin : begin + calm] = series.close[begin]
            series.volume[begin : begin + calm] = 0.0
        with np.errstate(all="ignore"):
            has_bars = rule.mask(series, params).any()
        skipped += longest_calm(series) < least
        assert not has_bars or longest_calm(series) >= least
    assert skipped >= least - 2


def test_the_longest_calm_is_found_at_either_end_and_between() -> None:
    for place, expected in (((1, 5), 5), ((40, 49), 9), ((BARS - 6, BARS), 6), ((0, BARS), BARS)):
        series = _line(0.1)
        series.volume[slice(*place)] = 0.0
        assert longest_calm(series) == expected
    series = _line(0.1)
    assert longest_calm(series) == 1  # the first bar, which has no change
    series.close[7] = 0.0
    assert longest_calm(series) == BARS


def test_the_documents_say_when_each_function_has_no_value() -> None:
    text = (ROOT / "docs" / "reference" / "indicators.md").read_text()
    section = text[text.index("## When there is no value") :]
    assert [name for name in UNDEFINED if f"`{name}`" not in section] == []
