"""Bars as columns: their rows in JSON, and what becomes of none."""

import json

import numpy as np

from streamworkers_fakes.massive import FakeBars
from streamworkers_fakes.massive.bars import concat_bars, first_of_each, no_bars


def two_bars() -> FakeBars:
    opened, high, low, close, volume, vwap = (np.array([x, x + 1.0]) for x in (10.0, 12.0, 9.0, 11.0, 100.0, 10.5))
    return FakeBars(np.array([60_000, 120_000]), opened, high, low, close, volume, vwap, np.array([3, 4]))


def test_rows_have_the_names_of_the_api() -> None:
    first, second = json.loads(b"[" + two_bars().json_rows() + b"]")
    assert first == {"v": 100.0, "vw": 10.5, "o": 10.0, "c": 11.0, "h": 12.0, "l": 9.0, "t": 60_000, "n": 3}
    assert second == {"v": 101.0, "vw": 11.5, "o": 11.0, "c": 12.0, "h": 13.0, "l": 10.0, "t": 120_000, "n": 4}
    named = json.loads(b"[" + two_bars().json_rows_of(["A", "B"]) + b"]")
    assert named == [{"T": "A", **first}, {"T": "B", **second}]


def test_backwards_the_newest_comes_first() -> None:
    assert two_bars().backwards().start_ms.tolist() == [120_000, 60_000]
    assert two_bars().backwards().trades.tolist() == [4, 3]


def test_no_bars_stay_none_whatever_is_done_with_them() -> None:
    nothing = no_bars()
    assert nothing.json_rows() == b""
    assert len(nothing.adjusted(4.0)) == 0
    assert len(nothing.merged(first_of_each(nothing.start_ms), nothing.start_ms)) == 0
    assert len(concat_bars([])) == len(concat_bars([nothing, nothing])) == 0
    assert concat_bars([nothing, two_bars()]).close.tolist() == [11.0, 12.0]


def test_an_adjusted_price_never_falls_to_0() -> None:
    adjusted = two_bars().adjusted(1e9)
    assert adjusted.low.tolist() == [0.0001, 0.0001]
    assert adjusted.volume.tolist() == [1e11, 1.01e11]


def test_each_bar_may_have_a_ratio_of_its_own() -> None:
    adjusted = two_bars().adjusted(np.array([2.0, 1.0]))
    assert adjusted.open.tolist() == [5.0, 11.0]
    assert adjusted.volume.tolist() == [200.0, 101.0]
