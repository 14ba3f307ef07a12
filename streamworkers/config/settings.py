"""All settings in one frozen object, read from environment variables."""

import os
import sys
from functools import lru_cache
from typing import get_args

from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from streamworkers.config.alerts import AlertSettings
from streamworkers.config.analysis import AnalysisSettings
from streamworkers.config.api import ApiSettings
from streamworkers.config.loading import LoadingSettings
from streamworkers.config.logs import LogSettings
from streamworkers.config.masking import mask_url
from streamworkers.config.notifications import NotificationSettings
from streamworkers.config.pool import PoolSettings
from streamworkers.config.renamed import rename_variables
from streamworkers.config.retention import RetentionSettings
from streamworkers.config.scheduling import SchedulingSettings
from streamworkers.config.services import ServiceSettings
from streamworkers.config.telemetry import TelemetrySettings
from streamworkers.errors import UsageError
from streamworkers.field_errors import word_rule

PREFIX = "STREAMWORKERS_"
_MOST_SHOWN = 200
# What the patterns of settings ask for.
_PATTERNS = {
    r"^[A-Za-z0-9_.:-]{1,64}$": "1 to 64 letters, digits and _ . : -",
    r"^[A-Za-z0-9/_.-]{1,32}$": "the name of a calendar, such as XNYS or 24/7",
    r"^[a-z][a-z0-9_]{0,63}$": "the name of a provider, of small letters, digits and _",
    r"^([a-z][a-z0-9_]{0,63}(,[a-z][a-z0-9_]{0,63})*)?$": "names of providers, separated by commas",
    r"^https?://[^@/?#\s]+(/[^@?#\s]*)?$": "http://HOST/PATH or https://HOST/PATH, without a password",
    r"^https?://": "an address that begins with http:// or https://",
    r"^([01]?[0-9]|2[0-3]):[0-5][0-9]$": "a time of day as 18:30",
}


class Settings(
    # The docs list the fields in the order of these bases, the last one first.
    TelemetrySettings,
    LogSettings,
    RetentionSettings,
    LoadingSettings,
    ApiSettings,
    NotificationSettings,
    AlertSettings,
    AnalysisSettings,
    SchedulingSettings,
    PoolSettings,
    ServiceSettings,
    BaseSettings,
):
    """Settings of all processes; each is an environment variable with the prefix `STREAMWORKERS_`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="ignore", hide_input_in_errors=True
    )


def load_settings() -> Settings:
    """Read the environment; warns on standard error of variables with an old name.

    Raises UsageError with the variable, its value and the rule it breaks.
    """
    for warning in rename_variables(os.environ):
        sys.stderr.write(f"Warning: {warning}\n")
    return _load(frozenset(os.environ.items()))


@lru_cache(maxsize=4)
def _load(environment: frozenset[tuple[str, str]]) -> Settings:
    """Read the settings, once for each environment: runs of some jobs ask for them, and parsing takes milliseconds."""
    del environment  # what it is keyed by; pydantic reads it by itself
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        is_secret = SecretStr in get_args(Settings.model_fields[name].annotation)
        value = "" if is_secret else f"={_show_wrong(first['input'])!r}"
        raise UsageError(f"{PREFIX}{name.upper()}{value}: {word_rule(first, patterns=_PATTERNS)}") from None


def _show_wrong(value: object) -> str:
    """A value that breaks its rule: an address may hold a password, wherever that makes it wrong."""
    text = str(value)
    return mask_url(text) if "://" in text or "@" in text else text[:_MOST_SHOWN]
