"""The parameters of a load, and the rules that they mean at a moment."""

from datetime import date, datetime, timedelta

from pydantic import AliasChoices, Field, model_validator

from streamworkers.engine.job import JobParameters
from streamworkers.loading.load_rules import LoadRules, Span, find_last_session
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE
from streamworkers.market.calendar.windows import HourAnchor, Hours

_DAYS_OF_YEAR = 365.25


class LoadParameters(JobParameters):
    """What to load. When a run is made, settings fill in what is not given, so that all of its items agree.

    `first` and `last` are dates of New York, both included; `years` is the time before now. With neither, bars after
    the last stored one are loaded. With `open_when_alone`, weeks and months of a range in which none has closed are
    stored open. `only_gaps` loads the bars that the exchange's sessions have and that are not
    stored. `timeframes` is for callers that can name only one timeframe elsewhere, such as a schedule. The fields from
    `grouped` on are set when a run is made, whatever is given.
    """

    provider: str = ""
    timeframes: tuple[str, ...] = ()
    first: date | None = Field(None, ge=date(1900, 1, 1), le=date(2100, 12, 31))
    last: date | None = Field(None, ge=date(1900, 1, 1), le=date(2100, 12, 31))
    years: float | None = Field(None, gt=0, le=100)
    hours: Hours | None = None
    hour_anchor: HourAnchor | None = None
    derive: bool | None = None
    include_open: bool = False
    open_when_alone: bool = False
    only_gaps: bool = False
    run_analysis: bool = False
    default_years: float = Field(2.0, gt=0, le=100)
    overlap_bars: int = Field(1, ge=1, le=1000)
    # Runs and schedules of releases before 0.2 hold it as settle_seconds.
    grace_seconds: float = Field(0.0, ge=0, le=86_400, validation_alias=AliasChoices("grace_seconds", "settle_seconds"))
    grouped: bool = False
    splits_since: date | None = None
    check_nights: int | None = Field(None, ge=1, le=1000)
    estimated_calls: int = Field(0, ge=0)
    calls_share: str = ""
    calls_cost: int = Field(1, ge=1, le=1000)

    @model_validator(mode="after")
    def _require_one_range(self) -> "LoadParameters":
        if self.years is not None and self.first is not None:
            raise ValueError("name either years or first")
        if self.last is not None and self.first is None and self.years is None:
            raise ValueError(f"last {self.last} needs first or years")
        if self.first is not None and self.last is not None and self.last < self.first:
            raise ValueError(f"last {self.last} is before first {self.first}")
        return self

    def rules(self, now: datetime) -> LoadRules:
        """Return the rules that these parameters mean at a moment."""
        last = self.last or now.astimezone(EXCHANGE_ZONE).date()
        span = None
        if self.first is not None:
            span = Span(self.first, last)
        elif self.years is not None:
            # So many days up to the newest session that has closed: a week of days has its five bars at any hour.
            closed = find_last_session(LoadRules(now=now, grace_seconds=self.grace_seconds), last)
            days = max(1, round(self.years * _DAYS_OF_YEAR))
            span = Span(min(closed, last) - timedelta(days=days - 1), last)
        return LoadRules(
            now=now,
            span=span,
            open_when_alone=self.open_when_alone,
            years=self.default_years,
            overlap_bars=self.overlap_bars,
            grace_seconds=self.grace_seconds,
            hours=self.hours or "regular",
            hour_anchor=self.hour_anchor or "clock",
            include_open=self.include_open,
            only_gaps=self.only_gaps,
            derive=self.derive is not False,
            check_nights=self.check_nights or 0,
        )
