"""Turns the bars that a fetch has for an item into the item's outcome."""

from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

import numpy as np

from streamworkers.engine.outcome import Completed, Failed, Item, Outcome
from streamworkers.errors import BadInputError, PermanentError, StopRunError
from streamworkers.loading.absence import find_ranges
from streamworkers.loading.fetch import Loaded
from streamworkers.loading.fetch_plan import Fetch
from streamworkers.loading.load_rules import LoadRules
from streamworkers.loading.plan import Want
from streamworkers.loading.provenance import SeriesKind, SeriesSource, StoredSeries
from streamworkers.loading.providers.provider import Listing, Provider
from streamworkers.loading.spool import BarSpool
from streamworkers.loading.store import BarsToSave
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE
from streamworkers.market.calendar.windows import bound_of, moment_of, start_of


@dataclass(frozen=True, slots=True)
class LoadFacts:
    """What the outcomes of a batch have in common; `splits_unknown` if the provider's splits could not be read."""

    run_id: int
    begun_at: datetime
    provider: Provider
    rules: LoadRules
    splits_unknown: bool

    @property
    def kind(self) -> SeriesKind:
        """The kind of series that the batch loads."""
        return SeriesKind(self.provider.adjusted, self.rules.hours, self.rules.hour_anchor)


def complete_item(item: Item, loaded: Loaded, fetch: Fetch, found: StoredSeries | None, facts: LoadFacts) -> Outcome:
    """Return the bars of an item with its result, or a failure if it has none where sessions have some.

    `found` is what was stored when the load was planned.
    """
    want, spool = loaded.want, loaded.spool
    if not spool.count and loaded.missing and not loaded.absent:
        return _fail_without_bars(item, loaded, facts.provider)
    replaces = _find_replaced(want, spool, found, facts) if want.replaces else None
    result = {name: value for name, value in _describe(loaded, fetch, facts).items() if value}
    source = _describe_source(want, spool, found, facts)
    absent = []
    if loaded.absent:
        expected = facts.rules.expected_parts(want.timeframe, want.span)
        absent = find_ranges(want.symbol, expected, loaded.unsent, facts.provider.name)
    return Completed(
        item,
        BarsToSave(want.timeframe, spool, source, replaces, fetch.key, want.factor, absent, loaded.listing),
        {"bars": spool.count, **result},
    )


def _describe(loaded: Loaded, fetch: Fetch, facts: LoadFacts) -> dict[str, Any]:
    """Return what the result of an item says beside the number of bars; what is empty is left out."""
    want, spool = loaded.want, loaded.spool
    is_clipped = fetch.span_of(want) != want.span
    first, last = ("" if at is None else _show(moment_of(want.timeframe, at)) for at in (spool.first, spool.last))
    why = f"no {want.timeframe.name} from {want.span.first} to {want.span.last} has closed"
    if loaded.absent:
        why = f"{facts.provider.name} has none of these bars"
    listing = loaded.listing
    if listing is not None and not spool.count:
        why = _describe_listing(listing)
    if is_clipped:
        why = f"the plan of the key has no whole {want.timeframe.name} of this range"
    return {
        "first": first,
        "last": last,
        "made_of": fetch.request.timeframe.name if fetch.request.timeframe != want.timeframe else None,
        "open": last if spool.last is not None and _is_open(want, spool.last, facts.rules) else None,
        "why": None if spool.count else why,
        "history_from": _show(fetch.asked.first) if is_clipped else None,
        "missing_bars": 0 if loaded.absent else loaded.missing,
        "listed_from": listing and listing.listed_from and listing.listed_from.isoformat(),
        "delisted_after": listing and listing.delisted_after and listing.delisted_after.isoformat(),
        "absent_bars": len(loaded.unsent) if loaded.absent else 0,
        "off_session": loaded.off_session,
        "rejected": dict(loaded.rejected),
        "example": loaded.example,
        "replaced": want.replaces,
        "splits": "unknown" if facts.splits_unknown else None,
    }


def _describe_listing(listing: Listing) -> str:
    since = f" is listed since {listing.listed_from}" if listing.listed_from else ""
    until = f" was delisted after {listing.delisted_after}" if listing.delisted_after else ""
    return f"{listing.symbol}{' and'.join(filter(None, (since, until)))}"


def _find_replaced(
    want: Want, spool: BarSpool, found: StoredSeries | None, facts: LoadFacts
) -> tuple[date | datetime, date | datetime] | None:
    """Return the range of stored bars that are deleted: from the first new one on, all of those of a lesser origin."""
    if spool.first is None:
        return None
    first, last = moment_of(want.timeframe, spool.first), bound_of(want.timeframe, want.span.last, 1)
    if found is not None and found.origin.rank < facts.provider.origin.rank:
        return (found.first if spool.first > start_of(found.first) else first), last
    return first, last


def fail_item(item: Item, error: BaseException) -> Failed:
    """Return the failure of an item, permanent if trying again cannot help, or of its whole run."""
    is_permanent = isinstance(error, PermanentError | BadInputError)
    return Failed(item, f"{type(error).__name__}: {error}", is_permanent, stops_run=isinstance(error, StopRunError))


def _fail_without_bars(item: Item, loaded: Loaded, provider: Provider) -> Failed:
    want = loaded.want
    detail = f"; {sum(loaded.rejected.values())} were rejected: {loaded.example}" if loaded.example else ""
    loaded.spool.close()
    return Failed(
        item,
        f"{provider.name} has no {want.timeframe.name} bars of {want.symbol} from {want.span.first}"
        f" to {want.span.last}, where the exchange has {loaded.missing}{detail}",
        permanent=not loaded.example,
    )


def _is_open(want: Want, last: int, rules: LoadRules) -> bool:
    windows = rules.windows(want.span.first, want.span.last)
    return not replace(rules, include_open=False).closed(windows, want.timeframe, np.array([last], np.int64))[0]


def _describe_source(want: Want, spool: BarSpool, found: StoredSeries | None, facts: LoadFacts) -> SeriesSource:
    adjusted_on = facts.begun_at.astimezone(EXCHANGE_ZONE).date()
    newest: datetime | None = facts.begun_at
    planned_on = None
    if found is not None:
        if found.kind is not None:
            planned_on = found.kind, found.last_split
        if facts.splits_unknown and not want.replaces:
            adjusted_on = found.adjusted_on or adjusted_on
        if spool.last is None or moment_of(want.timeframe, spool.last) < found.last:
            newest = found.fetched_at
    return SeriesSource(
        want.symbol,
        want.timeframe.name,
        facts.provider.name,
        facts.kind,
        adjusted_on,
        want.last_split,
        facts.begun_at,
        newest,
        facts.run_id,
        planned_on,
        facts.provider.origin,
    )


def _show(moment: date | datetime) -> str:
    return moment.astimezone(EXCHANGE_ZONE).isoformat() if isinstance(moment, datetime) else moment.isoformat()
