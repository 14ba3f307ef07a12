"""Settings of maintenance: what universes are expected, and how long data is kept."""

from pydantic import BaseModel, Field

_MOST_DAYS = 36_500


class RetentionSettings(BaseModel):
    """Parameters of the standing maintenance jobs."""

    min_etfs: int = Field(24, ge=0, description="Number of groups of type ETF below which a warning is reported")
    min_universes: int = Field(
        3, ge=0, description="Number of groups of type UNIVERSE below which a warning is reported"
    )
    pattern_retention_days: int = Field(90, ge=1, le=_MOST_DAYS, description="Days that detected patterns are kept")
    indicator_retention_days: int = Field(180, ge=1, le=_MOST_DAYS, description="Days that indicator results are kept")
    run_item_retention_days: int = Field(30, ge=1, le=_MOST_DAYS, description="Days that the items of runs are kept")
    run_event_retention_days: int = Field(7, ge=1, le=_MOST_DAYS, description="Days that the events of runs are kept")
    run_retention_days: int = Field(
        365, ge=1, le=_MOST_DAYS, description="Days that runs, submissions and ticks are kept"
    )
    health_retention_days: int = Field(30, ge=1, le=_MOST_DAYS, description="Days that health checks are kept")
    alert_retention_days: int = Field(
        365,
        ge=1,
        le=_MOST_DAYS,
        description="Days that firings of alerts, corrections, and mutes of removed alerts are kept",
    )
    notification_retention_days: int = Field(
        30, ge=1, le=_MOST_DAYS, description="Days that notifications and deliveries are kept"
    )
    message_history_retention_days: int = Field(
        30, ge=1, le=_MOST_DAYS, description="Days that the history of messages of other programs is kept"
    )
    message_retention_days: int = Field(
        7, ge=1, le=_MOST_DAYS, description="Days that the text and picture of a delivery are kept"
    )
