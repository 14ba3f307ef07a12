"""The provider `massive` over real HTTP: its bars are the truth of the fake market, page by page."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from massive_source import (
    DAY,
    FIRST,
    HOUR,
    LAST,
    MINUTE,
    MONTH,
    NOW,
    WEEK,
    asked,
    bars_of,
    provider,
    require_same,
    rules,
    run,
    want,
)
from streamworkers.loading.checkpoints import CheckpointPage
from streamworkers.loading.fetch import Loaded, StoppedError
from streamworkers.loading.fetch_plan import Fetch
from streamworkers.loading.providers.provider import (
    BarsRequest,
    TransientError,
)
from streamworkers.loading.spool import pack_small
from streamworkers.market.bars.bars import NO_BARS, Bars, concat
from streamworkers.market.calendar.timeframes import TIMEFRAMES, Timeframe
from streamworkers.market.calendar.windows import days_since_epoch
from streamworkers_fakes.massive import (
    FakeBars,
    RunningFakeMassive,
)


def dates_of(truth: FakeBars, shift: int = 0) -> list[int]:
    return [day + shift for day in (truth.start_ms // 86_400_000).tolist()]


@pytest.mark.parametrize("symbol", ["AAPL", "BRK.B"])
def test_the_bars_of_every_timeframe_are_those_of_the_market(server: RunningFakeMassive, symbol: str) -> None:
    market, now = server.market, {"now": NOW, "adjusted": True}
    days = [FIRST + timedelta(days=number) for number in range(5)]
    with provider(server.url) as source:
        found = {name: list(source.pages(asked(frame, symbol))) for name, frame in TIMEFRAMES.items()}
    assert [one.rejected for pages in found.values() for one in pages] == [[]] * 5
    got = {name: bars_of(pages) for name, pages in found.items()}
    minutes = [market.minutes(symbol, day, now=NOW, adjusted=True) for day in days]
    hours = [market.hours(symbol, day, now=NOW, adjusted=True) for day in days]
    for name, parts in (("1min", minutes), ("hour", hours)):
        for column, truth in (("starts", "start_ms"), ("open", "open"), ("high", "high"), ("close", "close")):
            expected = np.concatenate([getattr(part, truth) for part in parts])
            assert np.array_equal(getattr(got[name], column), expected)
    daily = market.days(symbol, FIRST, LAST, now=NOW, adjusted=True)
    require_same(got["day"], daily, dates_of(daily))
    weekly = market.weeks(symbol, FIRST, LAST, **now)  # type: ignore[arg-type]
    require_same(got["week"], weekly, dates_of(weekly, 1))
    assert got["week"].starts.tolist() == [days_since_epoch(FIRST)]
    monthly = market.months(symbol, date(2025, 11, 1), date(2025, 11, 30), now=NOW, adjusted=True)
    require_same(got["month"], monthly, dates_of(monthly))


def test_weeks_of_daylight_saving_changes_and_holidays_bear_their_monday(server: RunningFakeMassive) -> None:
    mondays = [date(2025, 3, 10), date(2025, 9, 1), date(2025, 11, 3)]
    with provider(server.url) as source:
        for monday in mondays:
            bars = bars_of(list(source.pages(asked(WEEK, first=monday, last=monday))))
            assert bars.starts.tolist() == [days_since_epoch(monday)]
            days = bars_of(list(source.pages(asked(DAY, first=monday, last=monday + timedelta(days=6)))))
            assert len(days) == (4 if monday == date(2025, 9, 1) else 5)
            assert bars.volume.tolist() == [days.volume.sum()]


def test_a_symbol_without_bars_gets_an_empty_page(server: RunningFakeMassive) -> None:
    with provider(server.url) as source:
        (page,) = source.pages(asked(symbol="NONE"))
    assert (len(page.bars), page.rejected, page.cursor) == (0, [], None)


@pytest.mark.parametrize("symbol", ["BRK.B", "X:BTC", "A/B", "A?B", "A#B", "A%42", "Ä", "A+B", "A&B"])
def test_any_symbol_reaches_the_api_as_it_is(server: RunningFakeMassive, symbol: str) -> None:
    with provider(server.url) as source:
        assert len(bars_of(list(source.pages(asked(symbol=symbol))))) == 4
    assert [call.ticker for call in server.calls] == [symbol]


def test_a_slash_at_the_end_of_the_base_url_changes_nothing(server: RunningFakeMassive) -> None:
    with provider(f"{server.url}/", massive_page_limit=500) as source:
        assert len(list(source.pages(asked(MINUTE)))) > 1
    assert all(call.path.startswith("/v2/aggs/") for call in server.calls)


@pytest.mark.parametrize(("frame", "limit"), [(MINUTE, 500), (MINUTE, 1000), (HOUR, 500), (DAY, 100)])
def test_small_pages_give_the_same_bars_and_any_cursor_goes_on_where_it_ended(
    server: RunningFakeMassive, frame: Timeframe, limit: int
) -> None:
    question = asked(frame, first=date(2025, 5, 1) if frame is DAY else FIRST)
    with provider(server.url) as source:
        (whole,) = source.pages(question)
    with provider(server.url, massive_page_limit=limit) as source:
        pages = list(source.pages(question))
        assert len(pages) > 1
        assert bars_of(pages).pack() == whole.bars.pack()
        assert [page.cursor is None for page in pages] == [False] * (len(pages) - 1) + [True]
        for place, page in enumerate(pages[:-1]):
            assert page.cursor is not None
            assert page.cursor.startswith("/v2/aggs/")
            rest = list(source.pages(question, page.cursor))
            assert bars_of(pages[: place + 1] + rest).pack() == whole.bars.pack()


def loaded_bars(loaded: Loaded) -> Bars:
    return concat([NO_BARS, *loaded.spool])


def test_hours_weeks_and_months_made_of_narrower_bars_equal_those_of_the_api(server: RunningFakeMassive) -> None:
    first, last = date(2025, 10, 27), date(2025, 12, 5)
    minutes = Fetch(BarsRequest("AAPL", MINUTE, FIRST, LAST), (want(MINUTE), want(HOUR, 1)))
    days = Fetch(
        BarsRequest("AAPL", DAY, date(2025, 10, 1), date(2025, 12, 5)),
        (want(WEEK, 0, first, last), want(MONTH, 1, date(2025, 10, 1), date(2025, 11, 30))),
    )
    with provider(server.url, massive_page_limit=500) as source:
        _, hour = run(source, minutes, rules())
        week, month = run(source, days, rules())
        own_hours = bars_of(list(source.pages(asked(HOUR))))
        own_weeks = bars_of(list(source.pages(asked(WEEK, first=first, last=last))))
        own_months = bars_of(list(source.pages(asked(MONTH, first=date(2025, 10, 1), last=date(2025, 11, 30)))))
    assert loaded_bars(hour).pack() == own_hours.pack()
    assert loaded_bars(week).pack() == own_weeks.pack()
    assert loaded_bars(month).pack() == own_months.pack()
    assert len(own_hours) > 4 * 7
    assert [len(own_weeks), len(own_months)] == [6, 2]


def test_regular_hours_are_made_of_the_minutes_of_the_session_alone(server: RunningFakeMassive) -> None:
    fetch = Fetch(asked(MINUTE), (want(MINUTE), want(HOUR, 1)))
    with provider(server.url) as source:
        minute, hour = run(source, fetch, rules(hours="regular"))
        _, anchored = run(source, fetch, rules(hours="regular", hour_anchor="open"))
        days = bars_of(list(source.pages(asked())))
    assert [one.spool.count for one in (minute, hour, anchored)] == [3 * 390 + 210, 3 * 7 + 4, 3 * 7 + 4]
    assert [one.missing for one in (minute, hour, anchored)] == [0, 0, 0]
    minutes, hours = loaded_bars(minute), loaded_bars(hour)
    firsts = [0, 7, 14, 21]
    assert hours.open[firsts].tolist() == days.open.tolist()  # the API's days are of the regular session
    assert np.maximum.reduceat(hours.high, firsts).tolist() == days.high.tolist()
    assert np.minimum.reduceat(hours.low, firsts).tolist() == days.low.tolist()
    assert hours.volume.sum() == minutes.volume.sum()
    assert loaded_bars(anchored).open[firsts].tolist() == days.open.tolist()


def test_bars_that_are_still_open_are_left_out_unless_they_are_wanted(server: RunningFakeMassive) -> None:
    try:
        server.set_now(datetime(2025, 11, 28, 16, 30, tzinfo=UTC))  # 11:30, in the session of the half day
        fetch = Fetch(asked(), (want(DAY), want(WEEK, 1)))
        with provider(server.url) as source:
            closed = run(source, fetch, rules(now=server.fake.now()))
            everything = run(source, fetch, rules(now=server.fake.now(), include_open=True))
    finally:
        server.set_now(NOW)
    assert [(one.spool.count, one.missing) for one in closed] == [(3, 0), (0, 0)]
    assert [(one.spool.count, one.missing) for one in everything] == [(4, 0), (1, 0)]


def test_a_fetch_that_fails_between_pages_keeps_what_it_has_and_goes_on_from_there(server: RunningFakeMassive) -> None:
    fetch = Fetch(asked(MINUTE), (want(MINUTE), want(HOUR, 1)))
    kept: list[CheckpointPage] = []
    with provider(server.url, massive_page_limit=700) as source:
        whole = [loaded_bars(one).pack() for one in run(source, fetch, rules())]
        third = server.calls[2].path
        server.misbehave("server_error", 503, path=third, calls=1)
        with pytest.raises(TransientError):
            run(source, fetch, rules(), keep=kept.extend)
        assert [page.cursor is not None for page in kept] == [True, True]
        server.forget_calls()
        resumed = run(source, fetch, rules(), kept)
        assert server.calls[0].path == third
        assert [loaded_bars(one).pack() for one in resumed] == whole


def test_a_fetch_is_stopped_between_two_pages_and_loses_none_that_was_kept(server: RunningFakeMassive) -> None:
    fetch = Fetch(asked(MINUTE), (want(MINUTE),))
    with provider(server.url, massive_page_limit=700) as source:
        (whole,) = run(source, fetch, rules())
        pages = len(server.calls)
        for count in range(1, pages):
            answers = iter([False] * (count - 1) + [True])
            kept: list[CheckpointPage] = []
            with pytest.raises(StoppedError, match=rf"^stopped after {count} pages$"):
                run(source, fetch, rules(), (), answers.__next__, kept.extend)
            server.forget_calls()
            again: list[CheckpointPage] = []
            with pytest.raises(StoppedError, match=rf"^stopped after {count} pages$"):
                run(source, fetch, rules(), kept, lambda: True, again.extend)
            assert (again, server.calls) == (kept, [])
        (loaded,) = run(source, fetch, rules(), kept)
        assert len(server.calls) == 1
    assert pages > 3
    assert loaded_bars(loaded).pack() == loaded_bars(whole).pack()


def test_an_answer_that_was_kept_whole_needs_no_call(server: RunningFakeMassive) -> None:
    fetch = Fetch(asked(), (want(DAY),))
    with provider(server.url) as source:
        (page,) = source.pages(asked())
        server.forget_calls()
        (loaded,) = run(source, fetch, rules(), [CheckpointPage(pack_small(page.bars))])
    assert (loaded_bars(loaded).pack(), server.calls) == (page.bars.pack(), [])


def test_rejected_bars_of_kept_pages_are_counted_once_with_those_that_follow(server: RunningFakeMassive) -> None:
    fetch = Fetch(asked(MINUTE), (want(MINUTE),))
    kept: list[CheckpointPage] = []
    answers = iter([False, True])
    server.misbehave("high_below_low", calls=3)
    with provider(server.url, massive_page_limit=700) as source:
        with pytest.raises(StoppedError):
            run(source, fetch, rules(), (), answers.__next__, kept.extend)
        (loaded,) = run(source, fetch, rules(), kept)
    assert loaded.rejected == {"high_too_low": 3}
    assert loaded.example is not None
    assert " is below " in loaded.example
