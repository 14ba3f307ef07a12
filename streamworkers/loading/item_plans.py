"""Plans the items of a batch from what is stored: what is wanted for each, or its outcome if there is nothing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np

from streamworkers.engine.outcome import Completed, Failed, Item, Outcome
from streamworkers.loading.absence import is_absent, read_absent
from streamworkers.loading.batch_scope import BatchScope
from streamworkers.loading.listings import Listings, plan_delisted, read_listings
from streamworkers.loading.load_rules import Span
from streamworkers.loading.outcomes import fail_item
from streamworkers.loading.plan import NothingToLoad, Want, plan_load
from streamworkers.loading.provenance import ProvenanceError, StoredSeries, find_better, read_stored
from streamworkers.loading.providers.provider import Provider, Split
from streamworkers.market.bars.bars import is_among
from streamworkers.market.bars.read import read_starts
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE, Timeframe, timeframe_named
from streamworkers.market.calendar.windows import bound_of, whole_windows


@dataclass
class ItemPlans:
    """Plans items, and notes in the scope what is stored of each."""

    scope: BatchScope
    listings: Listings

    @classmethod
    def of(cls, scope: BatchScope, items: Sequence[Item]) -> "ItemPlans":
        """Return the plans of a batch, with what is known of the listings of its symbols."""
        known = read_listings(scope.context.connection, {item.symbol for item in items}, scope.asked_since)
        return cls(scope, Listings(scope.provider, known, scope.settings.load_listing_days > 0))

    def plan(self, items: Sequence[Item], splits: Mapping[str, Sequence[Split]]) -> Iterator[Want | Outcome]:
        """Yield what is wanted for each item, or its outcome."""
        scope = self.scope
        connection = scope.context.connection
        by_timeframe: dict[str, list[Item]] = {}
        for item in items:
            by_timeframe.setdefault(item.timeframe or "day", []).append(item)
        for name, group in by_timeframe.items():
            frame, symbols = timeframe_named(name), [item.symbol for item in group]
            stored = read_stored(connection, frame, symbols)
            absent = read_absent(connection, frame, symbols, scope.asked_since)
            better = find_better(connection, frame, symbols, scope.provider.origin)
            for item in group:
                if item.symbol in better:
                    yield reject_item(item, frame, scope.provider)
                    continue
                have = stored.get(item.symbol)
                wanted = self._plan_item(item, frame, have, splits.get(item.symbol, ()))
                if isinstance(wanted, Want):
                    wanted = replace(wanted, absent=tuple(absent.get(item.symbol, ())))
                listing = self.listings.known.get(item.symbol)
                wanted = plan_delisted(wanted, listing, have, scope.rules_of(item.symbol))
                if isinstance(wanted, NothingToLoad):
                    yield Completed(item, None, {"bars": 0, "why": wanted.why})
                else:
                    yield wanted

    def _plan_item(
        self, item: Item, frame: Timeframe, found: StoredSeries | None, splits: Sequence[Split]
    ) -> Want | NothingToLoad:
        scope = self.scope
        if found is not None and found.provider not in (None, scope.provider.name):
            # Bars of another provider are no reason to fetch everything again: this provider may have fewer.
            found = found._replace(kind=None)
        if found is not None:
            scope.found[item.seq] = found
            if found.origin.rank < scope.provider.origin.rank:
                return self._plan_repair(item, frame, found)
        present = self._read_present(item.symbol, frame, found) if scope.rules.only_gaps else None
        rules = scope.rules_of(item.symbol)
        return plan_load(item.seq, item.symbol, frame, rules, scope.facts.kind, found, splits, present)

    def _plan_repair(self, item: Item, frame: Timeframe, found: StoredSeries) -> Want | NothingToLoad:
        """Plan to replace all bars of a lesser origin."""
        rules = replace(self.scope.rules_of(item.symbol), only_gaps=False)
        plan = plan_load(item.seq, item.symbol, frame, rules, self.scope.facts.kind, None)
        if isinstance(plan, NothingToLoad):
            return plan
        first = found.first.astimezone(EXCHANGE_ZONE).date() if isinstance(found.first, datetime) else found.first
        span = Span(min(plan.span.first, first), max(plan.span.last, rules.today))
        return replace(plan, span=span, replaces=f"{found.origin} bars of {found.provider}")

    def _read_present(self, symbol: str, frame: Timeframe, found: StoredSeries | None) -> Any:
        if found is None:
            return None
        rules, connection = self.scope.rules_of(symbol), self.scope.context.connection
        span = rules.span
        first, last = whole_windows(frame, span.first, span.last) if span else (found.first, rules.today)
        begin, end = (bound_of(frame, moment, days) for moment, days in ((first, 0), (last, 1)))
        present = read_starts(connection, symbol, frame, begin, end)
        days = [at.astimezone(EXCHANGE_ZONE).date() if isinstance(at, datetime) else at for at in (first, last)]
        parts = rules.expected_parts(frame, Span(days[0], days[1]))
        absent = read_absent(connection, frame, [symbol]).get(symbol, [])
        return np.concatenate([part[is_among(part, present) | is_absent(part, absent)] for part in parts])


def reject_item(item: Item, frame: Timeframe, provider: Provider) -> Failed:
    """Return the failure of an item whose stored bars are better than those of its provider."""
    return fail_item(
        item,
        ProvenanceError(
            f"the stored {frame.name} bars of {item.symbol} are better than those of {provider.name}, which are"
            f" {provider.origin} and never replace them"
        ),
    )
