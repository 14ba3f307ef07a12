"""Numbers in people's spellings, and bars that do not fit their neighbours."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamworkers.market.bars.neighbours import JumpWatch, find_misfits
from streamworkers.market.bars.numbers import NumberStyle
from streamworkers.market.bars.rules import BrokenRuleError, Rule, parse_price
from streamworkers.market.bars.text_rows import NO_ROWS, PriceColumns, RowChunk


def prices(*closes: float) -> PriceColumns:
    """Quiet bars around these closes."""
    close = np.array(closes, np.float64)
    return PriceColumns(close * 0.99, close * 1.02, close * 0.98, close)


@pytest.mark.parametrize(
    ("closes", "places"),
    [
        ((100, 101, 1020, 102, 103), [2]),
        ((100, 101, 10.2, 102, 103), [2]),
        ((1000, 101, 102), [0]),
        ((100, 101, 1020), [2]),
        ((100, 101, 10_200, 102), [2]),
        ((100, 120, 150, 90, 100), []),
        ((100, 500, 100), []),
        ((1, 10, 100), []),
        ((100, 101), []),
        ((100,), []),
        ((), []),
    ],
)
def test_a_bar_ten_times_its_neighbours_is_a_spike(closes: tuple[float, ...], places: list[int]) -> None:
    assert [each.place for each in find_misfits(prices(*closes)) if each.rule == Rule.PRICE_SPIKE] == places


def test_one_high_that_is_far_off_is_a_spike_and_named() -> None:
    bars = prices(100, 101, 102)
    bars.high[1] = 1010.0
    assert [each[1:] for each in find_misfits(bars)] == [
        (Rule.PRICE_SPIKE, "high 1010 is 10.1 times its neighbours, which close at 100 and 102")
    ]


@pytest.mark.parametrize(
    ("closes", "places"),
    [
        ((400, 401, 100.5, 101), [2]),
        ((10, 10.1, 101, 102), [2]),
        ((100, 51, 52), [1]),
        ((100, 70, 71), []),
        ((100, 45, 44), []),
    ],
)
def test_a_change_by_a_whole_factor_between_quiet_bars_is_a_jump(closes: tuple[float, ...], places: list[int]) -> None:
    found = find_misfits(prices(*closes))
    assert [(each.place, each.rule) for each in found] == [(place, Rule.PRICE_JUMP) for place in places]


def test_a_jump_names_both_prices_and_a_wild_bar_is_none() -> None:
    bars = prices(400, 100, 101)
    assert find_misfits(bars)[0].detail == "open 99 is 1/4.04 of the close 400 before it, as after a split"
    bars.low[1] = 60.0
    assert find_misfits(bars) == []


@given(
    st.lists(st.tuples(st.sampled_from("AB"), st.sampled_from([1.0, 1.1, 2.0, 4.0, 10.0, 100.0])), max_size=40),
    st.integers(1, 7),
)
def test_the_watch_misses_no_symbol_with_a_misfit_however_the_rows_are_cut(
    rows: list[tuple[str, float]], size: int
) -> None:
    watch = JumpWatch()
    bars = prices(*(close for _, close in rows))
    for begin, end in pairwise([*range(0, len(rows), size), len(rows)]):
        part = replace(NO_ROWS.rows, lines=list(range(begin, end)), symbols=[symbol for symbol, _ in rows[begin:end]])
        watch.note(RowChunk(part, [], bars.at(slice(begin, end))))
    for symbol in "AB":
        own = prices(*(close for other, close in rows if other == symbol))
        assert not find_misfits(own) or symbol in watch.symbols


@pytest.mark.parametrize(
    ("style", "text", "number"),
    [
        (NumberStyle(), "$103.50", "103.50"),
        (NumberStyle(), "-$1.5", "-1.5"),
        (NumberStyle(), "$-1.5", "-1.5"),
        (NumberStyle(), "1,103.50", "1103.50"),
        (NumberStyle(), "1,03,500", "103500"),
        (NumberStyle(), "1.30M", "1300000"),
        (NumberStyle(), "2.5k", "2500"),
        (NumberStyle(), "1B", "1000000000"),
        (NumberStyle(), "100,50", None),
        (NumberStyle(), "1,0000", None),
        (NumberStyle(), "", None),
        (NumberStyle(), ".", None),
        (NumberStyle(grouped=False), "1,103", None),
        (NumberStyle(","), "100,50", "100.50"),
        (NumberStyle(","), "1.200.000", "1200000"),
        (NumberStyle(","), "1 234,5", "1234.5"),
        (NumberStyle(","), "1'234,5", "1234.5"),
        (NumberStyle(","), "1\u00a0234,5", "1234.5"),
        (NumberStyle(","), "12,50 €", "12.50"),
        (NumberStyle(","), "1.5", None),
        (NumberStyle(","), "1.2000", None),
    ],
)
def test_numbers_are_read_in_their_style_only(style: NumberStyle, text: str, number: str | None) -> None:
    assert style.read(text) == number


def test_a_point_where_the_comma_is_decimal_is_rejected_with_a_hint() -> None:
    with pytest.raises(BrokenRuleError) as raised:
        parse_price("open", "1.5", NumberStyle(","))
    assert str(raised.value) == "open '1.5' is not a number; the decimal mark is the comma"
