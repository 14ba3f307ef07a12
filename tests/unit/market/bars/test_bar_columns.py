"""Bars as arrays: packed and back, judged by the rules for rows, made wider whatever pieces they come in."""

from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamworkers.errors import BadInputError
from streamworkers.market.bars.aggregate import Aggregator
from streamworkers.market.bars.bar_times import DAYS, MOMENTS
from streamworkers.market.bars.bars import NO_BARS, Bars, FloatArray, Starts, TimeUnit, concat, time_unit, unpack_bars
from streamworkers.market.bars.column_rules import validate_bars, validate_rows
from streamworkers.market.bars.rules import BrokenRuleError, Rule, validate_row
from streamworkers.market.bars.text_rows import BarRows, format_bars, parse_rows
from streamworkers.market.calendar.timeframes import TIMEFRAMES
from streamworkers.market.calendar.windows import moment_of

MINUTE, HOUR, DAY, WEEK, MONTH = TIMEFRAMES.values()
MONDAY_MS = 1_764_167_400_000  # 2025-11-26 09:30 in New York


def bars_of(starts: list[int], seed: int = 1, unit: TimeUnit = "ms") -> Bars:
    random = np.random.default_rng(seed)
    low, span = random.uniform(10, 20, len(starts)), random.uniform(0, 2, (3, len(starts)))
    opened, close = low + span[0], low + span[1]
    return Bars(
        np.array(starts, np.int64).view(f"datetime64[{unit}]"),
        opened,
        np.maximum(opened, close) + span[2],
        low,
        close,
        random.integers(0, 1000, len(starts)),
    )


def columns(bars: Bars) -> list[list[float]]:
    return [getattr(bars, name).tolist() for name in ("starts", *Bars.__slots__[1:])]


def by_tens(starts: Starts) -> Starts:
    return starts - starts % 10


def one(price: float) -> FloatArray:
    return np.array([price])


@pytest.mark.parametrize("unit", ["ms", "D"])
@given(starts=st.lists(st.integers(0, 2**62), max_size=40, unique=True).map(sorted))
def test_packed_bars_come_back_as_they_were(unit: TimeUnit, starts: list[int]) -> None:
    bars = bars_of(starts, unit=unit)
    again = unpack_bars(bars.pack(), unit)
    assert columns(again) == columns(bars)
    assert again.times.dtype == bars.times.dtype
    assert len(again) == len(starts)


def test_bytes_that_are_no_bars_are_rejected() -> None:
    with pytest.raises(BadInputError) as raised:
        unpack_bars(bars_of([1, 2]).pack()[:-1], "ms")
    assert str(raised.value) == "95 bytes are not 6 columns of bars"


def test_joined_bars_follow_one_another_and_a_mask_chooses_among_them() -> None:
    first, second = bars_of([1, 2], 1), bars_of([5], 2)
    both = concat([first, NO_BARS, second])
    assert columns(both) == [left + right for left, right in zip(columns(first), columns(second), strict=True)]
    assert columns(both.where(both.starts != 2)) == [[column[0], column[2]] for column in columns(both)]
    assert both.where(both.starts > 0) is both
    assert len(both.where(both.starts > 9)) == 0
    assert len(concat([])) == len(concat([NO_BARS, NO_BARS])) == 0


def test_empty_parts_of_another_time_unit_do_not_change_the_unit_of_days() -> None:
    days = bars_of([20418, 20419], unit="D")
    assert concat([NO_BARS, days, days]).times.dtype == np.dtype("datetime64[D]")
    aggregator = Aggregator(by_tens)
    assert aggregator.add(NO_BARS) is NO_BARS
    assert len(aggregator.add(days)) == 0
    assert aggregator.finish().times.dtype == np.dtype("datetime64[D]")


@given(
    st.lists(st.integers(0, 200), max_size=60, unique=True).map(sorted),
    st.lists(st.integers(0, 60), max_size=8).map(sorted),
)
def test_wide_bars_are_the_same_however_the_narrow_ones_are_cut_into_pieces(starts: list[int], cuts: list[int]) -> None:
    bars = bars_of(starts)
    aggregator, parts = Aggregator(by_tens), []
    for begin, end in zip([0, *cuts], [*cuts, len(bars)], strict=True):
        places = np.arange(len(bars))
        parts.append(aggregator.add(bars.where((places >= begin) & (places < end))))
    parts.append(aggregator.finish())
    assert columns(concat(parts)) == columns(plainly_wide(bars))
    assert len(aggregator.finish()) == 0


