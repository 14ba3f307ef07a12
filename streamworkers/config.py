"""Every setting, read once from the environment into one frozen object."""

import os
import re
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from streamworkers.errors import UsageError

_PREFIX = "STREAMWORKERS_"
# A password with a bare `@`, `/`, `?` or `#` would be cut there and its rest taken for a host or a port, and printed
# as such. So the form is checked before anything takes a URL apart.
_AUTHORITY = r"([^@/?#\s]*@)?(\[[0-9A-Fa-f:.]+\]|[^@:/?#\s\[\]]*)(:\d{0,5})?(,[^@/?#\s]*)?"
_REDIS_URL = re.compile(rf"(rediss?://{_AUTHORITY}(/\d*)?(\?[^@#\s]*)?|unix://([^@/?#\s]*@)?/[^?#]+(\?[^#\s]*)?)")
_DATABASE_URL = re.compile(rf"postgres(ql)?://{_AUTHORITY}(/[^@/?#\s]*)?(\?[^#\s]*)?")
_KEYWORDS = re.compile(r"\s*[a-z_]+\s*=.*", re.DOTALL)
_ENCODE = "other characters than letters, digits and -._~ in its password are percent-encoded"


ClockTime = Annotated[str, Field(pattern=r"^([01]?[0-9]|2[0-3]):[0-5][0-9]$")]


