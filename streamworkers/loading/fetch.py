"""Runs one fetch, from its first page to bars that are ready for their tables: filtered, aggregated, counted."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np

from streamworkers.loading.absence import is_absent
from streamworkers.loading.bar_checks import check_bars
from streamworkers.loading.checkpoints import CheckpointPage, CheckpointPages
from streamworkers.loading.fetch_plan import Fetch
from streamworkers.loading.load_rules import LoadRules
from streamworkers.loading.plan import Want
from streamworkers.loading.providers.provider import Listing, Provider, ProviderError, UnlikeAnswersError
from streamworkers.loading.spool import BarSpool, pack_small, unpack_small
from streamworkers.market.bars.aggregate import Aggregator
from streamworkers.market.bars.bars import Bars, Mask, Starts, is_among, time_unit
from streamworkers.market.calendar.windows import Windows, bounds_of, whole_windows

_DETAIL_CHARACTERS = 200
_EVER = 2**62


class StoppedError(ProviderError):
    """The fetch was stopped between two pages; the pages so far are kept."""


@dataclass(slots=True)
class Loaded:
    """The bars that a fetch has for one want.

    `rejected` counts the bars that broke a rule, by rule, with one `example`. `off_session` is the number of day bars
    on days without a session, `missing` the number of expected closed bars that the provider did not send. `newest` is
    the start of the last fetched bar. `unsent` are the starts of the missing bars, which are `absent` if the provider
    has answered twice that it has none. `listing` explains why others are not there.
    """

    want: Want
    spool: BarSpool = field(default_factory=BarSpool)
    rejected: Counter[str] = field(default_factory=Counter)
    example: str | None = None
    off_session: int = 0
    missing: int = 0
    newest: int | None = None
    unsent: Starts = field(default_factory=lambda: np.zeros(0, np.int64))
    absent: bool = False
    listing: Listing | None = None


class _Filter:
    """Selects the bars of one want from the fetched ones, aggregated to its timeframe.

    What is expected is compared part by part, up to the last bar of each page: as a whole it may be large.
    """

    def __init__(self, want: Want, fetch: Fetch, windows: Windows, rules: LoadRules) -> None:
        self.loaded = Loaded(want)
        rules = want.rules(rules)
        span = fetch.span_of(want)
        self._later = rules.expected_parts(want.timeframe, span) if want.only is None else iter([want.only])
        self._ahead: Starts = np.zeros(0, np.int64)
        self._unsent: list[Starts] = []
        self._windows, self._rules = windows, rules
        frame = want.timeframe
        self._wide: Aggregator | None = None
        if frame.name != fetch.request.timeframe.name:
            self._wide = Aggregator(lambda starts: windows.window_of(frame, starts))
        self._bounds = bounds_of(frame, *whole_windows(frame, span.first, span.last))

    def take(self, bars: Bars, now: datetime) -> None:
        """Process the next bars of the provider, whose clock says `now`: what is open there is open."""
        if now < self._rules.now:
            self._rules = replace(self._rules, now=now)
        self._keep(bars if self._wide is None else self._wide.add(bars))

    def finish(self) -> Loaded:
        """Return the result, after the last bar."""
        if self._wide is not None:
            self._keep(self._wide.finish())
        self._compare(self._ahead[:0], _EVER)
        self.loaded.unsent = np.concatenate([self.loaded.unsent, *self._unsent])
        self.loaded.missing = len(self.loaded.unsent)
        return self.loaded

    def _keep(self, bars: Bars) -> None:
        if not len(bars):
            return
        kept: Mask = (bars.starts >= self._bounds[0]) & (bars.starts < self._bounds[1])
        if self.loaded.want.only is not None:
            kept &= is_among(bars.starts, self.loaded.want.only)
        kept &= self._rules.closed(self._windows, self.loaded.want.timeframe, bars.starts)
        bars = bars.where(kept)
        if len(bars):
            self._compare(bars.starts, int(bars.starts[-1]))
        self.loaded.spool.add(bars)

    def _compare(self, present: Starts, through: int) -> None:
        """Note which of the expected bars up to a start are not among those that are present since the last call."""
        while True:
            cut = int(np.searchsorted(self._ahead, through, side="right"))
            part, self._ahead = self._ahead[:cut], self._ahead[cut:]
            unsent = part[~is_among(part, present)]
            absent = self.loaded.want.absent
            self._unsent.append(unsent[~is_absent(unsent, absent)] if absent else unsent)
            if len(self._ahead) or (more := next(self._later, None)) is None:
                return
            self._ahead = more


def run_fetch(
    fetch: Fetch,
    provider: Provider,
    rules: LoadRules,
    checkpoint: Collection[CheckpointPage],
    should_stop: Callable[[], bool],
    keep: Callable[[CheckpointPages], None],
    confirm: Callable[[list[Loaded]], None] = lambda _: None,
) -> list[Loaded]:
    """Fetch all pages of a request and select the bars of each want. Runs in a thread.

    `checkpoint` holds the pages that an earlier call fetched. If the provider fails or has to be waited for, or if
    `should_stop` returns true between two pages, passes all pages so far to `keep` and raises the error. So it does if
    `confirm`, which gets the results, raises one.
    """
    frame = fetch.request.timeframe
    windows = rules.windows(fetch.request.first, fetch.request.last)
    filters = [_Filter(want, fetch, windows, rules) for want in fetch.wants]
    raw = BarSpool()
    kept: list[CheckpointPage] = []
    off_session, newest = 0, None
    try:
        for bars, page in _read_pages(fetch, provider, checkpoint):
            raw.add(bars)
            kept.append(page)
            belongs = windows.belongs(frame, bars.starts)
            newest = int(bars.starts[-1]) if len(bars) else newest
            off_session += int(np.count_nonzero(~belongs))
            for one in filters:
                one.take(bars.where(belongs), provider.now())
            if page.cursor and len(kept) >= len(checkpoint) and should_stop():
                raise StoppedError(f"stopped after {len(kept)} pages")
        results = [one.finish() for one in filters]
        rejected = [one for page in kept for one in page.rejected]
        for loaded in results:
            loaded.newest = newest
            loaded.rejected.update(rule for rule, _ in rejected)
            loaded.example = rejected[0][1] if rejected else None
            loaded.off_session = 0 if frame.intraday else off_session
        confirm(results)
    except BaseException as error:
        if isinstance(error, ProviderError) and not isinstance(error, UnlikeAnswersError):
            keep(CheckpointPages(page._replace(packed=pack_small(bars)) for page, bars in zip(kept, raw, strict=True)))
        for one in filters:
            one.loaded.spool.close()
        raise
    finally:
        raw.close()
    return results


def _read_pages(
    fetch: Fetch, provider: Provider, checkpoint: Collection[CheckpointPage]
) -> Iterator[tuple[Bars, CheckpointPage]]:
    """Yield the pages of the checkpoint, then those after them from the provider."""
    cursor, after = None, None
    for page in checkpoint:
        cursor = page.cursor
        kept = unpack_small(page.packed, time_unit(fetch.request.timeframe))
        after = int(kept.starts[-1]) if len(kept) else after
        yield kept, page
    if checkpoint and cursor is None:
        return
    for fetched in provider.pages(fetch.asked, cursor):
        bars, odd = check_bars(fetch.asked, fetched.bars, after)
        after = int(bars.starts[-1]) if len(bars) else after
        rejected = [(str(one.rule), one.detail[:_DETAIL_CHARACTERS]) for one in (*fetched.rejected, *odd)]
        yield bars, CheckpointPage(b"", fetched.cursor, rejected)
