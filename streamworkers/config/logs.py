"""Settings of what is logged, and how."""

from typing import Literal

from pydantic import BaseModel, Field


class LogSettings(BaseModel):
    """What is logged, and how."""

    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Lowest level that is logged")
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="Format of the logs; `auto` is `console` on a terminal and `json` elsewhere"
    )
