"""Writes the OpenAPI 3.1 document from the operations: `python -m streamworkers.api.openapi`."""

import re
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from streamworkers.api.conditions import TAGS_PATTERN
from streamworkers.api.event_answers import EVENT_STREAM
from streamworkers.api.operation import Nothing, Operation
from streamworkers.api.problem import ProblemBody
from streamworkers.api.routes.table import OPERATIONS

FILE = Path(__file__).parent.parent.parent / "docs" / "reference" / "openapi.json"
_REFERENCE = "#/components/schemas/{name}"
_TEXT = {"type": "string"}
_ALWAYS = (401, 403, 408, 413, 414, 415, 422, 429, 500, 503)
_TAGS = {"type": "string", "pattern": TAGS_PATTERN}
_NAMED = {"alert": "aapl-150", "schedule": "evening", "job_id": "evening", "run": "17", "universe": "sp500"}
_INTRODUCTION = (
    "Every path below `/api/v1` is also found below `/api`, the prefix of the replaced systems. Unknown fields and"
    " parameters are rejected. Answers to a token have the headers RateLimit-Limit, RateLimit-Remaining and"
    " RateLimit-Reset. docs/guides/api.md explains tokens, scopes, limits, keys and pages."
)


def make_document(operations: Sequence[Operation] = OPERATIONS) -> dict[str, Any]:
    """Return the document of these operations."""
    types = [ProblemBody, *(each.answer for each in operations), *(_bodies(operations))]
    _, components = msgspec.json.schema_components(types, ref_template=_REFERENCE)
    paths: dict[str, Any] = {}
    for operation in operations:
        paths.setdefault(operation.route, {})[operation.method.lower()] = _describe(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "streamworkers", "version": version("streamworkers"), "description": _INTRODUCTION},
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "A token of `tokens`"}},
            "schemas": dict(sorted(components.items())),
        },
    }


def write_openapi() -> str:
    """Return the document as the file has it."""
    return msgspec.json.format(msgspec.json.encode(make_document()), indent=1).decode() + "\n"


def _bodies(operations: Sequence[Operation]) -> list[Any]:
    return [each.body for each in operations if each.body is not Nothing]


def _schema(wanted: Any) -> dict[str, Any]:
    (schema,), _ = msgspec.json.schema_components([wanted], ref_template=_REFERENCE)
    return schema


def _describe(operation: Operation) -> dict[str, Any]:
    text = (operation.handler.__doc__ or "").strip()
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "description": f"{text} Needs the scope `{operation.scope}`.",
        "tags": [operation.object_type or "api"],
        "parameters": [*_path_parameters(operation), *_query_parameters(operation), *_headers(operation)],
        "responses": _responses(operation),
    }
    if operation.body is not Nothing:
        content: dict[str, Any] = {"schema": _schema(operation.body)}
        if operation.example is not None:
            content["example"] = operation.example
        needed = any(field.required for field in msgspec.structs.fields(operation.body))
        described["requestBody"] = {"required": needed, "content": {"application/json": content}}
    return described


def _path_parameters(operation: Operation) -> list[dict[str, Any]]:
    names = re.findall(r"{(\w+)}", operation.path)
    described = []
    for name in names:
        known = {"example": _NAMED[name]} if name in _NAMED else {}
        described.append({"name": name, "in": "path", "required": True, "schema": {"type": "string"}, **known})
    return described


def _query_parameters(operation: Operation) -> list[dict[str, Any]]:
    _, components = msgspec.json.schema_components([operation.query], ref_template=_REFERENCE)
    schema = components[operation.query.__name__]
    required = set(schema.get("required", ()))
    return [
        {"name": name, "in": "query", "required": name in required, "schema": each}
        for name, each in schema["properties"].items()
    ]


def _headers(operation: Operation) -> list[dict[str, Any]]:
    if operation.is_stream:
        text = "The id of the last event that is known; the stream goes on behind it"
        return [{"name": "Last-Event-ID", "in": "header", "required": False, "description": text, "schema": _TEXT}]
    if 428 in operation.problems:
        text = "The ETag of the version that you have seen, or * for any"
        return [{"name": "If-Match", "in": "header", "required": True, "description": text, "schema": _TAGS}]
    if operation.is_tagged:
        text = "The ETag that you have: without a newer version, the answer is 304"
        return [{"name": "If-None-Match", "in": "header", "required": False, "description": text, "schema": _TEXT}]
    if operation.method != "POST" or operation.only_reads:
        return []
    text = "Sent again with the same key, the request has no second effect and the first answer"
    schema = {"type": "string", "minLength": 1, "maxLength": 257}
    return [{"name": "Idempotency-Key", "in": "header", "required": False, "description": text, "schema": schema}]


def _responses(operation: Operation) -> dict[str, Any]:
    kinds = {"application/json": {"schema": _schema(operation.answer)}}
    responses: dict[str, Any] = {str(operation.status): {"description": operation.summary, "content": kinds}}
    if operation.is_stream:
        kinds[EVENT_STREAM] = {"schema": {}}  # some readers take it for the whole text, others for one event
        responses["204"] = {"description": "There is nothing more to stream"}
    if operation.is_tagged:
        responses["304"] = {"description": "There is no newer version"}
    content = {"application/problem+json": {"schema": _schema(ProblemBody)}}
    malformed = (400,) if operation.method != "GET" else ()  # a body, an Idempotency-Key or an If-Match
    for status in sorted({*_ALWAYS, *malformed, *operation.problems}):
        responses[str(status)] = {"description": f"Problem {status}", "content": content}
    return responses


if __name__ == "__main__":
    FILE.write_text(write_openapi(), encoding="utf-8")
