"""Settings of the analysis jobs."""

from pydantic import BaseModel, Field


class AnalysisSettings(BaseModel):
    """Which bars the analysis sees, and when a run of it is a success."""

    calendar: str = Field(
        "XNYS",
        pattern=r"^[A-Za-z0-9/_.-]{1,32}$",
        description="Exchange calendar of symbols for which `streamworkers calendars set` names no other",
    )
    max_stale_share: float = Field(
        0.5, ge=0, le=1, description="Share of a run's symbols that may be stale; with more the run ends with errors"
    )
