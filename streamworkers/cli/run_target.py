"""What a run is about, as `enqueue` and `schedules trigger` take it: a universe, or symbols."""

from typing import Any

from streamworkers.engine.job import Job
from streamworkers.errors import BadInputError


def require_fitting_target(job: Job[Any], universe: str | None, symbols: str | None) -> None:
    """Raise BadInputError if both are given, or a universe for a job that is not about symbols."""
    if universe is None:
        return
    if job.parts:
        raise BadInputError(
            f"job {job.name!r} is not about symbols: it has the parts {', '.join(job.parts)}; --symbols names some of"
            " them"
        )
    if symbols is not None:
        raise BadInputError("name either --universe or --symbols")
    if job.item_kind == "id":
        raise BadInputError(f"job {job.name!r} is not about symbols: --symbols names the ids of its items")
