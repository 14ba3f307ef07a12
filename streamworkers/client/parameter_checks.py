"""Checks parameters against the JSON Schemas that the pool has recorded of its jobs, before anything is sent.

It is the first check; `submit_run` knows names and which are required, and the job's own model decides.
"""

import json
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from streamworkers.client.records import SubmittableJob
from streamworkers.errors import BadInputError
from streamworkers.schema_errors import word_schema_error

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

_KEPT_SECONDS = 60.0


class KnownJobs:
    """The jobs as they were last read, and validators of their parameters; one for each client."""

    def __init__(self) -> None:
        self._validators: dict[str, list[Validator]] = {}
        self._read_at = 0.0

    @property
    def is_old(self) -> bool:
        """True if the jobs are to be read again before a check."""
        return time.monotonic() - self._read_at > _KEPT_SECONDS or not self._validators

    def keep(self, jobs: Sequence[SubmittableJob]) -> None:
        """Remember the jobs and their schemas."""
        from jsonschema import Draft202012Validator

        found: dict[str, list[Validator]] = {}
        for job in jobs:
            found.setdefault(job.name, []).append(Draft202012Validator(job.parameters_schema))
        self._validators, self._read_at = found, time.monotonic()

    def find_error(self, requests: Sequence[Mapping[str, Any]]) -> BadInputError | None:
        """Return what is wrong with the parameters of the first request that fits no release of its job, if any.

        A job that is not known is left to `submit_run`.
        """
        sound = set()
        for place, request in enumerate(requests, 1):
            job, parameters = request["job"], request["parameters"]
            validators = self._validators.get(job) if isinstance(job, str) else None
            if not parameters or not validators:
                continue
            text = f"{job} {json.dumps(parameters)}"
            if text in sound:
                continue
            problems = [_find_problem(validator, parameters, job) for validator in validators]
            if None not in problems:
                label = f"request {place}: " if len(requests) > 1 else ""
                return BadInputError(f"{label}{problems[-1]}")
            sound.add(text)
        return None


def _find_problem(validator: "Validator", parameters: Mapping[str, Any], job: str) -> str | None:
    from jsonschema.exceptions import best_match

    error = best_match(validator.iter_errors(parameters))
    return None if error is None else word_schema_error(error, job)
