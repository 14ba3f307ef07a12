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
from streamworkers.config.notifications import NotificationSettings
from streamworkers.config.pool import PoolSettings
from streamworkers.config.renamed import rename_variables
from streamworkers.config.retention import RetentionSettings
from streamworkers.config.scheduling import SchedulingSettings
from streamworkers.config.services import ServiceSettings
from streamworkers.errors import UsageError

PREFIX = "STREAMWORKERS_"


class Settings(
    # The docs list the fields in the order of these bases, the last one first.
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
        rule = first["msg"].removeprefix("Value error, ")
        is_secret = SecretStr in get_args(Settings.model_fields[name].annotation)
        value = "" if is_secret else f"={first['input']!r}"
        raise UsageError(f"{PREFIX}{name.upper()}{value}: {rule}") from None
