"""Settings of what is reported to OpenTelemetry."""

from pydantic import BaseModel, Field


class TelemetrySettings(BaseModel):
    """What is reported to other systems of observation."""

    otel: bool = Field(
        False,
        description="Trace runs and calls with OpenTelemetry, which has variables of its own, `OTEL_…`; needs the extra"
        " `otel`",
    )

    @property
    def built_in_hooks(self) -> list[str]:
        """The hooks of our own that are switched on, by name."""
        return ["otel"] if self.otel else []
