"""What a client asks for, and its form as the JSON object that `submit_run` takes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Literal, Protocol, TypedDict, TypeVar, Unpack

from streamworkers.client.json_values import to_json_fields
from streamworkers.errors import BadInputError
from streamworkers.tracing import is_on, trace_enqueue

P = TypeVar("P")


class RunReference(Protocol):
    """Anything with the number of a run, such as a run that was submitted."""

    @property
    def id(self) -> int:
        """The number of the run."""
        ...


class RequestFields(TypedDict, total=False):
    """What a run is about beside its job and parameters, all optional (docs/guides/submitting-runs.md)."""

    symbols: Sequence[str] | None
    items: Sequence[str] | None
    universe: str | None
    timeframe: str | None
    timeframes: Sequence[str] | None
    as_of: datetime | str | None
    start_at: datetime | str | None
    after: "int | RunReference | Sequence[int | RunReference] | None"
    after_when: Literal["completed", "ended"] | None
    webhook: Mapping[str, Any] | None
    max_attempts: int | None
    priority: Literal["high", "normal", "low"] | None
    key: str | None
    user: str | None
    traceparent: str | None


@dataclass(frozen=True, slots=True)
class Request:
    """One run that is wanted: its job, the parameters of the job, and what it is about."""

    job: str
    parameters: object
    fields: RequestFields

    @classmethod
    def of(cls, job: "str | TypedJob[Any]", parameters: object = None, **fields: Unpack[RequestFields]) -> "Request":
        """Make a request; `parameters` is a mapping, or an object with typed fields such as a dataclass."""
        return cls(job.name if isinstance(job, TypedJob) else job, parameters, fields)


@dataclass(frozen=True, slots=True)
class TypedJob(Generic[P]):
    """A job's name with the type of its parameters, as `streamworkers jobs stubs` writes it."""

    name: str

    def request(self, parameters: P | None = None, **fields: Unpack[RequestFields]) -> Request:
        """Make a request whose parameters a type checker has checked."""
        return Request(self.name, parameters, fields)


def encode(request: Request, user: str | None) -> dict[str, Any]:
    """Return a request as the object that `submit_run` takes; `user` is for whom, if the request does not say.

    Raises BadInputError for a value that has no such form.
    """
    label = f"job {request.job!r}"
    fields: dict[str, Any] = {"user": user, **request.fields}
    unknown = sorted(fields.keys() - RequestFields.__annotations__.keys())
    if unknown:
        known = ", ".join(RequestFields.__annotations__)
        raise BadInputError(f"{label}: field {unknown[0]!r} is not known; known are {known}")
    for name in ("symbols", "items", "timeframes"):
        fields[name] = _to_list(label, name, fields.get(name))
    for name in ("as_of", "start_at"):
        moment = fields.get(name)
        if isinstance(moment, datetime):
            if moment.tzinfo is None:
                raise BadInputError(f"{label}: {name} {moment.isoformat()!r} has no time zone")
            fields[name] = moment.isoformat()
    fields["after"] = _list_awaited(label, fields.get("after"))
    if is_on():
        with trace_enqueue(request.job, fields.get("traceparent")) as span:
            fields["traceparent"] = span.traceparent
    parameters = {} if request.parameters is None else request.parameters
    words = {"job": request.job, "parameters": parameters, **fields}
    encoded = to_json_fields(label, {name: value for name, value in words.items() if value is not None})
    if not isinstance(encoded["parameters"], dict):
        raise BadInputError(f"{label}: parameters {request.parameters!r} are no mapping and have no fields")
    return encoded


def _list_awaited(label: str, value: object) -> list[int] | None:
    """Return the numbers of the runs to come after."""
    if value is None:
        return None
    several = list(value) if isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping) else [value]
    numbers: list[int] = []
    for each in several:
        number = getattr(each, "id", each)
        if type(number) is not int:
            raise BadInputError(f"{label}: after {each!r} is not a run or the number of one")
        numbers.append(number)
    return numbers


def _to_list(label: str, name: str, value: object) -> list[object] | None:
    if value is None:
        return None
    if isinstance(value, str | bytes | Mapping):
        raise BadInputError(f"{label}: {name} {value!r} is one value: name a list")
    if not isinstance(value, Iterable):
        raise BadInputError(f"{label}: {name} {value!r} is not a list")
    return list(value)
