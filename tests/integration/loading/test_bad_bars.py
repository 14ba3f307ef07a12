"""A bad bar costs a bar: it is rejected and counted by rule, and the history around it is loaded."""

from datetime import date
from typing import Any

import numpy as np
import pytest

from harness import run_status
from loading import NOW, Loader, counts, massive, results, stored_bars
from streamworkers.loading.bar_checks import check_bars
from streamworkers.loading.providers.provider import BarsRequest
from streamworkers.market.bars.bars import Bars
from streamworkers.market.bars.rules import Rule
from streamworkers.market.calendar.timeframes import TIMEFRAMES
from streamworkers.market.calendar.windows import days_since_epoch
from streamworkers_fakes.massive import FakeMassive

FIRST, LAST = date(2025, 11, 3), date(2025, 11, 21)
BEGIN = days_since_epoch(FIRST)
REQUEST = BarsRequest("AAA", TIMEFRAMES["day"], FIRST, LAST)


@pytest.mark.parametrize(
    ("name", "bars", "result"),
    [
        ("duplicate_bars", 15, {"duplicate": 1}),
        ("out_of_range_bars", 15, {"out_of_range": 1}),
        ("unordered_bars", 15, {}),
        ("dst_shift", 15, {}),
        ("high_below_low", 14, {"high_too_low": 1}),
        ("null_open", 14, {"not_finite": 1}),
        ("absurd_price", 14, {"price_spike": 1}),
    ],
)
def test_each_kind_of_bad_bar_costs_a_bar_at_most(
    name: str, bars: int, result: dict[str, int], monkeypatch: pytest.MonkeyPatch, loader: Loader
) -> None:
    with massive(monkeypatch, FakeMassive(now=NOW)) as server:
        loader.load("IBM", first=str(FIRST), last=str(LAST))
        healthy = stored_bars(loader.connection, "day")
        loader.connection.execute("TRUNCATE ohlcv_daily, series_sources")
        server.misbehave(name)
        run = loader.load("IBM", first=str(FIRST), last=str(LAST))
    assert run_status(loader.connection, run) == "COMPLETED"
    assert counts(loader.connection) == {"day": {"IBM": bars}}
    assert set(stored_bars(loader.connection, "day")) <= set(healthy)
    _, found, _ = results(loader.connection, run)["IBM", "day"]
    assert found is not None
    assert found.get("rejected", {}) == result


def bars(closes: list[float], **columns: Any) -> Bars:
    close = np.array(closes)
    given: dict[str, Any] = {"open": close, "high": close, "low": close, "close": close} | columns
    starts = np.arange(BEGIN, BEGIN + len(close))
    return Bars(times=starts.view("datetime64[D]"), volume=np.ones(len(close), np.int64), **given)


@pytest.mark.parametrize(
    ("closes", "columns", "rules"),
    [
        ([10, 10, 10, 10], {}, []),
        ([10, 100, 10, 10], {}, [Rule.PRICE_SPIKE]),
        ([10, 1, 10, 10], {}, [Rule.PRICE_SPIKE]),
        ([10, 70, 10, 10], {}, []),
        ([10, 10, 10, 10_000], {}, [Rule.PRICE_SPIKE]),
        ([0.01, 10, 10, 10], {}, [Rule.PRICE_SPIKE]),
        ([10, 10, 10, 400], {}, []),  # the newest one may be true
        ([10, 10, 2000, 2000], {}, []),  # so may a jump that lasts
        ([10, 10, 10, 10], {"high": np.array([10.0, 10, 10_000, 10])}, [Rule.PRICE_SPIKE]),
        ([10, 10, 10, 10], {"low": np.array([10.0, 0, 10, 10])}, [Rule.ZERO_PRICE]),
        ([0, 0, 0, 0], {}, [Rule.ZERO_PRICE] * 4),
    ],
)
def test_spikes_are_rejected_and_jumps_that_may_last_are_not(
    closes: list[float], columns: dict[str, Any], rules: list[Rule]
) -> None:
    good, rejected = check_bars(REQUEST, bars(closes, **columns), None)
    assert [one.rule for one in rejected] == rules
    assert len(good) == 4 - len(rules)


def test_bars_of_a_later_page_that_are_not_later_are_rejected() -> None:
    good, rejected = check_bars(REQUEST, bars([10, 11, 12]), BEGIN + 1)
    assert good.close.tolist() == [12]
    assert [(one.rule, one.detail) for one in rejected] == [
        (Rule.OUT_OF_ORDER, "AAA at 2025-11-03: not after the bars of the page before"),
        (Rule.OUT_OF_ORDER, "AAA at 2025-11-04: not after the bars of the page before"),
    ]
