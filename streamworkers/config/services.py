"""Settings of Redis, PostgreSQL and the embedded services."""

import re
from pathlib import Path

from pydantic import BaseModel, Field, SecretStr, field_validator

# A password with a bare `@`, `/`, `?` or `#` would be cut there, and its rest taken for a host or a port and printed as
# such. So the form is checked before anything parses a URL.
_AUTHORITY = r"([^@/?#\s]*@)?(\[[0-9A-Fa-f:.]+\]|[^@:/?#\s\[\]]*)(:\d{0,5})?(,[^@/?#\s]*)?"
_REDIS_URL = re.compile(
    rf"(rediss?://{_AUTHORITY}(/\d*)?(\?[^@#\s]*)?|unix://([^@/?#\s]*@)?/[^?#]+(\?[^#\s]*)?"
    rf"|rediss?\+sentinel://{_AUTHORITY}/[\w.-]+(/\d+)?(\?[^@#\s]*)?)"
)
_DATABASE_URL = re.compile(rf"postgres(ql)?://{_AUTHORITY}(/[^@/?#\s]*)?(\?[^#\s]*)?")
_KEYWORDS = re.compile(r"\s*[a-z_]+\s*=.*", re.DOTALL)
_ENCODE = "other characters than letters, digits and -._~ in its password are percent-encoded"


class ServiceSettings(BaseModel):
    """Where Redis and PostgreSQL are."""

    redis_url: SecretStr | None = Field(
        None,
        description="URL of Redis: `redis://`, `rediss://`, `unix://`, `redis+sentinel://` or `rediss+sentinel://`;"
        " without it, the embedded Redis",
    )
    database_url: SecretStr | None = Field(
        None, description="URL of PostgreSQL: `postgresql://…`; without it, the embedded PostgreSQL"
    )
    listen_url: SecretStr | None = Field(
        None,
        description="URL of PostgreSQL, without a pooler in between, on which an API process waits for events of runs;"
        " without it, it looks for them each second",
    )
    data_dir: Path = Field(Path(".streamworkers"), description="Folder of the embedded services")
    embedded_redis_server: Path | None = Field(None, description="Program to run as the embedded Redis")
    embedded_postgres_bin: Path | None = Field(None, description="Folder with `initdb`, `pg_ctl` and `postgres`")
    lock_timeout_seconds: float = Field(
        10.0, ge=0.1, le=3600, description="Seconds a statement may wait for a lock in PostgreSQL"
    )
    idle_transaction_seconds: float = Field(
        30.0, ge=1, le=3600, description="Seconds after which PostgreSQL ends a transaction that stands still"
    )
    key_prefix: str = Field(
        "streamworkers", pattern=r"^[A-Za-z0-9_.:-]{1,64}$", description="First part of every Redis key"
    )
    message_prefix: str = Field(
        "tickstock",
        pattern=r"^[A-Za-z0-9_.:-]{1,64}$",
        description="First word of the channels and keys that other programs know",
    )

    start_wait_seconds: float = Field(
        60.0,
        ge=0,
        le=3600,
        description="Seconds that a supervisor or scheduler waits at its start for Redis, PostgreSQL and the schema;"
        " 0 does not wait",
    )

    failing_seconds: float = Field(
        60.0,
        gt=0,
        le=3600,
        description="Seconds that a loop may keep failing by an error of its own until its process is not ready",
    )

    @field_validator("redis_url")
    @classmethod
    def _require_redis_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _REDIS_URL.fullmatch(value.get_secret_value()):
            raise ValueError(
                "it is not redis://HOST:PORT/NUMBER, rediss://…, unix:///PATH, redis+sentinel://… or"
                f" rediss+sentinel://…; {_ENCODE}"
            )
        return value

    @field_validator("database_url", "listen_url")
    @classmethod
    def _require_database_url(cls, value: SecretStr | None) -> SecretStr | None:
        text = value.get_secret_value() if value is not None else None
        if text is not None and not (_DATABASE_URL.fullmatch(text) or _KEYWORDS.fullmatch(text)):
            raise ValueError(f"it is not postgresql://USER:PASSWORD@HOST:PORT/DATABASE; {_ENCODE}")
        return value
