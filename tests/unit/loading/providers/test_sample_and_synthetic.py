"""Sample and synthetic bars as a provider gives them, and how providers are found by name."""

from datetime import UTC, date, datetime, timedelta
from importlib.metadata import EntryPoint
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamworkers.config import Settings
from streamworkers.errors import BadInputError, UnknownNameError
from streamworkers.loading.fetch import run_fetch
from streamworkers.loading.fetch_plan import Fetch
from streamworkers.loading.load_rules import LoadRules, Span
from streamworkers.loading.plan import Want
from streamworkers.loading.providers import provider as providers
from streamworkers.loading.providers.provider import (
    UNCOUNTED,
    BarsRequest,
    Provider,
    RateLimitedError,
    find_providers,
    get_provider,
)
from streamworkers.loading.providers.sample import SAMPLE_SYMBOLS, Sample
from streamworkers.loading.providers.synthetic import Synthetic
from streamworkers.market.bars.bar_times import DAYS
from streamworkers.market.bars.bars import NO_BARS, Bars, concat
from streamworkers.market.bars.column_rules import validate_rows
from streamworkers.market.bars.text_rows import format_bars
from streamworkers.market.calendar.timeframes import TIMEFRAMES
from streamworkers.market.calendar.windows import day_of, days_since_epoch, windows_between

MINUTE, HOUR, DAY, WEEK, MONTH = TIMEFRAMES.values()


def bars_of(source: Provider, symbol: str, first: date, last: date) -> Bars:
    pages = list(source.pages(BarsRequest(symbol, DAY, first, last)))
    assert all((page.rejected, page.cursor) == ([], None) for page in pages)
    return concat([NO_BARS, *(page.bars for page in pages)])


def synthetic(seed: int = 1) -> Synthetic:
    return Synthetic(Settings(synthetic_seed=seed))


def test_the_sample_gives_the_asked_days_of_its_symbols_and_nothing_of_others() -> None:
    source = Sample(Settings())
    for symbol in SAMPLE_SYMBOLS:
        bars = bars_of(source, symbol, date(2012, 12, 20), date(2013, 1, 4))
        assert [str(day_of(day)) for day in bars.starts[[0, -1]].tolist()] == ["2012-12-20", "2013-01-04"]
        windows = windows_between(date(2012, 12, 20), date(2013, 1, 4))
        assert np.array_equal(bars.starts, windows.expected(DAY, date(2012, 12, 20), date(2013, 1, 4)))
    assert len(bars_of(source, "AAPL", date(2025, 1, 1), date(2025, 2, 1))) == 0
    assert list(source.pages(BarsRequest("TSLA", DAY, date(2012, 1, 1), date(2013, 1, 1)))) == []
    assert (Sample.adjusted, Sample.native) == (False, frozenset({"day"}))


def test_weeks_and_months_are_made_of_the_days_of_the_sample() -> None:
    first, last = date(2012, 11, 1), date(2012, 12, 31)
    wants = tuple(Want(number, "IBM", frame, Span(first, last)) for number, frame in enumerate((DAY, WEEK, MONTH)))
    fetch = Fetch(BarsRequest("IBM", DAY, date(2012, 10, 29), date(2013, 1, 6)), wants)
    rules = LoadRules(datetime(2025, 1, 1, tzinfo=UTC))
    loaded = run_fetch(fetch, Sample(Settings()), rules, (), lambda: False, lambda pages: None)
    assert [one.spool.count for one in loaded] == [41, 10, 2]
    assert [one.missing for one in loaded] == [0, 0, 0]
    day, _, month = (np.concatenate([part.volume for part in one.spool]) for one in loaded)
    assert month.sum() == day.sum()


