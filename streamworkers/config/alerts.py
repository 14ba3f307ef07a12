"""Settings of alerts: how many a user may have."""

from pydantic import BaseModel, Field


class AlertSettings(BaseModel):
    """Limits of what users may store."""

    alerts_per_user: int = Field(1000, ge=1, le=1_000_000, description="Number of alerts that a user may have")
