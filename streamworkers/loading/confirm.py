"""Asks a second time for what an answer left out: it may be cut, or the provider has no such bars."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, datetime

from streamworkers.loading.absence import is_absent
from streamworkers.loading.fetch import Loaded, run_fetch
from streamworkers.loading.fetch_plan import Fetch
from streamworkers.loading.listings import Listings, list_unlisted
from streamworkers.loading.load_rules import LoadRules, Span
from streamworkers.loading.newest_day import find_newest_session
from streamworkers.loading.plan import Want
from streamworkers.loading.providers.provider import BarsRequest, Provider, UnlikeAnswersError
from streamworkers.loading.purpose import Purpose, calling_for
from streamworkers.market.bars.bars import Starts
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE, Timeframe
from streamworkers.market.calendar.windows import days_since_epoch, moment_of, start_of, whole_windows

EDGE = 5  # so many bars may be missing at the begin or the end of a series without a question why
MOST_UNCONFIRMED = 0.05  # the share of intraday bars that may be missing without a second question


def explain_absence(results: Sequence[Loaded], rules: LoadRules, listings: Listings) -> None:
    """Leave out of what was not sent the bars before and after the listing of the symbol."""
    for loaded in results:
        want, unsent, spool = loaded.want, loaded.unsent, loaded.spool
        if want.is_open or rules.include_open or loaded.rejected or not len(unsent):
            continue
        first, last = (spool.first, spool.last) if spool.count else (None, None)
        early = 0 if first is None else int((unsent < first).sum())
        late = 0 if last is None else int((unsent > last).sum())
        if first is not None and max(early, late) < EDGE:
            continue
        begin = None if first is None or not early else _to_date(moment_of(want.timeframe, first))
        listing = listings.find(want.symbol, begin)
        if listing is None:
            continue
        loaded.listing = listing
        loaded.unsent = unsent[~is_absent(unsent, list_unlisted(listing, want.timeframe))]
        loaded.missing = len(loaded.unsent)


def confirm_absence(
    fetch: Fetch, provider: Provider, rules: LoadRules, results: Sequence[Loaded], should_stop: Callable[[], bool]
) -> None:
    """Mark as absent what the provider does not send when it is asked a second time either.

    Bars of the newest session are not asked for again: they may come later. Raises UnlikeAnswersError if the second
    answer has bars that the first one left out, and what the provider raises.
    """
    wants = [want for loaded in results if (want := _second(fetch, loaded, rules)) is not None]
    if not wants:
        return
    spans = [whole_windows(want.timeframe, want.span.first, want.span.last) for want in wants]
    first = max(min(span[0] for span in spans), fetch.asked.first)
    last = min(max(span[1] for span in spans), fetch.request.last)
    request = BarsRequest(fetch.request.symbol, fetch.request.timeframe, first, max(first, last))
    again = Fetch(request, tuple(wants), fetch.begin)
    with calling_for(Purpose.CONFIRM):
        found = run_fetch(again, provider, rules, (), should_stop, lambda _: None)
    more = sum(loaded.spool.count for loaded in found)
    for loaded in found:
        loaded.spool.close()
    if more:
        raise UnlikeAnswersError(
            f"two answers disagree: the first one left out {more} {fetch.request.timeframe.name} bars of"
            f" {fetch.request.symbol} that the second one has"
        )
    if any(loaded.rejected for loaded in found):
        return  # they are there, and bad
    asked = {want.number for want in wants}
    for loaded in results:
        loaded.absent = loaded.want.number in asked


def _second(fetch: Fetch, loaded: Loaded, rules: LoadRules) -> Want | None:
    """Return the want of a second question, None if there is nothing to ask."""
    want, unsent = loaded.want, loaded.unsent
    # A symbol of which there is nothing at all fails, unless it is known and its gaps are to be filled. What was
    # rejected is there, and was rejected for what stands beside it.
    is_known = loaded.spool.count or want.only is not None
    if want.is_open or rules.include_open or loaded.rejected or not is_known:
        return None
    day = find_newest_session(rules, fetch.request.last)
    if day is not None:
        unsent = unsent[unsent < _limit(want.timeframe, day)]
        loaded.unsent = unsent
    total = loaded.spool.count + len(unsent)
    if not len(unsent) or (want.timeframe.intraday and len(unsent) < MOST_UNCONFIRMED * total):
        return None
    first, last = (_date(want.timeframe, unsent, place) for place in (0, -1))
    return replace(want, only=unsent, absent=(), span=Span(first, last))


def _limit(timeframe: Timeframe, day: date) -> int:
    if not timeframe.intraday:
        first = whole_windows(timeframe, day, day)[0]
        return days_since_epoch(first)
    return start_of(datetime(day.year, day.month, day.day, tzinfo=EXCHANGE_ZONE))


def _date(timeframe: Timeframe, starts: Starts, place: int) -> date:
    return _to_date(moment_of(timeframe, int(starts[place])))


def _to_date(moment: date | datetime) -> date:
    return moment.astimezone(EXCHANGE_ZONE).date() if isinstance(moment, datetime) else moment
