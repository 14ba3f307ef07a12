"""Indicator values equal TA-Lib's on the same arrays, and plain formulas written out here."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import talib
import talib.abstract
from numpy.typing import NDArray

from streamworkers.analysis.definitions import IndicatorDefinition
from streamworkers.analysis.indicators import BarValue, compute, compute_last_bars
from streamworkers.analysis.ta_functions import REJECTED_FUNCTIONS, indicator_functions
from streamworkers.errors import BadInputError
from streamworkers.market.bars.bars import Bars

SeriesMaker = Callable[..., Bars]


def _main(series: Bars, function: str, **params: Any) -> NDArray[np.float64]:
    return next(iter(compute(IndicatorDefinition("x", function, params), series).values()))


def _simple_mean(values: list[float], period: int) -> list[float]:
    return [math.nan] * (period - 1) + [
        math.fsum(values[end - period : end]) / period for end in range(period, len(values) + 1)
    ]


def _exponential_mean(values: list[float], period: int, skip: int = 0) -> list[float]:
    """Seeded with the simple mean of the first `period` values after `skip`."""
    start = skip + period
    mean = math.fsum(values[skip:start]) / period
    result = [math.nan] * (start - 1) + [mean]
    for value in values[start:]:
        mean += (value - mean) * 2.0 / (period + 1)
        result.append(mean)
    return result


def _wilder(values: list[float], period: int) -> list[float]:
    """Wilder's smoothing of values[1:], seeded with their simple mean; values[0] has no bar before it."""
    mean = math.fsum(values[1 : period + 1]) / period
    result = [math.nan] * period + [mean]
    for value in values[period + 1 :]:
        mean = (mean * (period - 1) + value) / period
        result.append(mean)
    return result


def _agree(found: NDArray[np.float64], expected: list[float]) -> None:
    assert np.isfinite(expected).sum() > 100
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_sma_is_the_mean_of_the_last_closes(random_series: SeriesMaker) -> None:
    series = random_series(400)
    _agree(_main(series, "SMA", timeperiod=20), _simple_mean(series.close.tolist(), 20))


def test_ema_starts_as_the_simple_mean_of_its_first_window(random_series: SeriesMaker) -> None:
    series = random_series(400)
    _agree(_main(series, "EMA", timeperiod=21), _exponential_mean(series.close.tolist(), 21))


def test_rsi_compares_wilders_means_of_gains_and_losses(random_series: SeriesMaker) -> None:
    series = random_series(400)
    changes = [math.nan, *np.diff(series.close).tolist()]
    gains = _wilder([max(change, 0.0) for change in changes], 14)
    losses = _wilder([max(-change, 0.0) for change in changes], 14)
    expected = [100.0 * gain / (gain + loss) for gain, loss in zip(gains, losses, strict=True)]
    _agree(_main(series, "RSI", timeperiod=14), expected)


def test_macd_starts_both_means_so_that_they_are_first_defined_at_the_same_bar(
    random_series: SeriesMaker,
) -> None:
    series = random_series(400)
    close = series.close.tolist()
    fast, slow = _exponential_mean(close, 12, skip=14), _exponential_mean(close, 26)
    line = [a - b for a, b in zip(fast, slow, strict=True)]
    signal = _exponential_mean(line, 9, skip=25)
    line = [value if math.isfinite(mean) else math.nan for value, mean in zip(line, signal, strict=True)]
    outputs = compute(IndicatorDefinition("x", "MACD", {"fastperiod": 12, "slowperiod": 26, "signalperiod": 9}), series)
    assert list(outputs) == ["macd", "macdsignal", "macdhist"]
    _agree(outputs["macd"], line)
    _agree(outputs["macdsignal"], signal)
    _agree(outputs["macdhist"], [a - b for a, b in zip(line, signal, strict=True)])


def test_bollinger_bands_are_two_population_deviations_from_the_mean(random_series: SeriesMaker) -> None:
    series = random_series(400)
    outputs = compute(IndicatorDefinition("x", "BBANDS", {"timeperiod": 20}), series)
    windows = np.lib.stride_tricks.sliding_window_view(series.close, 20)
    padding = [math.nan] * 19
    means, deviations = windows.mean(axis=1), windows.std(axis=1)
    _agree(outputs["upperband"], padding + (means + 2 * deviations).tolist())
    _agree(outputs["middleband"], padding + means.tolist())
    _agree(outputs["lowerband"], padding + (means - 2 * deviations).tolist())


def test_atr_is_wilders_mean_of_the_true_range(random_series: SeriesMaker) -> None:
    series = random_series(400)
    rows = zip(series.high[1:], series.low[1:], series.close[:-1], strict=True)
    ranges = [math.nan, *(max(high, before) - min(low, before) for high, low, before in rows)]
    _agree(_main(series, "ATR", timeperiod=14), _wilder(ranges, 14))


def _plain_inputs(function: str, series: Bars) -> list[NDArray[np.float64]]:
    if function == "CORREL":
        return [series.close, series.volume]
    names = vars(talib.abstract)["Function"](function).info["input_names"].values()
    flat = [one for name in names for one in (name if isinstance(name, list) else [name])]
    return [getattr(series, name) for name in flat]


