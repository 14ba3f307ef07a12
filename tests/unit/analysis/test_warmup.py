"""Each function from the bars that it is said to need gives the value of the whole history, and no run chooses them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from streamworkers.analysis import history as history_module
from streamworkers.analysis.decay import FORGOTTEN, bars_to_forget, ema_bars, mean_bars, wilder_bars
from streamworkers.analysis.definitions import IndicatorDefinition, PatternDefinition
from streamworkers.analysis.history import BLOCK, History, HistoryWindows, bars_to_read, window_length
from streamworkers.analysis.indicators import compute, compute_last_bars
from streamworkers.analysis.own_indicators import OWN_INDICATORS
from streamworkers.analysis.patterns import detect
from streamworkers.analysis.ta_functions import REJECTED_FUNCTIONS, indicator_functions
from streamworkers.analysis.warmup import WHOLE, bars_needed, input_columns
from streamworkers.errors import BadInputError
from streamworkers.market.bars.bars import Bars
from streamworkers.market.calendar.timeframes import TIMEFRAMES

SeriesMaker = Callable[..., Bars]
DAY = TIMEFRAMES["day"]
BARS = 5000
FUNCTIONS = sorted({*indicator_functions(), *OWN_INDICATORS} - set(REJECTED_FUNCTIONS) - {"ACOS", "ASIN"})
OTHERS: list[tuple[str, dict[str, Any]]] = [
    ("ADX", {"timeperiod": 30}),
    ("BBANDS", {"timeperiod": 20, "matype": 8}),
    ("EMA", {"timeperiod": 200}),
    ("MACD", {"fastperiod": 5, "slowperiod": 60, "signalperiod": 30}),
    ("MACDEXT", {"fastmatype": 1, "slowmatype": 13, "signalmatype": 3}),
    ("PPO", {"matype": 4}),
    ("RSI", {"timeperiod": 60}),
    ("STOCH", {"slowk_matype": 1, "slowd_matype": 13}),
    ("STOCHRSI", {"fastd_matype": 1}),
    ("T3", {"timeperiod": 20, "vfactor": 1.0}),
    ("keltner", {"period": 60, "atr_period": 40}),
    ("supertrend", {"period": 20, "multiplier": 2.0}),
    *(("MA", {"timeperiod": 12, "matype": kind}) for kind in range(14)),
]


def _values(function: str, params: dict[str, Any], series: Bars) -> list[np.ndarray[Any, Any]]:
    return list(compute(IndicatorDefinition("x", function, params), series).values())


def _difference(function: str, params: dict[str, Any], series: Bars, needed: int) -> float:
    """The largest difference between values of windows and of the whole series, relative to the values' usual size."""
    whole, worst = _values(function, params, series), 0.0
    for end in range(BARS, needed, -173):
        part = _values(function, params, series.at(slice(end - needed, end)))
        for full, short in zip(whole, part, strict=True):
            if np.isnan(full[end - 1]) and np.isnan(short[-1]):
                continue
            size = max(abs(full[end - 1]), float(np.nanmedian(np.abs(full))) * 1e-3, 1e-12)
            worst = max(worst, abs(short[-1] - full[end - 1]) / size)
    return worst


@pytest.mark.parametrize(
    ("function", "params"), [*((name, {}) for name in FUNCTIONS), *OTHERS], ids=lambda value: str(value)
)
def test_the_bars_that_a_function_needs_give_the_value_of_the_whole_history(
    function: str, params: dict[str, Any], random_series: SeriesMaker
) -> None:
    definition = IndicatorDefinition("x", function, params)
    needed = bars_needed(function, definition.all_params(), "day")
    if needed is WHOLE:
        return
    assert needed < BARS / 2 or function in ("EMA", "KAMA", "MA", "SUPERTREND", "supertrend")
    assert _difference(function, params, random_series(BARS), min(needed, BARS - 200)) < 1e-9


