"""Settings of alerts: how many a user may have, and how large a file of them may be."""

from pydantic import BaseModel, Field


class AlertSettings(BaseModel):
    """Limits of what users may store."""

    alerts_per_user: int = Field(1000, ge=1, le=1_000_000, description="Number of alerts that a user may have")
    alerts_max_bytes: int = Field(
        16 << 20, ge=1024, le=1 << 30, description="Largest file of alerts that is imported, in bytes"
    )
