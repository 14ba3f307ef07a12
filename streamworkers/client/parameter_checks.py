"""Checks parameters against the JSON Schemas that the pool has recorded of its jobs, before anything is sent.

It is the first check; `submit_run` knows names and which are required, and the job's own model decides.
"""

import json
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from streamworkers.client.records import SubmittableJob
from streamworkers.errors import BadInputError

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

_KEPT_SECONDS = 60.0
_MOST_CHARACTERS = 80


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
            problems = [_find_problem(validator, parameters) for validator in validators]
            if None not in problems:
                label = f"request {place}: " if len(requests) > 1 else ""
                return BadInputError(f"{label}job {job!r}: {problems[-1]}")
            sound.add(text)
        return None


def _find_problem(validator: "Validator", parameters: Mapping[str, Any]) -> str | None:
    from jsonschema.exceptions import best_match

    error = best_match(validator.iter_errors(parameters))
    if error is None:
        return None
    if not error.absolute_path:
        return f"parameters: {error.message}"
    path = ".".join(str(part) for part in error.absolute_path)
    value = json.dumps(error.instance)
    shown = value if len(value) <= _MOST_CHARACTERS else f"{value[:_MOST_CHARACTERS]}…"
    return f"parameter {path!r} is {shown}, which {_rule_of(error.validator, error.validator_value)}"


def _rule_of(keyword: object, limit: Any) -> str:
    """Say the rule of a JSON Schema that a value breaks."""
    rules = {
        "type": f"is not of the type {' or '.join(limit) if isinstance(limit, list) else limit}",
        "enum": f"is not one of {json.dumps(limit)}",
        "const": f"is not {json.dumps(limit)}",
        "minimum": f"is less than {limit}",
        "maximum": f"is more than {limit}",
        "exclusiveMinimum": f"is not more than {limit}",
        "exclusiveMaximum": f"is not less than {limit}",
        "minLength": f"has fewer than {limit} characters",
        "maxLength": f"has more than {limit} characters",
        "minItems": f"has fewer than {limit} members",
        "maxItems": f"has more than {limit} members",
        "pattern": f"does not match {json.dumps(limit)}",
        "required": f"lacks one of {json.dumps(limit)}",
        "additionalProperties": "has a name that is not known",
    }
    return rules.get(str(keyword), f"breaks the rule {keyword!r} of its schema")
