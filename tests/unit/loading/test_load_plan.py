"""What is wanted of a symbol, decided from what is stored and what is asked for. No I/O."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from streamworkers.loading.load_rules import LoadRules, Span
from streamworkers.loading.plan import NothingToLoad, Plan, Want, plan_load
from streamworkers.loading.provenance import SeriesKind, StoredSeries
from streamworkers.loading.providers.provider import Split
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE, TIMEFRAMES, Timeframe
from streamworkers.market.calendar.windows import moment_of

MINUTE, HOUR, DAY, WEEK, MONTH = TIMEFRAMES.values()
NOW = datetime(2025, 11, 26, 18, 0, tzinfo=EXCHANGE_ZONE)  # a Wednesday, after the close
TODAY = NOW.date()
RULES = LoadRules(NOW)
BASIS = SeriesKind(True, "regular", "clock")


def et(day: date, hour: int, minute: int = 0) -> datetime:
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=EXCHANGE_ZONE).astimezone(UTC)


def stored(last: date | datetime, **changes: Any) -> StoredSeries:
    first = datetime(2025, 1, 2, 14, 30, tzinfo=UTC) if isinstance(last, datetime) else date(2025, 1, 2)
    base = StoredSeries(first, last, "massive", BASIS, date(2025, 11, 20), None, NOW)
    return base._replace(**changes)


def planned(
    frame: Timeframe, rules: LoadRules, found: StoredSeries | None, splits: Sequence[Split] = (), present: Any = None
) -> Plan:
    return plan_load(7, "AAPL", frame, rules, BASIS, found, splits, present)


def wanted(frame: Timeframe, rules: LoadRules, found: StoredSeries | None, splits: Sequence[Split] = ()) -> Want:
    result = planned(frame, rules, found, splits)
    assert isinstance(result, Want)
    assert (result.number, result.symbol, result.timeframe) == (7, "AAPL", frame)
    return result


@pytest.mark.parametrize("frame", TIMEFRAMES.values(), ids=lambda frame: frame.name)
@pytest.mark.parametrize("found", [None, date(2025, 11, 26)])
def test_a_named_range_is_wanted_whatever_is_stored(frame: Timeframe, found: date | None) -> None:
    span = Span(date(2024, 1, 1), date(2024, 6, 30))
    have = None if found is None else stored(et(found, 15, 59) if frame.intraday else found)
    want = wanted(frame, replace(RULES, span=span), have)
    assert (want.span, want.replaces, want.only) == (span, None, None)


def test_a_symbol_without_bars_is_wanted_for_so_many_years() -> None:
    assert wanted(DAY, RULES, None).span == Span(date(2023, 11, 27), TODAY)
    assert wanted(MINUTE, replace(RULES, years=0.5), None).span == Span(TODAY - timedelta(days=183), TODAY)


@pytest.mark.parametrize(
    ("frame", "last", "overlap", "first"),
    [
        (MINUTE, et(date(2025, 11, 24), 15, 59), 1, date(2025, 11, 24)),
        (MINUTE, et(date(2025, 11, 24), 15, 59), 2, date(2025, 11, 21)),
        (HOUR, et(date(2025, 11, 24), 15), 1, date(2025, 11, 24)),
        (HOUR, et(date(2025, 11, 24), 15), 3, date(2025, 11, 20)),
        (DAY, date(2025, 11, 24), 1, date(2025, 11, 24)),
        (DAY, date(2025, 11, 24), 2, date(2025, 11, 21)),
        (DAY, date(2025, 9, 2), 3, date(2025, 8, 28)),
        (DAY, date(2025, 11, 24), 1000, date(2021, 12, 1)),
        (WEEK, date(2025, 11, 10), 1, date(2025, 11, 10)),
        (WEEK, date(2025, 11, 10), 3, date(2025, 10, 27)),
        (MONTH, date(2025, 9, 1), 1, date(2025, 9, 1)),
        (MONTH, date(2025, 2, 1), 4, date(2024, 11, 1)),
    ],
)
def test_what_follows_the_last_stored_bar_is_wanted_with_an_overlap(
    frame: Timeframe, last: date | datetime, overlap: int, first: date
) -> None:
    assert wanted(frame, replace(RULES, overlap_bars=overlap), stored(last)).span == Span(first, TODAY)


def test_the_day_of_a_stored_minute_is_that_of_new_york() -> None:
    late = datetime(2025, 11, 25, 0, 30, tzinfo=UTC)  # 19:30 of the 24th
    extended = replace(RULES, hours="extended")
    basis = SeriesKind(True, "extended", "clock")
    want = plan_load(1, "AAPL", MINUTE, extended, basis, stored(late, kind=basis))
    assert isinstance(want, Want)
    assert want.span.first == date(2025, 11, 24)


def test_bars_stored_of_the_future_do_not_turn_the_range_around() -> None:
    assert wanted(DAY, replace(RULES, include_open=True), stored(date(2025, 12, 31))).span == Span(TODAY, TODAY)


@pytest.mark.parametrize(
    ("frame", "last"),
    [
        (MINUTE, et(TODAY, 15, 59)),
        (HOUR, et(TODAY, 15)),
        (DAY, TODAY),
        (WEEK, date(2025, 11, 17)),
        (MONTH, date(2025, 10, 1)),
    ],
)
@pytest.mark.parametrize("fetched_at", [NOW, None])
def test_nothing_is_wanted_when_no_newer_bar_has_closed(
    frame: Timeframe, last: date | datetime, fetched_at: datetime | None
) -> None:
    found = stored(last, fetched_at=fetched_at)
    assert planned(frame, RULES, found) == NothingToLoad(7, f"up to date with the bar of {last}")
    assert wanted(frame, replace(RULES, include_open=True), found).span.last == TODAY


def test_nothing_is_wanted_on_a_holiday_and_before_the_close() -> None:
    found = stored(TODAY)
    thanksgiving = datetime(2025, 11, 27, 20, tzinfo=EXCHANGE_ZONE)
    assert isinstance(planned(DAY, LoadRules(thanksgiving), found), NothingToLoad)
    assert isinstance(planned(DAY, LoadRules(et(date(2025, 11, 28), 12, 59)), found), NothingToLoad)
    assert isinstance(planned(DAY, LoadRules(et(date(2025, 11, 28), 13, 0)), found), Want)
    assert isinstance(planned(DAY, LoadRules(et(date(2025, 11, 28), 13, 0), grace_seconds=1), found), NothingToLoad)


@pytest.mark.parametrize(
    ("frame", "last", "opened", "closed"),
    [
        (HOUR, et(TODAY, 11), et(TODAY, 11, 30), et(TODAY, 12)),
        (DAY, TODAY, et(TODAY, 11), et(TODAY, 16)),
        (WEEK, date(2025, 11, 24), et(TODAY, 16), et(date(2025, 11, 28), 13)),
        (MONTH, date(2025, 11, 1), et(TODAY, 16), et(date(2025, 11, 28), 13)),
    ],
)
def test_a_bar_that_was_stored_open_is_asked_for_again_once_it_is_closed(
    frame: Timeframe, last: date | datetime, opened: datetime, closed: datetime
) -> None:
    found = stored(last, fetched_at=opened)
    assert isinstance(planned(frame, LoadRules(opened), found), NothingToLoad)
    assert isinstance(planned(frame, LoadRules(closed - timedelta(seconds=1)), found), NothingToLoad)
    assert isinstance(planned(frame, LoadRules(closed), found), Want)
    assert isinstance(planned(frame, LoadRules(closed), found._replace(fetched_at=closed)), NothingToLoad)
    settling = LoadRules(closed + timedelta(seconds=60), grace_seconds=60)
    assert isinstance(planned(frame, settling, found._replace(fetched_at=closed)), Want)
    assert isinstance(planned(frame, settling, found._replace(fetched_at=settling.now)), NothingToLoad)


def test_minutes_of_extended_hours_are_asked_for_again_since_nobody_knows_whether_more_have_come() -> None:
    rules, basis = replace(RULES, hours="extended"), SeriesKind(True, "extended", "clock")
    result = plan_load(1, "AAPL", MINUTE, rules, basis, stored(et(TODAY, 17, 30), kind=basis))
    assert isinstance(result, Want)
    assert result.span == Span(TODAY, TODAY)


SPLIT = Split("AAPL", date(2025, 11, 25), 1, 4)


@pytest.mark.parametrize("frame", TIMEFRAMES.values(), ids=lambda frame: frame.name)
def test_a_split_since_the_bars_were_adjusted_replaces_them_all(frame: Timeframe) -> None:
    found = stored(et(TODAY, 15, 59) if frame.intraday else TODAY)
    want = wanted(frame, RULES, found, [Split("AAPL", date(2025, 11, 21), 3, 2), SPLIT])
    assert want.span == Span(date(2025, 1, 2), TODAY)
    assert (want.replaces, want.last_split) == ("split 1 to 4 on 2025-11-25", date(2025, 11, 25))
    # A range that is named only widens it.
    named = replace(RULES, span=Span(date(2024, 6, 3), date(2024, 6, 7)))
    assert wanted(frame, named, found, [SPLIT]).span == Span(date(2024, 6, 3), TODAY)


def test_a_split_is_told_with_fractions_as_they_are() -> None:
    assert wanted(DAY, RULES, stored(TODAY), [Split("AAPL", TODAY, 1.5, 1)]).replaces == "split 1.5 to 1 on 2025-11-26"


@pytest.mark.parametrize(
    ("found", "splits"),
    [
        (stored(TODAY, adjusted_on=date(2025, 11, 26)), [SPLIT]),
        (stored(TODAY, adjusted_on=date(2025, 11, 25), last_split=date(2025, 11, 25)), [SPLIT]),
        (stored(TODAY, kind=None), [SPLIT]),
        (stored(TODAY, provider=None, kind=None, adjusted_on=None, fetched_at=None), [SPLIT]),
    ],
    ids=["before", "known", "other provider", "imported"],
)
def test_a_split_that_the_bars_contain_or_that_is_none_of_theirs_replaces_nothing(
    found: StoredSeries, splits: list[Split]
) -> None:
    assert isinstance(planned(DAY, RULES, found, splits), NothingToLoad)


def test_a_split_on_the_very_day_of_the_adjustment_replaces_once() -> None:
    found = stored(TODAY, adjusted_on=SPLIT.executed_on)
    want = wanted(DAY, RULES, found, [SPLIT])
    assert want.replaces is not None
    assert isinstance(planned(DAY, RULES, found._replace(last_split=want.last_split), [SPLIT]), NothingToLoad)


def test_splits_do_not_matter_to_bars_that_are_not_adjusted() -> None:
    basis = SeriesKind(None, "regular", "clock")
    assert isinstance(plan_load(1, "AAPL", DAY, RULES, basis, stored(TODAY, kind=basis), [SPLIT]), NothingToLoad)


def test_the_last_split_is_noted_with_the_first_bars_and_kept_with_later_ones() -> None:
    assert wanted(DAY, RULES, None, [SPLIT]).last_split == SPLIT.executed_on
    assert wanted(DAY, RULES, None).last_split is None
    found = stored(date(2025, 11, 21), last_split=date(2024, 6, 10))
    assert wanted(DAY, RULES, found).last_split == date(2024, 6, 10)


@pytest.mark.parametrize(
    ("frame", "basis", "reason"),
    [
        (DAY, SeriesKind(False, "regular", "clock"), "adjusted was False"),
        (DAY, SeriesKind(None, "regular", "clock"), "adjusted was None"),
        (MINUTE, SeriesKind(True, "extended", "clock"), "hours were extended"),
        (HOUR, SeriesKind(True, "extended", "open"), "hours were extended"),
        (HOUR, SeriesKind(True, "regular", "open"), "hours were anchored at the open"),
        (MINUTE, SeriesKind(True, "regular", "open"), None),
        (DAY, SeriesKind(True, "extended", "open"), None),
        (WEEK, SeriesKind(True, "extended", "open"), None),
    ],
)
def test_bars_of_another_series_are_replaced_with_the_reason(
    frame: Timeframe, basis: SeriesKind, reason: str | None
) -> None:
    last: date | datetime = et(date(2025, 11, 25), 15, 59) if frame.intraday else date(2025, 11, 10)
    want = wanted(frame, RULES, stored(last, kind=basis, last_split=date(2024, 6, 10)))
    assert (want.replaces, want.last_split) == (reason, date(2024, 6, 10))
    assert want.span.first == (date(2025, 1, 2) if reason else wanted(frame, RULES, stored(last)).span.first)


def test_bars_of_another_provider_are_gone_on_from_and_not_replaced() -> None:
    # load_batch gives no basis for what another provider loaded.
    found = stored(date(2025, 11, 24), provider="csv", kind=None)
    want = wanted(DAY, RULES, found)
    assert (want.span, want.replaces) == (Span(date(2025, 11, 24), TODAY), None)


def test_gaps_are_the_closed_bars_of_sessions_that_are_not_stored() -> None:
    rules = replace(RULES, only_gaps=True)
    found = stored(TODAY, first=date(2025, 11, 10))
    expected = rules.expected(DAY, Span(date(2025, 11, 10), TODAY))
    present = np.delete(expected, [3, 5])
    result = planned(DAY, rules, found, present=present)
    assert isinstance(result, Want)
    assert result.only is not None
    assert result.only.tolist() == expected[[3, 5]].tolist()
    assert result.span == Span(date(2025, 11, 13), date(2025, 11, 17))
    assert planned(DAY, rules, found, present=expected) == NothingToLoad(7, "no gap from 2025-11-10 to 2025-11-26")


def test_gaps_of_minutes_and_hours_are_looked_for_on_their_days() -> None:
    span = Span(date(2025, 11, 24), TODAY)
    rules = replace(RULES, only_gaps=True, span=span)
    for frame, count in ((MINUTE, 390), (HOUR, 7)):
        expected = rules.expected(frame, span)
        assert len(expected) == 3 * count
        result = planned(frame, rules, stored(et(TODAY, 15, 59)), present=np.delete(expected, count))
        assert isinstance(result, Want)
        assert result.span == Span(date(2025, 11, 25), date(2025, 11, 25))
        assert result.only is not None
        assert result.only.tolist() == [expected[count]]


def test_of_a_symbol_without_bars_everything_is_a_gap_but_not_what_is_open() -> None:
    rules = LoadRules(et(TODAY, 11), only_gaps=True, years=0.02)
    result = planned(DAY, rules, None)
    assert isinstance(result, Want)
    assert result.only is not None
    assert moment_of(DAY, int(result.only[-1])) == date(2025, 11, 25)
    assert len(result.only) == 5


def test_a_split_replaces_everything_also_where_only_gaps_are_wanted() -> None:
    want = wanted(DAY, replace(RULES, only_gaps=True), stored(TODAY), [SPLIT])
    assert (want.replaces, want.only) == ("split 1 to 4 on 2025-11-25", None)
