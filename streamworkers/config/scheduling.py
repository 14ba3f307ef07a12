"""Settings of the scheduler and of the standard schedules that `schedules install-defaults` writes."""

import os
from typing import Annotated, Any

from pydantic import BaseModel, Field, model_validator

# The four times had names without the prefix before there was one; these still work.
BARE_VARIABLES = (
    "job_indicator_calc_time",
    "job_pattern_detection_time",
    "job_maintenance_time",
    "job_cleanup_time",
)
ClockTime = Annotated[str, Field(pattern=r"^([01]?[0-9]|2[0-3]):[0-5][0-9]$")]


class SchedulingSettings(BaseModel):
    """When runs start without a command."""

    scheduler_poll_seconds: float = Field(
        1.0, gt=0, le=60, description="Longest seconds until the scheduler sees a change without a notification"
    )
    run_late_minutes: float = Field(
        120.0, gt=0, le=10_080, description="Minutes after its tick by which a run of a schedule is late if it is open"
    )
    status_ttl_seconds: int = Field(
        604_800, ge=60, le=31_536_000, description="Seconds the status hash of a requested job is kept"
    )
    message_max_bytes: int = Field(
        1 << 20, ge=1024, le=64 << 20, description="Largest message of another program that is parsed, in bytes"
    )
    message_max_symbols: int = Field(
        10_000, ge=1, le=1_000_000, description="Largest number of symbols in a message of another program"
    )
    message_max_depth: int = Field(
        32, ge=2, le=200, description="Levels of lists and objects in a message of another program"
    )
    inbox_max_mb: float = Field(
        128.0,
        ge=1,
        le=100_000,
        description="Most memory of Redis, in MB, that a stream of messages of other programs may take;"
        " the oldest beyond are dropped",
    )
    schedules_max_bytes: int = Field(
        1 << 20, ge=1024, le=64 << 20, description="Largest file of schedules that is read, in bytes"
    )
    schedules_max_values: int = Field(
        200_000, ge=100, le=10_000_000, description="Largest number of values in it, with what its aliases repeat"
    )
    schedules_max_depth: int = Field(32, ge=4, le=100, description="Levels of lists and mappings in it")
    message_repeat_seconds: float = Field(
        10.0, ge=0.001, le=3600, description="Seconds within which the same message without an id is a repetition"
    )
    message_history_bytes: int = Field(
        32_768, ge=0, le=1 << 20, description="Bytes of a message of another program that the history keeps"
    )
    message_history_rows: int = Field(
        1_000,
        ge=1,
        le=1_000_000,
        description="Messages of one channel and state, other than accepted ones, with a row each within an hour;"
        " more are counted",
    )
    job_universes: str = Field("nasdaq100:sp500:dow30", description="Universes of the standard schedules")
    job_indicator_calc_time: ClockTime = Field(
        "18:10", description="New York time at which `daily_indicator_calculation` starts"
    )
    job_pattern_detection_time: ClockTime = Field(
        "18:20", description="New York time at which `daily_pattern_detection` starts"
    )
    job_maintenance_time: ClockTime = Field(
        "02:00", description="New York time at which `weekly_cache_maintenance` starts on Sundays"
    )
    job_cleanup_time: ClockTime = Field("03:00", description="New York time at which `daily_database_cleanup` starts")
    job_min_coverage: float = Field(
        0.99, ge=0, le=1, description="Share of indicator items that must complete before pattern detection starts"
    )

    @model_validator(mode="before")
    @classmethod
    def _read_bare_job_times(cls, values: Any) -> Any:
        for name in BARE_VARIABLES:
            bare = os.environ.get(name.upper(), "")
            if bare and name not in values:
                values[name] = bare
        return values
