"""What people can know of a job: of one that is installed here, and of one that only other processes have."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import Any

from streamworkers.admin.job_parameters import JobParameter, describe_parameters
from streamworkers.engine.job import Job, JobParameters
from streamworkers.engine.ledger.job_types import RecordedJob
from streamworkers.engine.preparation import kind_of_items
from streamworkers.engine.registry import ENTRY_POINT_GROUP, Registry
from streamworkers.installed import entry_points


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDescription:
    """A job. What only its code says is None, or empty, for one that is not `installed` here.

    `releases` says which releases of the pool have recorded it, with the time at which each was seen last, and whether
    their parameters are those that are described. `time_limit_seconds` is that of a call, `batch` the most items of it.
    """

    name: str
    installed: bool
    description: str = ""
    queue: str
    first_queue: str | None = None
    items: str
    batch: int | None = None
    time_limit_seconds: float | None = None
    target_batch_seconds: float | None = None
    max_attempts: int
    parts: tuple[str, ...] = ()
    needs_bars: bool
    notifies_failure: bool
    keeps_keys_together: bool | None = None
    package: str | None = None
    version: str | None = None
    path: str | None = None
    required_settings: tuple[str, ...] | None = None
    about_parameters: str = ""
    parameters: tuple[JobParameter, ...]
    counters: tuple[Mapping[str, Any], ...] = ()
    releases: tuple[Mapping[str, Any], ...] = ()


def describe_jobs(registry: Registry, recorded: Iterable[RecordedJob]) -> Iterator[JobDescription]:
    """Yield all jobs by name, those that are installed here and those that processes of the pool have recorded."""
    points = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    known: dict[str, list[RecordedJob]] = {}
    for each in recorded:
        known.setdefault(each.type.name, []).append(each)
    for name in sorted({*registry, *known}):
        if name in registry:
            yield _describe_installed(registry[name], points.get(name), known.get(name, []))
        else:
            yield _describe_recorded(known[name])


def _describe_installed(job: Job[Any], point: EntryPoint | None, recorded: list[RecordedJob]) -> JobDescription:
    schema = job.parameters.model_json_schema()
    distribution = None if point is None else point.dist
    return JobDescription(
        name=job.name,
        installed=True,
        description=_first_line(type(job).__doc__),
        queue=job.queue,
        first_queue=job.first_queue,
        items=kind_of_items(job),
        batch=job.batch_size,
        time_limit_seconds=job.timeout_seconds,
        target_batch_seconds=job.target_batch_seconds,
        max_attempts=job.max_attempts,
        parts=job.parts,
        needs_bars=job.needs_bars,
        notifies_failure=job.notifies_failure,
        keeps_keys_together=job.keeps_keys_together,
        required_settings=job.required_settings,
        package=None if distribution is None else distribution.name,
        version=None if distribution is None else distribution.version,
        path=f"{type(job).__module__}.{type(job).__qualname__}",
        about_parameters=_about_parameters(schema),
        parameters=tuple(describe_parameters(schema)),
        counters=tuple(_list_metrics(job)),
        releases=_list_releases(recorded, schema),
    )


def _describe_recorded(recorded: list[RecordedJob]) -> JobDescription:
    newest = recorded[0].type
    return JobDescription(
        name=newest.name,
        installed=False,
        queue=newest.queue,
        items=newest.item_kind,
        max_attempts=newest.max_attempts,
        needs_bars=newest.needs_bars,
        notifies_failure=newest.notifies_failure,
        about_parameters=_about_parameters(newest.params_schema),
        parameters=tuple(describe_parameters(newest.params_schema)),
        releases=_list_releases(recorded, newest.params_schema),
    )


def _list_releases(recorded: Iterable[RecordedJob], schema: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    return tuple(
        {"release": each.release, "seen_at": each.seen_at, "same_parameters": each.type.params_schema == schema}
        for each in recorded
    )


def _list_metrics(job: Job[Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the job's own metrics with the names that Prometheus has for them."""
    for counter in job.counters:
        name = f"streamworkers_{counter.name}_total"
        yield {"name": name, "documentation": counter.documentation, "labels": counter.labels}
    for histogram in job.histograms:
        name = f"streamworkers_{histogram.name}"
        yield {"name": name, "documentation": histogram.documentation, "labels": histogram.labels}


def _about_parameters(schema: Mapping[str, Any]) -> str:
    """The text of a class of parameters; that of the class it is made from says nothing of the job."""
    text = str(schema.get("description", ""))
    return "" if text == " ".join(str(JobParameters.__doc__).split()) else _unwrap(text)


def _first_line(docstring: str | None) -> str:
    return _unwrap((docstring or "").strip()).partition("\n")[0]


def _unwrap(text: str) -> str:
    """Return a text with one line for each paragraph."""
    return "\n".join(" ".join(part.split()) for part in text.split("\n\n"))