def plainly_wide(bars: Bars) -> Bars:
    """The same without vectors and without pieces."""
    groups: dict[int, list[Any]] = {}
    for start, *values in zip(*columns(bars), strict=True):
        opened, high, low, close, volume = values
        group = groups.setdefault(int(start) // 10 * 10, [opened, high, low, close, 0])
        group[1], group[2], group[3] = max(group[1], high), min(group[2], low), close
        group[4] += volume
    rows = [(start, *group) for start, group in groups.items()]
    table = list(zip(*rows, strict=True)) if rows else [()] * 6
    whole, prices = [np.array(table[place], np.int64) for place in (0, 5)], [np.array(row) for row in table[1:5]]
    return Bars(whole[0].view("datetime64[ms]"), prices[0], prices[1], prices[2], prices[3], whole[1])


def test_a_wide_bar_is_given_only_when_a_bar_of_a_later_window_has_come() -> None:
    aggregator = Aggregator(by_tens)
    assert len(aggregator.add(bars_of([1, 2]))) == 0
    assert len(aggregator.add(NO_BARS)) == 0
    assert len(aggregator.add(bars_of([9]))) == 0
    assert aggregator.add(bars_of([30])).starts.tolist() == [0]
    assert aggregator.finish().starts.tolist() == [30]


BAD = [
    ((np.nan, 2.0, 1.0, 1.5, 5.0), Rule.NOT_FINITE, "open 'nan' is not a finite number"),
    ((1.5, np.inf, 1.0, 1.5, 5.0), Rule.NOT_FINITE, "high 'inf' is not a finite number"),
    ((1.5, 2.0, -1.0, 1.5, 5.0), Rule.NEGATIVE, "low '-1.0' is negative"),
    ((1.5, 2.0, 1.0, 1.5, -5.0), Rule.NEGATIVE, "volume '-5' is negative"),
    ((1.5, 2.0, 1.0, 1.5, np.nan), Rule.NOT_FINITE, "volume 'nan' is not a finite number"),
    (
        (1.5, 2.0, 1.0, 1.5, 2.0**63),
        Rule.BAD_VOLUME,
        "volume '9223372036854775808' is larger than 9223372036854775807",
    ),
    ((1.5, 1.2, 1.0, 1.1, 5.0), Rule.HIGH_TOO_LOW, "high 1.2 is below open 1.5"),
    ((1.5, 2.0, 1.6, 1.7, 5.0), Rule.LOW_TOO_HIGH, "low 1.6 is above open 1.5"),
]


@pytest.mark.parametrize(("bar", "rule", "detail"), BAD)
def test_a_bad_bar_of_a_provider_is_rejected_by_its_rule_and_the_others_are_given(
    bar: tuple[float, ...], rule: Rule, detail: str
) -> None:
    good = (1.5, 2.0, 1.0, 1.5, 5.0)
    *prices, volume = (np.array(column) for column in zip(good, bar, good, strict=True))
    bars, rejects = validate_bars("AAPL", DAY, np.array([20418, 20419, 20420]), prices, volume, first_line=7)
    assert bars.starts.tolist() == [20418, 20420]
    assert [(reject.line, reject.rule, reject.detail) for reject in rejects] == [(8, rule, detail)]
    assert rejects[0].row.startswith("AAPL,2025-11-27,")


@given(st.tuples(*[st.floats(-5, 5) | st.sampled_from([0.0, -0.0, np.nan, np.inf, -np.inf, 1e300])] * 5))
def test_bars_are_judged_as_the_rows_of_a_file_with_volumes_rounded(bar: tuple[float, ...]) -> None:
    *prices, volume = (one(value) for value in bar)
    bars, rejects = validate_bars("A", DAY, np.array([20419]), prices, volume)
    row = ("A", "2025-11-27", *map(repr, bar[:4]), f"{bar[4]:.0f}")
    broken = refusal_of(row)
    assert [(reject.rule, reject.detail) for reject in rejects] == broken
    assert bars.volume.tolist() == ([] if broken else [round(bar[4])])


def refusal_of(row: tuple[str, ...]) -> list[tuple[Rule, str]]:
    try:
        validate_row(row, DAYS.parse)
    except BrokenRuleError as error:
        return [(error.rule, str(error))]
    return []


def test_volumes_of_split_adjusted_bars_become_whole_shares() -> None:
    flat = [np.full(4, 1.0)] * 4
    bars, rejects = validate_bars("A", DAY, np.arange(4), flat, np.array([0.4, 1.5, 2.5, 1e15 + 0.5]))
    assert (bars.volume.tolist(), rejects) == ([0, 2, 2, 10**15], [])


@pytest.mark.parametrize(
    ("frame", "start", "text"), [(MINUTE, MONDAY_MS, "2025-11-26T14:30:00+00:00"), (DAY, 20418, "2025-11-26")]
)
def test_arrays_become_rows_that_pass_the_rules_and_arrays_again(frame: Any, start: int, text: str) -> None:
    bars = bars_of([start, start + (60_000 if frame.intraday else 1)], unit=time_unit(frame))
    bars.open[0] = bars.low[0] = 0.1 + 0.2
    rows = format_bars("BRK.B", frame, bars, first_line=11)
    assert (rows.lines, rows.symbols, rows.times[0]) == ([11, 12], ["BRK.B"] * 2, text)
    assert rows.open[0] == "0.30000000000000004"
    fields = [rows.symbols, rows.times, rows.open, rows.high, rows.low, rows.close, rows.volume]
    assert validate_rows(rows.lines, fields, rows.times, MOMENTS if frame.intraday else DAYS).rejects == []
    again = parse_rows(frame, rows)
    assert columns(again) == columns(bars)
    assert again.times.dtype == bars.times.dtype


@pytest.mark.parametrize("frame", TIMEFRAMES.values(), ids=str)
def test_no_bars_are_no_rows(frame: Any) -> None:
    rows = format_bars("A", frame, NO_BARS)
    assert rows == BarRows([], [], [], [], [], [], [], [])
    assert len(parse_rows(frame, rows)) == 0
    assert [len(part) for part in validate_bars("A", frame, NO_BARS.starts, [np.zeros(0)] * 4, np.zeros(0))] == [0, 0]


def test_a_start_is_the_moment_or_date_of_its_table() -> None:
    assert moment_of(HOUR, MONDAY_MS) == datetime(2025, 11, 26, 14, 30, tzinfo=UTC)
    assert [moment_of(frame, 20418) for frame in (DAY, WEEK, MONTH)] == [date(2025, 11, 26)] * 3
