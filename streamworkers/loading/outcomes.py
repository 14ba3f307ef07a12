"""Turns the bars that a fetch has for an item into the item's outcome."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from streamworkers.engine.outcome import Completed, Failed, Item, Outcome
from streamworkers.errors import BadInputError, PermanentError
from streamworkers.loading.fetch import Loaded
from streamworkers.loading.plan import Fetch, LoadRules, Want
from streamworkers.loading.provenance import SeriesKind, SeriesSource, StoredSeries
from streamworkers.loading.providers.provider import Provider
from streamworkers.loading.spool import BarSpool
from streamworkers.loading.store import BarsToSave
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE
from streamworkers.market.calendar.windows import bound_of, moment_of


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
    if not spool.count and loaded.missing:
        return _fail_without_bars(item, loaded, facts.provider)
    result: dict[str, Any] = {"bars": spool.count}
    if fetch.span_of(want) != want.span:
        result["history_from"] = _show(fetch.asked.first)
        if not spool.count:
            result["why"] = f"the plan of the key has no whole {want.timeframe.name} of this range"
    replaces = None
    if spool.first is not None and spool.last is not None:
        first, last = (moment_of(want.timeframe, start) for start in (spool.first, spool.last))
        result |= {"first": _show(first), "last": _show(last)}
        replaces = (first, bound_of(want.timeframe, want.span.last, 1)) if want.replaces else None
    if fetch.request.timeframe != want.timeframe:
        result["made_of"] = fetch.request.timeframe.name
    if loaded.missing:
        result["missing_bars"] = loaded.missing
    if loaded.off_session:
        result["off_session"] = loaded.off_session
    if loaded.rejected:
        result |= {"rejected": dict(loaded.rejected), "example": loaded.example}
    if want.replaces:
        result["replaced"] = want.replaces
    if facts.splits_unknown:
        result["splits"] = "unknown"
    source = _describe_source(want, spool, found, facts)
    return Completed(item, BarsToSave(want.timeframe, spool, source, replaces, fetch.key), result)


def fail_item(item: Item, error: BaseException) -> Failed:
    """Return the failure of an item, permanent if trying again cannot help."""
    return Failed(item, f"{type(error).__name__}: {error}", isinstance(error, PermanentError | BadInputError))


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
    )


def _show(moment: date | datetime) -> str:
    return moment.astimezone(EXCHANGE_ZONE).isoformat() if isinstance(moment, datetime) else moment.isoformat()
