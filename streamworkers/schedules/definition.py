"""The definition of a schedule, typed and checked: from the command line, from YAML and from its table."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from streamworkers.engine.preparation import require_parameters
from streamworkers.engine.redis.keys import DATA_LOAD_COMPLETE
from streamworkers.engine.redis.lanes import Priority
from streamworkers.engine.registry import Registry
from streamworkers.errors import BadInputError
from streamworkers.field_errors import word_rule
from streamworkers.market.bars.rules import require_symbol
from streamworkers.market.calendar.sessions import require_calendar
from streamworkers.market.calendar.timeframes import timeframe_named
from streamworkers.market.universes.store import parse_names
from streamworkers.schedules.deadline import parse_done_by
from streamworkers.schedules.name_rule import SCHEDULE_NAME, SCHEDULE_NAME_IN_WORDS
from streamworkers.schedules.planner import CatchUp, Policy
from streamworkers.schedules.timing import Timing, zone_named
from streamworkers.schedules.webhooks import WEBHOOK_FORM, hide_webhook_url
from streamworkers.schedules.written_times import parse_end_of_period

EVENTS = (DATA_LOAD_COMPLETE,)
MOST_SYMBOLS = 10_000
_MOST_SECONDS = 604_800


class Target(BaseModel):
    """The symbols of a schedule's runs: a universe expression, or a list."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    universe: str | None = None
    symbols: tuple[str, ...] | None = Field(None, min_length=1, max_length=MOST_SYMBOLS)

    @model_validator(mode="after")
    def _is_one(self) -> "Target":
        if (self.universe is None) == (self.symbols is None):
            raise ValueError("a target is either a universe or symbols")
        return self

    def describe(self) -> str:
        """The target as a run shows it."""
        return self.universe if self.universe is not None else ",".join(self.symbols or ())


