"""What all parts of one batch of a load share: its rules, its provider, and what its run knows of the provider."""

from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock

from streamworkers.config import Settings
from streamworkers.engine.job import Context
from streamworkers.loading.fetch_plan import Fetch
from streamworkers.loading.history import PlanHistory
from streamworkers.loading.load_rules import LoadRules, is_checked
from streamworkers.loading.newest_day import NewestDay
from streamworkers.loading.outages import ProviderWatch
from streamworkers.loading.outcomes import LoadFacts
from streamworkers.loading.parameters import LoadParameters
from streamworkers.loading.provenance import StoredSeries, find_better
from streamworkers.loading.providers.provider import BarOrigin, Provider
from streamworkers.loading.purpose import Purpose
from streamworkers.loading.run_notes import RunNotes
from streamworkers.loading.shared_answers import SharedAnswers
from streamworkers.loading.waiting import WaitingItems
from streamworkers.market.calendar.exchange import exchange_named
from streamworkers.market.calendar.symbol_calendars import CalendarRules
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE, Timeframe


@dataclass
class BatchScope:
    """The shared parts of one batch. `found` has the stored series of each item, by its number."""

    context: Context[LoadParameters]
    rules: LoadRules
    provider: Provider
    settings: Settings
    calendars: CalendarRules
    queues: tuple[str, ...] = ()
    splits_unknown: bool = False
    found: dict[int, StoredSeries] = field(default_factory=dict)
    begun_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __post_init__(self) -> None:
        settings, connection = self.settings, self.context.connection
        self.notes = RunNotes(connection, self.context.run_id)
        self.watch = ProviderWatch(
            connection, self.provider, self.notes, settings.load_away_seconds, settings.load_probe_seconds
        )
        self.newest = NewestDay(self.notes, settings.load_wait_seconds)
        self.history = PlanHistory(self.provider, self.notes)
        self.waiting = WaitingItems(self.context, self.queues, self.provider.calls_per_minute or 0)
        self.shared = SharedAnswers(self.context, self.provider, self.newest, self.midnight)

    @property
    def asked_since(self) -> datetime:
        """The moment since which an answer about listings and absent bars is not asked for again."""
        return self.begun_at - timedelta(days=self.settings.load_listing_days)

    @property
    def today(self) -> date:
        """The date in New York when the batch began."""
        return self.begun_at.astimezone(EXCHANGE_ZONE).date()

    @property
    def midnight(self) -> datetime:
        """The begin of that day: pages of an earlier one may be adjusted differently."""
        return datetime.combine(self.today, clock(), tzinfo=EXCHANGE_ZONE)

    @property
    def facts(self) -> LoadFacts:
        """What the outcomes of the batch have in common."""
        return LoadFacts(self.context.run_id, self.begun_at, self.provider, self.rules, self.splits_unknown)

    def rules_of(self, symbol: str) -> LoadRules:
        """Return the rules of the run with the calendar of a symbol."""
        return replace(self.rules, calendar=self.calendars.calendar_of(symbol))

    def is_of_new_york(self, fetch: Fetch) -> bool:
        """True if the day of all symbols, that of the stocks of New York, has those of a fetch."""
        return exchange_named(self.calendars.calendar_of(fetch.request.symbol)).zone == EXCHANGE_ZONE

    def purpose_of(self, fetch: Fetch) -> Purpose:
        """Return what the calls of a fetch are for."""
        if any(want.replaces for want in fetch.wants):
            return Purpose.RELOAD
        if self.rules.only_gaps:
            return Purpose.FILL_GAPS
        is_stored = any(want.number in self.found for want in fetch.wants)
        if self.rules.span is None and is_stored and is_checked(fetch.request.symbol, self.rules):
            return Purpose.CHECK
        return Purpose.LOAD

    def finds_better(self, frame: Timeframe, symbol: str) -> bool:
        """True if stored bars are better than the provider's, which a fake confesses with its first answer."""
        origin = self.provider.origin
        return origin is not BarOrigin.REAL and bool(find_better(self.context.connection, frame, [symbol], origin))