@pytest.mark.parametrize("function", ["OBV", "AD", "CUMSUM", "PVT", "VWAP", "MAXINDEX"])
def test_control_a_sum_differs_without_its_first_bars(function: str, random_series: SeriesMaker) -> None:
    assert bars_needed(function, IndicatorDefinition("x", function).all_params(), "day") is WHOLE
    assert _difference(function, {}, random_series(BARS), 4000) > 1e-3


@pytest.mark.parametrize(("function", "params"), [("EMA", {"timeperiod": 200}), ("ADX", {}), ("RSI", {}), ("TRIX", {})])
def test_control_a_third_of_the_bars_is_not_enough(
    function: str, params: dict[str, Any], random_series: SeriesMaker
) -> None:
    needed = bars_needed(function, IndicatorDefinition("x", function, params).all_params(), "day")
    assert needed is not None
    assert _difference(function, params, random_series(BARS), needed // 3) > 1e-9


def test_a_cascade_of_means_forgets_as_the_negative_binomial_distribution() -> None:
    for alpha, stages in ((2 / 201, 1), (1 / 14, 2), (2 / 16, 3), (1 / 3, 6), (1.0, 2)):
        bars = bars_to_forget(alpha, stages)
        impulse = np.zeros(bars + 200)
        impulse[0] = 1.0
        for _ in range(stages):
            mean, means = 0.0, []
            for value in impulse:
                mean += alpha * (value - mean)
                means.append(mean)
            impulse = np.array(means)
        assert impulse[bars:].sum() < 2 * FORGOTTEN
        assert bars <= stages or impulse[bars - 2 :].sum() > FORGOTTEN / 10


def test_means_without_a_decay_are_rejected() -> None:
    with pytest.raises(ValueError, match="alpha is 0, not above 0 and at most 1"):
        bars_to_forget(0)
    with pytest.raises(ValueError, match="matype is 14, which is no kind of mean"):
        mean_bars(14, 5)
    assert (mean_bars(0, 9), mean_bars(10, 9), mean_bars(1, 9)) == (9, 1, ema_bars(9))
    assert mean_bars(13, 9) == wilder_bars(9) > ema_bars(9)


@pytest.mark.parametrize(
    ("timeframe", "anchor", "bars"),
    [
        ("day", "year", 368),
        ("week", "year", 54),
        ("month", "year", 15),
        ("hour", "month", 745),
        ("1min", "month", 44641),
        ("1min", "session", 1441),
        ("hour", "day", 25),
        ("day", "day", 3),
    ],
)
def test_an_anchored_mean_needs_its_period_and_a_bar_before(timeframe: str, anchor: str, bars: int) -> None:
    assert bars_needed("anchored_vwap", {"anchor": anchor}, timeframe) == bars


def _night(definitions: list[IndicatorDefinition], series: Bars, last_bars: int) -> Any:
    """The values of a run that reads no more than it needs."""
    read = bars_to_read(definitions, DAY, last_bars)
    recent = series.at(slice(max(0, len(series) - read.recent), None))
    return compute_last_bars(definitions, History(recent, series), last_bars, DAY), len(series) - len(recent)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_fill_equals_the_nights_to_the_last_digit_whatever_they_read(
    random_series: SeriesMaker, default_indicators: list[IndicatorDefinition], seed: int
) -> None:
    series = random_series(2000, seed=seed)
    fill, before = _night(default_indicators, series, 150)
    for bars in range(1851, 2001):
        night, skipped = _night(default_indicators, series.at(slice(0, bars)), 1)
        for name, (value,) in night.values.items():
            place = next(i for i, one in enumerate(fill.values[name]) if one.bar_index + before == bars - 1)
            assert (value.value, value.outputs) == (fill.values[name][place].value, fill.values[name][place].outputs)
            assert night.bars_used[name] == [fill.bars_used[name][place]]
            assert value.bar_index + skipped == bars - 1
        assert night.bars_used["obv"] == [bars]
        assert night.bars_used["sma_20"][0] < 560 + BLOCK < bars


def test_control_windows_that_start_with_what_was_read_differ(
    random_series: SeriesMaker, default_indicators: list[IndicatorDefinition]
) -> None:
    series = random_series(2000)
    read = bars_to_read(default_indicators, DAY, 1).recent
    fill = series.at(slice(2000 - read, None))
    differing = 0
    for definition in default_indicators:
        night = compute(definition, series.at(slice(1900 - read, 1900)))
        differing += any(array[-1] != compute(definition, fill)[name][-101] for name, array in night.items())
    assert differing > 10


@pytest.mark.parametrize("seed", [3, 11])
def test_a_fill_of_patterns_equals_the_nights(
    random_series: SeriesMaker, all_patterns: list[PatternDefinition], seed: int
) -> None:
    series = random_series(1500, seed=seed)
    fill, _ = detect(all_patterns, series, 120)
    read = bars_to_read([], DAY, 1).recent
    nights = []
    for bars in range(1381, 1501):
        found, _ = detect(all_patterns, series.at(slice(bars - read, bars)))
        nights += [replace(one, bar_index=one.bar_index + bars - read) for one in found]
    assert len(nights) > 200
    key = [definition.name for definition in all_patterns].index
    assert sorted(nights, key=lambda one: (key(one.pattern_name), one.bar_index)) == fill


def test_windows_of_every_bar_are_long_enough_and_start_with_a_block(random_series: SeriesMaker) -> None:
    series = random_series(900)
    seen = 0
    for window in HistoryWindows(History(series, series), 300, DAY).of_length(256):
        start = window.offset
        assert start == 0 or int(series.starts[start]) // BLOCK != int(series.starts[start - 1]) // BLOCK
        for index in range(window.first, len(window.bars)):
            assert 256 <= index + 1 < 256 + BLOCK
            seen += 1
    assert seen == 300


def test_windows_have_few_lengths_and_whole_histories_are_the_last() -> None:
    assert [window_length(bars) for bars in (1, 64, 65, 500, 3654, 16384, 16385, None)] == [
        *(64, 64, 128, 560, 4096, 16384, None, None)
    ]


def test_a_history_that_a_limit_cut_has_no_sum(random_series: SeriesMaker) -> None:
    series = random_series(300)
    definitions = [IndicatorDefinition("obv", "OBV"), IndicatorDefinition("sma", "SMA", {"timeperiod": 20})]
    cut = compute_last_bars(definitions, History(series, series, complete=False, cut=True))
    assert (cut.missing, cut.bars_used) == (["obv"], {"sma": [300]})
    whole = compute_last_bars(definitions, History(series, series))
    assert whole.bars_used == {"obv": [300], "sma": [300]}


def test_what_is_read_grows_with_the_definitions() -> None:
    sma, ema = IndicatorDefinition("a", "SMA", {"timeperiod": 20}), IndicatorDefinition("b", "EMA", {"timeperiod": 200})
    obv = IndicatorDefinition("c", "OBV")
    least = history_module.CONFIDENCE_BARS + BLOCK
    assert bars_to_read([sma], DAY, 1) == (least + 1, least + 1, (), False)
    assert bars_to_read([sma, ema], DAY, 5) == (least + 5, 4096 + BLOCK + 5, ("close",), False)
    assert bars_to_read([sma, ema, obv], DAY, 1) == (least + 1, None, ("close", "volume"), False)
    assert bars_to_read([obv], DAY, 1).at_most(500) == (500, 500, ("close", "volume"), True)
    assert bars_to_read([sma], DAY, 1).at_most(5000).limited is False
    assert input_columns("supertrend") == ("high", "low", "close")


def test_a_column_that_was_not_read_is_not_validated_and_one_that_was_is(random_series: SeriesMaker) -> None:
    series = random_series(700)
    recent = series.at(slice(100, None))
    older = series.at(slice(0, 700))
    older.open[:100] = np.nan
    History(recent, older, columns=("close",)).require_valid("A")
    older.close[50] = np.nan
    with pytest.raises(BadInputError, match="close of A at 2022-04-20 is nan, not a finite number"):
        History(recent, older, columns=("close",)).require_valid("A")
