"""The jobs of installed packages, found by the entry point group `streamworkers.jobs`."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, TypeAlias, get_args

from streamworkers.engine.job import ItemKind, Job, JobCounter, JobHistogram, JobParameters
from streamworkers.engine.limits import Limit, join_limits, require_sound_limits
from streamworkers.errors import BadInputError, UnknownNameError
from streamworkers.installed import entry_points
from streamworkers.names import NameKind, find_name_error
from streamworkers.required_settings import require_sound_settings

ENTRY_POINT_GROUP = "streamworkers.jobs"
JobClass: TypeAlias = type[Job[Any]]


class Registry(Mapping[str, Job[Any]]):
    """Jobs by name. Raises UnknownNameError for an unknown name, and BadInputError for an invalid job."""

    def __init__(self, jobs: Iterable[Job[Any]]) -> None:
        self._jobs: dict[str, Job[Any]] = {}
        for job in jobs:
            _require_sound(job)
            if job.name in self._jobs:
                raise BadInputError(f"two jobs are named {job.name!r}: {_path(self._jobs[job.name])} and {_path(job)}")
            self._jobs[job.name] = job
        self.limits: Mapping[str, Limit] = join_limits((job.name, job.limits) for job in self._jobs.values())

    def __getitem__(self, name: str) -> Job[Any]:
        try:
            return self._jobs[name]
        except KeyError:
            raise UnknownNameError("job", name, self._jobs) from None

    def __contains__(self, name: object) -> bool:
        return name in self._jobs

    def __iter__(self) -> Iterator[str]:
        return iter(self._jobs)

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def queues(self) -> list[str]:
        """The queues that these jobs use, in alphabetical order."""
        return sorted({queue for job in self._jobs.values() for queue in job.queues})

    @property
    def first_queues(self) -> dict[str, list[str]]:
        """The queues of runs that go before those of a queue."""
        first: dict[str, list[str]] = {}
        for job in self._jobs.values():
            if job.first_queue is not None and job.first_queue not in first.setdefault(job.queue, []):
                first[job.queue].append(job.first_queue)
        return first

    def add_first_queues(self, queues: Sequence[str]) -> list[str]:
        """Return these queues, and before them those of runs that go first."""
        first = [name for queue in queues for name in self.first_queues.get(queue, ())]
        return list(dict.fromkeys([*first, *queues]))

    def jobs_by_queue(self) -> dict[str, list[str]]:
        """The names of the jobs of each queue."""
        return {queue: [name for name, job in self._jobs.items() if queue in job.queues] for queue in self.queues}

    def largest_batch(self, queue: str) -> int:
        """The most items that any job of a queue takes at once."""
        return max((job.batch_size for job in self._jobs.values() if queue in job.queues), default=1)

    def gathers(self, queue: str) -> bool:
        """True if a job of a queue keeps the items of a key together."""
        return any(job.keeps_keys_together for job in self._jobs.values() if queue in job.queues)

    def longest_call_seconds(self, queues: Sequence[str]) -> float:
        """Return the longest time that a call of a job of these queues may take, in seconds."""
        return max(
            (job.timeout_seconds for job in self._jobs.values() if not set(queues).isdisjoint(job.queues)), default=0.0
        )

    def target_batch_seconds(self, queue: str, usual: float) -> float:
        """Return how long a batch of a queue may take: the longest time that a job asks for, else the usual one."""
        asked = [job.target_batch_seconds for job in self._jobs.values() if queue in job.queues]
        return max((seconds for seconds in asked if seconds is not None), default=usual)

    def queues_of_limit(self, name: str) -> list[str]:
        """The queues of the jobs that have a limit, in alphabetical order."""
        jobs = (job for job in self._jobs.values() if any(limit.name == name for limit in job.limits))
        return sorted({queue for job in jobs for queue in job.queues})

    @property
    def counters(self) -> list[JobCounter]:
        """The counters of all jobs; a counter that several jobs share is listed once."""
        return sorted({counter for job in self._jobs.values() for counter in job.counters}, key=attrgetter("name"))

    @property
    def histograms(self) -> list[JobHistogram]:
        """The histograms of all jobs."""
        return sorted({each for job in self._jobs.values() for each in job.histograms}, key=attrgetter("name"))


def installed_jobs() -> Registry:
    """The jobs of every installed package. Raises BadInputError as `load_job_classes`, and for an invalid job."""
    return Registry(make() for make in load_job_classes())


def list_job_names() -> list[str]:
    """The names under which installed packages have jobs, without loading any."""
    return sorted(entry_points(group=ENTRY_POINT_GROUP).names)


def load_job_classes() -> list[JobClass]:
    """Load the jobs of every installed package. Raises BadInputError naming the entry point that does not load."""
    classes: list[JobClass] = []
    for point in entry_points(group=ENTRY_POINT_GROUP):
        try:
            loaded = point.load()
        except (ImportError, AttributeError) as error:
            raise BadInputError(f"job {point.name!r} ({point.value}) does not load: {error}") from error
        if not (isinstance(loaded, type) and issubclass(loaded, Job)):
            raise BadInputError(f"job {point.name!r} ({point.value}) is not a subclass of streamworkers.engine.job.Job")
        classes.append(loaded)
    return classes


def _path(job: Job[Any]) -> str:
    return f"{type(job).__module__}.{type(job).__qualname__}"


def _require_sound(job: Job[Any]) -> None:
    name = getattr(job, "name", None)
    named: list[tuple[NameKind, object]] = [
        ("job", name),
        ("queue", job.queue),
        ("queue", job.first_queue or job.queue),
    ]
    for problem in filter(None, (find_name_error(*each) for each in named)):
        raise BadInputError(f"{problem}: {_path(job)}")
    if not 1 <= job.batch_size <= 1000:
        raise BadInputError(f"batch_size {job.batch_size} of job {name!r} is not between 1 and 1000")
    if not 1 <= job.max_attempts <= 100:
        raise BadInputError(f"max_attempts {job.max_attempts} of job {name!r} is not between 1 and 100")
    if not job.timeout_seconds > 0:
        raise BadInputError(f"timeout_seconds {job.timeout_seconds} of job {name!r} is not above 0")
    if job.item_kind not in get_args(ItemKind) or (job.item_kind == "id" and job.parts):
        raise BadInputError(f"item_kind {job.item_kind!r} of job {name!r} is not symbol or id, or it has parts too")
    if not issubclass(job.parameters, JobParameters):
        raise BadInputError(f"parameters of job {name!r} is not a subclass of JobParameters")
    require_sound_limits(job.name, job.limits)
    require_sound_settings(job.name, job.required_settings)