class Settings(BaseSettings):
    """Settings of all processes; each is an environment variable with the prefix `STREAMWORKERS_`."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, env_ignore_empty=True, frozen=True, extra="ignore", hide_input_in_errors=True
    )

    redis_url: SecretStr | None = Field(None, description="Redis, `redis://`, `rediss://` or `unix://`")
    database_url: SecretStr | None = Field(None, description="PostgreSQL, `postgresql://…`")
    data_dir: Path = Field(Path(".streamworkers"), description="folder of the embedded services")
    embedded_redis_server: Path | None = Field(None, description="program to run as the embedded Redis")
    embedded_postgres_bin: Path | None = Field(None, description="folder with `initdb`, `pg_ctl` and `postgres`")
    key_prefix: str = Field(
        "streamworkers", pattern=r"^[A-Za-z0-9_.:-]{1,64}$", description="first part of every Redis key"
    )
    lease_seconds: float = Field(
        30.0, ge=0.2, le=3600, description="how long a worker that went silent keeps its items"
    )
    target_batch_seconds: float = Field(
        0.25, gt=0, le=60, description="work a worker takes at once; smaller is fairer, larger is cheaper"
    )
    grace_seconds: float = Field(30.0, ge=0, le=3600, description="time a batch in hand gets after SIGTERM")
    last_scrape_seconds: float = Field(
        0.0, ge=0, le=300, description="after its work is done a stopping supervisor waits so long to be scraped again"
    )
    retry_base_seconds: float = Field(2.0, gt=0, le=3600, description="upper bound of the first retry's delay")
    retry_cap_seconds: float = Field(600.0, gt=0, le=86400, description="upper bound of any retry's delay")
    entry_max_bytes: int = Field(16_384, ge=2048, le=1_048_576, description="largest stream entry that is read")
    statement_timeout_seconds: float = Field(
        60.0, ge=0, le=3600, description="PostgreSQL's limit for one statement of a worker; 0 is none"
    )
    reconcile_seconds: float = Field(5.0, gt=0, le=3600, description="pause between two looks of the reconciler")
    scheduler_poll_seconds: float = Field(
        1.0, gt=0, le=60, description="longest time until the scheduler sees a change that it was not told of"
    )
    status_ttl_seconds: int = Field(
        604_800,
        ge=60,
        le=31_536_000,
        description="how long the status of a requested job is kept",
    )
    job_universes: str = Field("nasdaq100:sp500:dow30", description="universes of the standing jobs")
    job_indicator_calc_time: ClockTime = Field("18:10", description="`daily_indicator_calculation`, New York")
    job_pattern_detection_time: ClockTime = Field("18:20", description="`daily_pattern_detection`, New York")
    job_maintenance_time: ClockTime = Field("02:00", description="`weekly_cache_maintenance`, Sundays, New York")
    job_cleanup_time: ClockTime = Field("03:00", description="`daily_database_cleanup`, New York")
    job_min_coverage: float = Field(
        0.99, ge=0, le=1, description="share of the indicators' items that pattern detection waits for"
    )
    load_provider: str = Field(
        "massive", pattern=r"^[a-z][a-z0-9_]{0,63}$", description="provider of bars when none is named"
    )
    load_years: float = Field(
        2.0, gt=0, le=100, description="years of bars to load of a symbol that has none, when no range is named"
    )
    load_overlap_bars: int = Field(
        1, ge=1, le=1000, description="stored bars that an incremental load asks for again; for 1min, days"
    )
    load_hours: Literal["regular", "extended"] = Field(
        "regular", description="1-minute and hourly bars of the regular session, or of all trading"
    )
    load_hour_anchor: Literal["clock", "open"] = Field(
        "clock", description="hourly bars begin at full hours, or at 09:30 and each hour after it"
    )
    load_derive: bool = Field(True, description="make hours of minutes, weeks and months of days when both are loaded")
    load_grace_seconds: float = Field(
        900.0, ge=0, le=86_400, description="a bar counts as closed so long after the end of its window"
    )
    load_threads: int = Field(8, ge=1, le=64, description="symbols that a worker loads at once")
    load_grouped_from: int = Field(
        20, ge=1, description="from so many symbols on, new days are loaded with one call for all symbols"
    )
    massive_api_key: SecretStr | None = Field(None, description="key of the Massive API, for the provider `massive`")
    massive_base_url: str = Field(
        "https://api.massive.com", pattern=r"^https?://[^@/?#\s]+/?$", description="where the Massive API is"
    )
    massive_calls_per_minute: int = Field(
        5, ge=0, le=100_000, description="calls that the whole fleet may make in any 60 s; 0 is any number"
    )
    massive_timeout_seconds: float = Field(30.0, gt=0, le=600, description="longest wait for a part of an answer")
    massive_page_limit: int = Field(
        50_000, ge=100, le=50_000, description="base bars of one call; the API allows 50,000"
    )
    massive_max_body_mb: int = Field(64, ge=1, le=1024, description="largest answer that is read")
    csv_path: str | None = Field(
        None,
        description="files of the provider `csv`: a folder, a file, or a path with `{symbol}` and `{timeframe}` in it",
    )
    synthetic_seed: int = Field(1, ge=0, description="seed of the provider `synthetic`")
    min_etfs: int = Field(24, ge=0, description="groups of type ETF there should be")
    min_universes: int = Field(3, ge=0, description="groups of type UNIVERSE there should be")
    pattern_retention_days: int = Field(90, ge=1, le=36_500, description="patterns are kept so long")
    indicator_retention_days: int = Field(180, ge=1, le=36_500, description="indicator results are kept so long")
    run_item_retention_days: int = Field(30, ge=1, le=36_500, description="items of runs are kept so long")
    run_retention_days: int = Field(365, ge=1, le=36_500, description="runs and ticks are kept so long")
    health_retention_days: int = Field(30, ge=1, le=36_500, description="health history is kept so long")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level that is logged")
    log_format: Literal["auto", "console", "json"] = Field("auto", description="`auto`: JSON unless on a terminal")

    @model_validator(mode="before")
    @classmethod
    def _takes_bare_job_times(cls, values: Any) -> Any:
        """`JOB_…_TIME` is also read without the prefix: so the times were named before there was one."""
        for name in cls.model_fields:
            bare = os.environ.get(name.upper(), "") if name.startswith("job_") and name.endswith("_time") else ""
            if bare and name not in values:
                values[name] = bare
        return values

    @field_validator("redis_url")
    @classmethod
    def _is_redis_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _REDIS_URL.fullmatch(value.get_secret_value()):
            raise ValueError(f"it is not redis://HOST:PORT/NUMBER, rediss://… or unix:///PATH; {_ENCODE}")
        return value

    @field_validator("database_url")
    @classmethod
    def _is_database_url(cls, value: SecretStr | None) -> SecretStr | None:
        text = value.get_secret_value() if value is not None else None
        if text is not None and not (_DATABASE_URL.fullmatch(text) or _KEYWORDS.fullmatch(text)):
            raise ValueError(f"it is not postgresql://USER:PASSWORD@HOST:PORT/DATABASE; {_ENCODE}")
        return value

    @cached_property
    def lease_ms(self) -> int:
        """The lease in milliseconds, as Redis takes it."""
        return round(self.lease_seconds * 1000)


def load_settings() -> Settings:
    """Read the environment. Raises UsageError naming variable, value and rule."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        rule = first["msg"].removeprefix("Value error, ")
        is_secret = SecretStr in get_args(Settings.model_fields[name].annotation)
        value = "" if is_secret else f"={first['input']!r}"
        raise UsageError(f"{_PREFIX}{name.upper()}{value}: {rule}") from None
