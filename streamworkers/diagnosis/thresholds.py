"""The values above which checks report a finding."""

from pydantic import Field

from streamworkers.engine.job import JobParameters


class Thresholds(JobParameters):
    """The values above which checks report a finding; they are the parameters of the job `health_check`.

    Rates and counts are those of the last `window_hours`. `data_days` is the age in calendar days that the newest daily
    bar may have: four cover a weekend with a holiday.
    """

    window_hours: float = Field(24.0, gt=0, le=24 * 90)
    error_rate: float = Field(0.05, ge=0, le=1)
    queue_age_seconds: float = Field(900.0, gt=0)
    connection_share: float = Field(0.8, gt=0, le=1)
    clock_seconds: float = Field(30.0, gt=0)
    memory_share: float = Field(0.8, gt=0, le=1)
    prepare_seconds: float = Field(60.0, gt=0)
    outbox_seconds: float = Field(60.0, gt=0)
    data_days: int = Field(4, ge=1)