def test_synthetic_bars_are_valid_and_on_the_sessions_that_were_asked_for() -> None:
    first, last = date(2024, 3, 25), date(2025, 11, 28)
    bars = bars_of(synthetic(), "ANY", first, last)
    assert np.array_equal(bars.starts, windows_between(first, last).expected(DAY, first, last))
    rows = format_bars("ANY", DAY, bars)
    columns = [rows.symbols, rows.times, rows.open, rows.high, rows.low, rows.close, rows.volume]
    assert validate_rows(rows.lines, columns, rows.times, DAYS).rejects == []


@settings(max_examples=12)
@given(st.dates(date(2000, 1, 1), date(2025, 11, 28)), st.integers(0, 400))
def test_a_synthetic_bar_is_the_same_whenever_and_in_whatever_range_it_is_asked_for(first: date, days: int) -> None:
    last = min(first + timedelta(days=days), date(2025, 11, 28))
    source = synthetic()
    part, whole = bars_of(source, "ANY", first, last), bars_of(source, "ANY", date(2000, 1, 1), date(2025, 12, 31))
    inside = (whole.starts >= days_since_epoch(first)) & (whole.starts <= days_since_epoch(last))
    assert part.pack() == whole.where(inside).pack()


def test_synthetic_bars_follow_from_the_seed_and_the_symbol() -> None:
    day = date(2024, 3, 25)
    packed = {
        (seed, symbol): bars_of(synthetic(seed), symbol, day, day).pack() for seed in (1, 2) for symbol in ("A", "B")
    }
    assert len(set(packed.values())) == 4
    assert bars_of(synthetic(), "A", day, day).pack() == packed[1, "A"]


def test_before_the_first_synthetic_day_and_on_a_holiday_there_are_no_bars() -> None:
    assert len(bars_of(synthetic(), "A", date(1999, 1, 1), date(1999, 12, 31))) == 0
    assert len(bars_of(synthetic(), "A", date(2025, 12, 25), date(2025, 12, 25))) == 0


@pytest.mark.parametrize("kind", [Sample, Synthetic])
def test_a_provider_without_splits_or_a_day_of_all_says_that_it_does_not_know(kind: type[Provider]) -> None:
    source = kind(Settings())
    assert source.splits(date(2025, 1, 1), date(2025, 2, 1)) is None
    assert source.day_of_all(date(2025, 1, 2)) is None
    assert (source.calls_per_minute, source.calls) == (0, UNCOUNTED)
    source.close()


def test_the_providers_of_the_package_are_found_by_name() -> None:
    assert set(find_providers()) >= {"csv", "massive", "sample", "synthetic"}
    assert all(kind.name == name for name, kind in find_providers().items())
    assert get_provider("sample") is Sample
    with pytest.raises(UnknownNameError) as raised:
        get_provider("masive")
    assert str(raised.value) == "no provider is named 'masive'; did you mean 'massive'?"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("no_such_module:Thing", "provider 'mine' (no_such_module:Thing) does not load: No module named 'no_such_"),
        ("json:Thing", "provider 'mine' (json:Thing) does not load: module 'json' has no attribute 'Thing'"),
        ("json:dumps", "provider 'mine' (json:dumps) is not a subclass of Provider"),
        ("json:JSONDecoder", "provider 'mine' (json:JSONDecoder) is not a subclass of Provider"),
    ],
)
def test_an_entry_point_that_is_no_provider_is_named(monkeypatch: pytest.MonkeyPatch, value: str, message: str) -> None:
    def points(**_: Any) -> list[EntryPoint]:
        return [EntryPoint("mine", value, providers.ENTRY_POINT_GROUP)]

    monkeypatch.setattr(providers, "entry_points", points)
    with pytest.raises(BadInputError) as raised:
        get_provider("mine")
    assert str(raised.value).startswith(message)


def test_out_of_calls_says_when_to_ask_again() -> None:
    error = RateLimitedError("no call is left", datetime(2025, 11, 28, 18, 0, 0, 5, tzinfo=UTC))
    assert str(error) == "no call is left; next call at 2025-11-28T18:00:00+00:00"
    assert error.until.microsecond == 5
