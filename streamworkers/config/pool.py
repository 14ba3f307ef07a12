"""Settings of supervisors and workers."""

from functools import cached_property
from typing import Literal

from pydantic import BaseModel, Field


class PoolSettings(BaseModel):
    """How workers take, keep and retry items."""

    lease_seconds: float = Field(
        30.0, ge=0.2, le=3600, description="Seconds a worker that has gone silent keeps its entries"
    )
    target_batch_seconds: float = Field(
        0.25,
        gt=0,
        le=60,
        description="Seconds of work that a worker takes at once; less is fairer between runs, more costs less",
    )
    grace_seconds: float = Field(
        30.0, ge=0, le=3600, description="Seconds that workers may use after SIGTERM to finish their batches"
    )
    last_scrape_seconds: float = Field(
        0.0, ge=0, le=300, description="Seconds a stopping supervisor waits for a last scrape of its metrics"
    )
    retry_base_seconds: float = Field(2.0, gt=0, le=3600, description="Longest delay of the first retry, in seconds")
    retry_cap_seconds: float = Field(600.0, gt=0, le=86400, description="Longest delay of any retry, in seconds")
    entry_max_bytes: int = Field(16_384, ge=2048, le=1_048_576, description="Largest stream entry that is read")
    statement_timeout_seconds: float = Field(
        60.0,
        ge=0,
        le=3600,
        description="Seconds a statement of a worker, supervisor or scheduler may take; 0 sets no limit",
    )
    idle_silence_seconds: float = Field(
        30.0, ge=10, le=3600, description="Seconds an idle worker may report nothing before it is replaced"
    )
    hook_seconds: float = Field(
        5.0, gt=0, le=60, description="Seconds a call of a hook may take before it is interrupted"
    )
    reconcile_seconds: float = Field(5.0, gt=0, le=3600, description="Seconds between two runs of the reconciler")
    start_method: Literal["forkserver", "spawn"] = Field(
        "forkserver",
        description="How workers start: `forkserver` forks them from a process that has loaded all jobs, where the"
        " system can do that; `spawn` starts a fresh interpreter for each",
    )

    @cached_property
    def lease_ms(self) -> int:
        """The lease in milliseconds, as Redis takes it."""
        return round(self.lease_seconds * 1000)
