"""Settings of what is reported to OpenTelemetry and Sentry."""

from pydantic import BaseModel, Field, SecretStr


class TelemetrySettings(BaseModel):
    """What is reported to other systems of observation."""

    otel: bool = Field(
        False,
        description="Trace runs and calls with OpenTelemetry, which has variables of its own, `OTEL_…`; needs the extra"
        " `otel`",
    )

    sentry_dsn: SecretStr | None = Field(
        None,
        description="DSN of a project of Sentry, which gets failures and deaths of items; needs the extra `sentry`",
    )

    @property
    def built_in_hooks(self) -> list[str]:
        """The hooks of our own that are switched on, by name."""
        return ["otel"] * self.otel + ["sentry"] * (self.sentry_dsn is not None)
