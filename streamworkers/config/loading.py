"""Settings of loading bars and of the providers."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, SecretStr


class LoadingSettings(BaseModel):
    """Which bars are loaded, from where, and how fast."""

    load_provider: str = Field(
        "massive", pattern=r"^[a-z][a-z0-9_]{0,63}$", description="Provider of bars when a load names none"
    )
    message_providers: str = Field(
        "",
        pattern=r"^([a-z][a-z0-9_]{0,63}(,[a-z][a-z0-9_]{0,63})*)?$",
        description="Providers that a message may choose beside the one of `STREAMWORKERS_LOAD_PROVIDER`, with commas",
    )
    load_years: float = Field(
        2.0, gt=0, le=100, description="Years of bars to load for a symbol that has none, when a load names no range"
    )
    load_overlap_bars: int = Field(
        1, ge=1, le=1000, description="Stored bars that an incremental load requests again; for 1min, days"
    )
    load_hours: Literal["regular", "extended"] = Field(
        "regular", description="Hours of 1-minute and hourly bars: the `regular` session, or `extended` for all trading"
    )
    load_hour_anchor: Literal["clock", "open"] = Field(
        "clock", description="Start of hourly bars: `clock` for full hours, `open` for 09:30 and each hour after it"
    )
    load_derive: bool = Field(
        True, description="Derive hours from minutes, and weeks and months from days, when both are loaded"
    )
    load_grace_seconds: float = Field(
        900.0, ge=0, le=86_400, description="Seconds after the end of a bar's window until the bar counts as closed"
    )
    load_wait_seconds: float = Field(
        43_200.0, ge=0, le=604_800, description="Seconds that a run waits for bars that its plan includes later"
    )
    load_away_seconds: float = Field(
        14_400.0, ge=0, le=604_800, description="Seconds that a run waits for a provider that is away"
    )
    load_probe_seconds: float = Field(
        60.0,
        gt=0,
        le=3600,
        description="Longest pause between two probes of a provider that is away; the first is 1/60",
    )
    load_confirm: bool = Field(
        True, description="Ask a second time for bars that an answer left out, before they count as absent"
    )
    load_listing_days: float = Field(
        30.0, ge=0, le=3650, description="Days after which a load asks again when a symbol was listed; 0 never asks"
    )
    load_check_nights: int = Field(
        0,
        ge=0,
        le=1000,
        description="Nights in which loads request all stored bars again, a share each; 0 never does",
    )
    load_threads: int = Field(8, ge=1, le=64, description="Symbols that a worker loads at the same time")
    load_grouped_from: int = Field(
        20, ge=1, description="Number of symbols from which a new day is loaded with one call for all symbols"
    )
    load_request_items: int = Field(
        100,
        ge=0,
        description="Most items of a load that somebody asked for and that goes before larger and scheduled ones",
    )
    load_request_weight: int = Field(
        10, ge=1, le=1000, description="Calls that such a request gets for each call of a larger load, while both wait"
    )
    massive_api_key: SecretStr | None = Field(None, description="Key of the Massive API, for the provider `massive`")
    massive_base_url: str = Field(
        "https://api.massive.com",
        pattern=r"^https?://[^@/?#\s]+(/[^@?#\s]*)?$",
        description="Address of the Massive API, with the path of a gateway before it if there is one",
    )
    massive_proxy: SecretStr | None = Field(
        None, description="URL of an HTTP proxy to the Massive API; other programs' variables for proxies are not read"
    )
    massive_ca_file: Path | None = Field(
        None, description="PEM file of one more authority to trust, such as that of a proxy that looks into TLS"
    )
    massive_calls_per_minute: int = Field(
        5, ge=0, le=100_000, description="Calls that the whole fleet may make in any 60 seconds; 0 sets no limit"
    )
    massive_timeout_seconds: float = Field(
        30.0, gt=0, le=600, description="Seconds to wait for the next part of an answer"
    )
    massive_answer_seconds: float = Field(
        120.0, gt=0, le=3600, description="Seconds within which a whole answer must have arrived"
    )
    massive_page_limit: int = Field(
        50_000, ge=100, le=50_000, description="Base bars to request in one call; the API allows 50,000"
    )
    massive_max_body_mb: int = Field(64, ge=1, le=1024, description="Largest answer that is read, in MB")
    csv_path: str | None = Field(
        None,
        description="Files of the provider `csv`: a folder, a file, or a path with `{symbol}` and `{timeframe}` in it",
    )
    synthetic_seed: int = Field(1, ge=0, description="Seed of the provider `synthetic`")
    import_max_unpacked_mb: int = Field(
        8192, ge=1, le=1_048_576, description="Most unpacked data that is read from a gzip or zip file of bars, in MB"
    )
    import_max_line_bytes: int = Field(
        262_144, ge=1024, le=16_777_216, description="Longest line that is read from a file of bars"
    )
    import_max_columns: int = Field(
        10_000, ge=7, le=100_000, description="Largest number of columns that a file of bars may have"
    )
    universes_max_mb: int = Field(
        8, ge=1, le=1024, description="Most text that is read from a file of universes, unpacked, in MB"
    )