class ScheduleDefinition(BaseModel):
    """Every field that users set; the defaults are those of the table `schedules`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=SCHEDULE_NAME)
    job: str
    target: Target | None = None
    timeframe: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    cron: str | None = None
    on_event: str | None = None
    timezone: str = "America/New_York"
    calendar: str | None = None
    ends_at: datetime | None = None
    enabled: bool = True
    catch_up: CatchUp = "latest"
    misfire_grace_seconds: int = Field(300, ge=0, le=_MOST_SECONDS)
    max_instances: int = Field(1, ge=1, le=1000)
    coalesce: bool = True
    after: str | None = Field(None, pattern=SCHEDULE_NAME)
    min_coverage: float = Field(1.0, ge=0, le=1)
    after_timeout_seconds: int = Field(3600, ge=0, le=_MOST_SECONDS)
    after_timeout_action: Literal["start", "skip"] = "start"
    jitter_seconds: int = Field(0, ge=0, le=86_400)
    max_run_seconds: int | None = Field(None, ge=1, le=_MOST_SECONDS)
    done_by: str | None = None
    priority: Priority | None = None
    webhook: dict[str, Any] | None = None
    user_id: str | None = Field(None, max_length=200)

    @field_validator("parameters", "webhook")
    @classmethod
    def _is_json(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"it is not JSON: {error}") from None
        return value

    @field_validator("ends_at", mode="before")
    @classmethod
    def _is_end(cls, value: object, info: ValidationInfo) -> datetime | None:
        if value is None:
            return None
        try:
            return parse_end_of_period(value, zone_named(info.data.get("timezone", "UTC")))
        except BadInputError as error:
            raise ValueError(str(error)) from None

    @field_validator("done_by", mode="before")
    @classmethod
    def _is_time_of_day(cls, value: object) -> str | None:
        return None if value is None else parse_done_by(value)

    @classmethod
    def parse(cls, fields: Mapping[str, Any]) -> "ScheduleDefinition":
        """Validate untyped fields. Raises BadInputError naming schedule, field, value and rule."""
        try:
            return cls.model_validate(dict(fields))
        except ValidationError as error:
            first = error.errors()[0]
            # A key of a mapping that breaks a rule is followed by a mark of the validator's own.
            if first["loc"][:1] == ("webhook",):  # its value may be a secret
                raise BadInputError(f"schedule {str(fields.get('name'))[:80]!r}: {WEBHOOK_FORM}") from None
            place = ".".join(str(part) for part in first["loc"] if part != "[key]") or "it"
            rule = word_rule(first, cls.model_fields, {SCHEDULE_NAME: SCHEDULE_NAME_IN_WORDS})
            value = "" if first["type"] == "missing" else f" {str(first['input'])[:120]!r}"
            raise BadInputError(f"schedule {str(fields.get('name'))[:80]!r}: {place}{value}: {rule}") from None

    def show(self, *, exclude_none: bool = False) -> dict[str, Any]:
        """Return the fields as they may be shown, as JSON: of the webhook's URL, which can be a secret, the host."""
        return hide_webhook_url(self.model_dump(mode="json", exclude_none=exclude_none))

    @cached_property
    def timing(self) -> Timing | None:
        """When it ticks; None if only events start it. Raises BadInputError for an invalid cron, zone or calendar."""
        return None if self.cron is None else Timing.parse(self.cron, self.timezone, self.calendar, self.ends_at)

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols that it names itself; those of a universe may change."""
        return (self.target.symbols or ()) if self.target is not None else ()

    @property
    def policy(self) -> Policy:
        """How late ticks are treated."""
        return Policy(self.catch_up, self.misfire_grace_seconds, self.coalesce)

    def require_ticks(self, now: datetime) -> None:
        """Raise BadInputError for a new schedule that ends before it has had a tick."""
        if self.timing is not None and next(self.timing.after(now), None) is None:
            raise BadInputError(f"schedule {self.name!r}: cron {self.cron!r} has no tick from now on until its end")

    def require_sound(self, registry: Registry) -> None:
        """Check what the types cannot. Raises UnknownNameError or BadInputError naming value and rule."""
        try:
            self._require_sound(registry)
        except BadInputError as error:
            raise BadInputError(f"schedule {self.name!r}: {error}") from None

    def _require_cron(self) -> None:
        """Raise BadInputError for a field that is about ticks, where there are none."""
        needing = (
            (self.after, "can come after another"),
            (self.ends_at, "has an end"),
            (self.done_by, "has a deadline, because it is that of a tick"),
        )
        for value, what in needing:
            if value is not None and self.cron is None:
                raise BadInputError(f"only a schedule with a cron {what}")

    def _require_sound(self, registry: Registry) -> None:
        self.require_startable(registry)
        zone_named(self.timezone)
        if self.calendar is not None:
            require_calendar(self.calendar)
        if self.cron is None and self.on_event is None:
            raise BadInputError("it needs a cron, or the event that starts it")
        if self.on_event is not None and self.on_event not in EVENTS:
            raise BadInputError(f"event {self.on_event!r} is not one of {', '.join(EVENTS)}")
        if self.after == self.name:
            raise BadInputError("it cannot come after itself")
        self._require_cron()
        now, timing = datetime.now(UTC), self.timing
        if timing is not None and not timing.ends_by_itself(now) and next(timing.after(now), None) is None:
            raise BadInputError(f"cron {self.cron!r} has no tick left in calendar {self.calendar}")

    def require_startable(self, registry: Registry) -> None:
        """Check what a run of it needs, but whether its universe exists. Raises UnknownNameError and BadInputError."""
        job = registry[self.job]
        require_parameters(job, self.parameters)
        if self.timeframe is not None:
            timeframe_named(self.timeframe)
        if self.target is None and not job.parts and self.on_event is None:
            raise BadInputError(f"job {job.name!r} is about symbols: name a universe or symbols")
        if self.target is not None and self.target.universe is not None:
            parse_names(self.target.universe)
        for symbol in (self.target.symbols or ()) if self.target is not None and not job.parts else ():
            require_symbol(symbol)
