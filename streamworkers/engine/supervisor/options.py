"""What `streamworkers worker` starts a supervisor with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from streamworkers.engine.registry import Registry
from streamworkers.engine.services.preparer import Targets
from streamworkers.engine.supervisor.child import Limits
from streamworkers.errors import BadInputError

Plan = Callable[[int], Sequence[Sequence[str]]]


def _keep_size(processes: int) -> Sequence[Sequence[str]]:
    raise BadInputError(f"this supervisor cannot have {processes} processes: its number is fixed")


@dataclass(frozen=True, slots=True)
class SupervisorOptions:
    """The options of `streamworkers worker`.

    `slots` holds the lanes of each worker process, `jobs` are those that are installed, `targets` is what their
    requests may name, `hooks` the names of the hooks that workers call. `plan` gives the slots for another number of
    processes; it raises BadInputError for one that does not do.
    """

    slots: Sequence[Sequence[str]]
    jobs: Registry
    targets: Targets
    limits: Limits
    grace_seconds: float
    metrics_host: str
    metrics_port: int | None
    plan: Plan = _keep_size
    hooks: Sequence[str] = ()
