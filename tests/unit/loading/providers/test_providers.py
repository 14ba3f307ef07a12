"""Sample and synthetic bars are valid, and synthetic ones the same for the same seed."""

import sys
from datetime import date

import pytest

from streamworkers.errors import BadInputError, UsageError
from streamworkers.loading.providers.sample import read_sample
from streamworkers.loading.providers.synthetic import generate_bars
from streamworkers.market.bars.bar_times import DAYS
from streamworkers.market.bars.column_rules import validate_rows
from streamworkers.market.bars.text_rows import BarRows

END = date(2024, 3, 29)  # Good Friday: the exchange is closed


def rejected(rows: BarRows) -> int:
    columns = [rows.symbols, rows.times, rows.open, rows.high, rows.low, rows.close, rows.volume]
    return len(validate_rows(rows.lines, columns, rows.times, DAYS).rejects)


def test_synthetic_bars_are_valid_and_on_sessions() -> None:
    chunks = list(generate_bars(3, 600, 7, END))
    assert [set(chunk.symbols) for chunk in chunks] == [{"SYN001"}, {"SYN002"}, {"SYN003"}]
    assert [len(chunk) for chunk in chunks] == [600] * 3
    assert [rejected(chunk) for chunk in chunks] == [0] * 3
    assert chunks[0].times[-1] == "2024-03-28"
    assert all(price == f"{float(price):.2f}" for price in chunks[0].close)
    assert [line for chunk in chunks for line in chunk.lines] == list(range(1, 1801))


def test_a_synthetic_symbol_does_not_depend_on_the_others() -> None:
    assert list(generate_bars(2, 50, 7, END)) == list(generate_bars(5, 50, 7, END))[:2]
    assert list(generate_bars(1, 50, 8, END)) != list(generate_bars(1, 50, 7, END))


def test_synthetic_bars_end_with_a_closed_session_by_default() -> None:
    (bars,) = generate_bars(1, 5, 7)
    assert len(bars) == 5
    assert date.fromisoformat(bars.times[-1]) <= date.today()  # noqa: DTZ011


@pytest.mark.parametrize(
    ("symbols", "days", "seed", "message"),
    [
        (0, 5, 1, "symbols is 0; it must be at least 1"),
        (1, 0, 1, "days is 0; it must be at least 1"),
        (1, 5, -1, "seed is -1; it must be at least 0"),
        (
            1,
            10**9,
            1,
            "there are no 1000000000 sessions of the exchange up to 2024-03-29: ",
        ),
    ],
)
def test_impossible_requests_for_synthetic_bars_are_rejected(symbols: int, days: int, seed: int, message: str) -> None:
    with pytest.raises(BadInputError) as raised:
        generate_bars(symbols, days, seed, END)
    assert str(raised.value).startswith(message)


def test_the_sample_holds_five_symbols_of_valid_bars() -> None:
    chunks = list(read_sample())
    assert [set(chunk.symbols) for chunk in chunks] == [{"AAPL"}, {"FB"}, {"GOOG"}, {"IBM"}, {"MSFT"}]
    assert sum(map(len, chunks)) > 10_000
    assert [rejected(chunk) for chunk in chunks] == [0] * 5


def test_a_missing_package_is_named_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bokeh_sampledata", None)
    with pytest.raises(UsageError) as raised:
        list(read_sample())
    assert "need the package bokeh_sampledata; pip install 'streamworkers[demo]'" in str(raised.value)
