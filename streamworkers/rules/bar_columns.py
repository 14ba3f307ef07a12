"""Computes what rules read from bars, with the functions of `analysis`."""

from collections.abc import Iterable

import numpy as np

from streamworkers.analysis.definitions import IndicatorDefinition, PatternDefinition
from streamworkers.analysis.indicators import compute
from streamworkers.analysis.patterns import detect
from streamworkers.market.bars.bars import Bars
from streamworkers.rules.evaluate import Columns, FloatColumn, PatternColumns
from streamworkers.rules.market_functions import BAR_FIELDS
from streamworkers.rules.market_vocabulary import function_of
from streamworkers.rules.tree import Field, Params, Pattern


def compute_columns(
    bars: Bars, fields: Iterable[Field], patterns: Iterable[Pattern] = (), pattern_bars: int | None = None
) -> Columns:
    """The columns of fields and patterns at every bar; outputs of one function are computed together.

    The bars must be finite (`bars.require_valid`). Values that need more bars than there are before a bar are NaN.
    Patterns are detected at the last `pattern_bars` bars only (None: at all of them), and unknown at those before.
    """
    results: dict[tuple[str, Params], dict[str, FloatColumn]] = {}
    columns = {}
    for field in fields:
        if field.name in BAR_FIELDS:
            columns[field] = np.asarray(getattr(bars, "close" if field.name == "price" else field.name), np.float64)
            continue
        key = (field.name, field.params)
        if key not in results:
            definition = IndicatorDefinition(_name(*key), function_of(field.name), dict(field.params))
            results[key] = compute(definition, bars)
        outputs = results[key]
        columns[field] = outputs[field.output or next(iter(outputs))]
    last = len(bars) if pattern_bars is None else min(pattern_bars, len(bars))
    return Columns(len(bars), columns, {pattern: _detections(pattern, bars, last) for pattern in patterns})


def _detections(pattern: Pattern, bars: Bars, last: int) -> PatternColumns:
    signal, confidence = np.zeros(len(bars)), np.zeros(len(bars))
    signal[: max(pattern.lookback, len(bars) - last)] = np.nan
    if len(bars) > pattern.lookback:
        name = _name(pattern.name, pattern.params)
        definition = PatternDefinition(name, function_of(pattern.name), dict(pattern.params))
        for found in detect([definition], bars, last_bars=last)[0]:
            signal[found.bar_index], confidence[found.bar_index] = found.signal, found.confidence
    return PatternColumns(signal, confidence)


def _name(function: str, params: Params) -> str:
    """A name for a definition that is computed and not stored; definitions are cached by it."""
    return "-".join([function, *(str(value) for _, value in params)])[:64]