@pytest.mark.parametrize("function", sorted(set(indicator_functions()) - set(REJECTED_FUNCTIONS)))
def test_every_ta_lib_function_gives_its_own_values_and_nan_before_they_are_defined(
    function: str, random_series: SeriesMaker
) -> None:
    series = random_series(300)
    description = vars(talib.abstract)["Function"](function)
    outputs = compute(IndicatorDefinition("x", function), series)
    result = getattr(talib, function)(*_plain_inputs(function, series))
    expected = result if isinstance(result, tuple) else (result,)
    assert list(outputs) == description.info["output_names"]
    for found, plain in zip(outputs.values(), expected, strict=True):
        assert found.dtype == np.float64
        np.testing.assert_array_equal(found[description.lookback :], plain[description.lookback :])
        assert np.isnan(found[: description.lookback]).all()


def test_params_reach_ta_lib(random_series: SeriesMaker) -> None:
    series = random_series(300)
    params: dict[str, Any] = {"fastk_period": 14, "slowk_period": 5, "slowk_matype": 1, "slowd_period": 4}
    plain = talib.STOCH(series.high, series.low, series.close, **params)[0]
    np.testing.assert_array_equal(_main(series, "STOCH", **params), plain)
    assert not np.array_equal(_main(series, "STOCH"), plain, equal_nan=True)


def test_whole_number_outputs_are_not_stored_before_they_are_defined(random_series: SeriesMaker) -> None:
    definition = IndicatorDefinition("trendmode", "HT_TRENDMODE")
    assert compute_last_bars([definition], random_series(63)).missing == ["trendmode"]
    assert compute_last_bars([definition], random_series(64)).values["trendmode"][0].value in (0.0, 1.0)


def test_values_at_the_last_bars_have_every_output(
    random_series: SeriesMaker,
) -> None:
    series = random_series(60)
    sma, bands = IndicatorDefinition("sma", "SMA", {"timeperiod": 5}), IndicatorDefinition("bands", "BBANDS")
    found = compute_last_bars([sma, bands], series, last_bars=3)
    plain = talib.SMA(series.close, 5)
    assert found.values["sma"] == [BarValue(index, float(plain[index]), None) for index in (57, 58, 59)]
    upper, middle, lower = (array[-1] for array in talib.BBANDS(series.close))
    assert found.values["bands"][-1] == BarValue(
        59, upper, {"upperband": upper, "middleband": middle, "lowerband": lower}
    )
    assert found.missing == []


def test_an_indicator_with_too_few_bars_does_not_affect_the_others(random_series: SeriesMaker) -> None:
    short, long = (IndicatorDefinition(f"sma_{n}", "SMA", {"timeperiod": n}) for n in (10, 200))
    found = compute_last_bars([long, short], random_series(50))
    assert list(found.values) == ["sma_10"]
    assert found.missing == ["sma_200"]


def test_bars_without_a_defined_value_are_left_out(random_series: SeriesMaker) -> None:
    definition = IndicatorDefinition("sma", "SMA", {"timeperiod": 8})
    found = compute_last_bars([definition], random_series(10), last_bars=100)
    assert [value.bar_index for value in found.values["sma"]] == [7, 8, 9]


def test_an_infinite_value_is_missing_and_a_finite_one_before_it_is_kept(bars_of: SeriesMaker) -> None:
    definition = IndicatorDefinition("exp", "EXP")
    found = compute_last_bars([definition], bars_of(close=[1.0, 2.0, 1000.0]), last_bars=2)
    (kept,) = found.values["exp"]
    assert (kept.bar_index, kept.outputs) == (1, None)
    assert kept.value == pytest.approx(math.exp(2.0))
    assert found.missing == ["exp"]


def test_a_bar_with_one_infinite_output_is_left_out(bars_of: SeriesMaker) -> None:
    definition = IndicatorDefinition("channel", "donchian", {"period": 2})
    series = bars_of(close=[1.0, 1.0, 1.5e308, 1.5e308])
    assert np.isfinite(compute(definition, series)["upper"][-1])
    found = compute_last_bars([definition], series, last_bars=4)
    assert [value.bar_index for value in found.values["channel"]] == [1, 2]
    assert found.missing == ["channel"]


def test_an_empty_series_has_everything_missing_and_empty_arrays(bars_of: SeriesMaker) -> None:
    definitions = [IndicatorDefinition("bands", "BBANDS"), IndicatorDefinition("flow", "cmf")]
    found = compute_last_bars(definitions, bars_of(close=[]))
    assert found.values == {}
    assert found.missing == ["bands", "flow"]
    arrays = compute(definitions[0], bars_of(close=[]))
    assert {name: len(array) for name, array in arrays.items()} == {
        "upperband": 0,
        "middleband": 0,
        "lowerband": 0,
    }


def test_zero_last_bars_are_rejected(random_series: SeriesMaker) -> None:
    with pytest.raises(BadInputError, match="last_bars is 0, but must be 1 or more"):
        compute_last_bars([], random_series(5), last_bars=0)
