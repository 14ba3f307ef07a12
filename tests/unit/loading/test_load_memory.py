"""What a load holds in memory does not grow with its range: of twenty years of minutes it is a few pages."""

import tracemalloc
from collections.abc import Callable, Iterator
from datetime import date, datetime
from itertools import count
from typing import Any

import numpy as np
import pytest

from streamworkers.config import Settings
from streamworkers.loading.absence import find_ranges
from streamworkers.loading.checkpoints import CheckpointPage, CheckpointPages
from streamworkers.loading.fetch import Loaded, StoppedError, run_fetch
from streamworkers.loading.fetch_plan import Fetch, plan_fetches
from streamworkers.loading.load_rules import LoadRules, Span
from streamworkers.loading.plan import Want
from streamworkers.loading.providers.provider import BarsRequest, Page, Provider
from streamworkers.market.bars.bars import Bars
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE, TIMEFRAMES

MB = 1 << 20
PAGE = 50_000
MINUTE, HOUR = TIMEFRAMES["1min"], TIMEFRAMES["hour"]
RULES = LoadRules(now=datetime(2025, 11, 28, 20, tzinfo=EXCHANGE_ZONE))
TWENTY = Span(date(2005, 11, 25), date(2025, 11, 25))


class Minutes(Provider):
    """Has a bar of each minute of the sessions since a day."""

    native = frozenset({"1min"})
    since = date(2000, 1, 1)

    def pages(self, request: BarsRequest, cursor: str | None = None) -> Iterator[Page]:
        del cursor
        first = max(request.first, self.since)
        for part in RULES.expected_parts(MINUTE, Span(first, request.last)):
            for begin in range(0, len(part), PAGE):
                starts = part[begin : begin + PAGE]
                price = np.full(len(starts), 10.0)
                bars = Bars(starts.view("datetime64[ms]"), price, price, price, price, np.ones(len(starts), np.int64))
                yield Page(bars, [], "more" if starts[-1] < self.newest(request) else None)

    def newest(self, request: BarsRequest) -> int:
        """The start of the last bar of an answer."""
        return int(RULES.expected(MINUTE, Span(request.last, request.last))[-1])


def fetch_of(span: Span, **words: Any) -> Fetch:
    (fetch,) = plan_fetches([Want(0, "AAPL", MINUTE, span, **words), Want(1, "AAPL", HOUR, span)], Minutes, RULES)
    return fetch


def peak_of(work: Callable[[], Any]) -> float:
    """The most memory, in MB, that a call needs beside what was there before it."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1] / MB
    finally:
        tracemalloc.stop()


def load(fetch: Fetch, provider: Provider, pages: CheckpointPages | None = None) -> list[Loaded]:
    return run_fetch(fetch, provider, RULES, pages or (), lambda: False, lambda _: None)


def test_twenty_years_of_minutes_take_the_memory_of_a_few_pages() -> None:
    provider = Minutes(Settings())
    RULES.windows(TWENTY.first, TWENTY.last)
    # They are 90 MB as bars, and what is expected is 16 MB; pages and the parts that are kept for other symbols are 14.
    assert peak_of(lambda: load(fetch_of(TWENTY), provider)) < 24


def test_a_series_that_is_stopped_and_goes_on_is_on_disk_meanwhile() -> None:
    provider = Minutes(Settings())
    kept: list[CheckpointPages] = []
    pages = count(1)
    with pytest.raises(StoppedError):
        run_fetch(fetch_of(TWENTY), provider, RULES, (), lambda: next(pages) == 40, kept.append)
    (staged,) = kept
    assert len(staged) == 40

    def read() -> None:
        for number, page in enumerate(staged):
            assert len(page.packed) > 1000
            assert page.cursor == "more", number

    assert peak_of(read) < 2
    assert peak_of(lambda: CheckpointPages(staged)) < 2


def test_kept_pages_are_those_that_were_put_in() -> None:
    pages = [CheckpointPage(bytes([number]) * number * 30_000, f"c{number}", [("rule", "text")]) for number in range(4)]
    kept = CheckpointPages(pages)
    assert [list(kept), list(kept), len(kept)] == [pages, pages, 4]
    assert pages[2] in kept
    assert CheckpointPage(b"other") not in kept
    kept.append(pages[0])
    assert list(kept) == [*pages, pages[0]]


def test_what_is_not_sent_is_found_in_the_same_places_however_many_years_they_are() -> None:
    provider = Minutes(Settings())
    provider.since = date(2024, 3, 5)
    fetch = fetch_of(TWENTY, absent=((0, int(RULES.expected(MINUTE, Span(date(2010, 1, 4), date(2010, 1, 4)))[-1])),))
    minute, hour = load(fetch, provider)
    whole = RULES.expected(MINUTE, TWENTY)
    first = int(RULES.expected(MINUTE, Span(provider.since, provider.since))[0])
    late = whole[(whole >= first)]
    assert (minute.spool.count, minute.spool.first) == (len(late), first)
    assert minute.unsent.tolist() == RULES.expected(MINUTE, Span(date(2010, 1, 5), date(2024, 3, 4))).tolist()
    assert hour.unsent.tolist() == RULES.expected(HOUR, Span(TWENTY.first, date(2024, 3, 4))).tolist()
    (one,) = find_ranges("AAPL", RULES.expected_parts(MINUTE, TWENTY), minute.unsent, "massive")
    assert (one.first, one.last, one.bars) == (int(minute.unsent[0]), int(minute.unsent[-1]), len(minute.unsent))


def test_ranges_of_missing_bars_go_on_from_part_to_part_and_only_there() -> None:
    parts = [np.array(part, np.int64) for part in ([1, 2, 3], [], [4, 5, 6], [7, 8], [9])]
    for missing, expected in (
        ([3, 4], [(3, 4, 2)]),
        ([2, 4, 6, 7, 8, 9], [(2, 2, 1), (4, 4, 1), (6, 9, 4)]),
        (range(1, 10), [(1, 9, 9)]),
        ([], []),
        ([1, 3, 5, 8], [(1, 1, 1), (3, 3, 1), (5, 5, 1), (8, 8, 1)]),
    ):
        found = find_ranges("AAPL", parts, np.array(missing, np.int64), "massive")
        assert [(one.first, one.last, one.bars) for one in found] == expected


def test_too_many_ranges_are_no_absence() -> None:
    odd = np.arange(1, 12_000, 2, dtype=np.int64)
    assert find_ranges("AAPL", np.array_split(np.arange(12_000), 7), odd, "massive") == []
    assert len(find_ranges("AAPL", np.array_split(np.arange(12_000), 7), odd[:5000], "massive")) == 5000
