"""The OpenAPI document in the repository is that of the code, and is one."""

import json
from typing import Any

from jsonschema import Draft202012Validator

from streamworkers.api.openapi import FILE, make_document, write_openapi
from streamworkers.api.operation import Nothing, Routes
from streamworkers.api.reading import read_body
from streamworkers.api.routes.table import OPERATIONS


def test_the_file_is_what_the_code_says() -> None:
    assert FILE.read_text(encoding="utf-8") == write_openapi(), "run python -m streamworkers.api.openapi"


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [found for each in value.values() for found in _references(each)]
    return [found for each in value for found in _references(each)] if isinstance(value, list) else []


def test_every_reference_and_every_schema_is_sound() -> None:
    document = make_document()
    schemas = document["components"]["schemas"]
    assert {reference.rpartition("/")[2] for reference in _references(document)} <= set(schemas)
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)


def test_every_operation_is_named_once_and_explained() -> None:
    described = [each for path in make_document()["paths"].values() for each in path.values()]
    names = [each["operationId"] for each in described]
    assert len(names) == len(set(names)) == len(OPERATIONS)
    assert [each["operationId"] for each in described if len(each["description"].split()) < 6] == []


def test_every_example_is_read_and_every_body_has_one() -> None:
    for operation in OPERATIONS:
        assert (operation.example is None) == (operation.body is Nothing), operation.name
        if operation.example is not None:
            read_body(json.dumps(operation.example).encode(), operation.body)


def test_changing_operations_say_what_the_audit_log_calls_them() -> None:
    for operation in OPERATIONS:
        assert bool(operation.action) == operation.changing, operation.name


def test_what_any_request_may_be_answered_with_is_documented() -> None:
    """A key, a body or a version may be malformed, wherever there may be one; a body may be of another type."""
    for path in make_document()["paths"].values():
        for method, described in path.items():
            wanted = {"401", "414", "415", "422", "503"} | ({"400"} if method != "get" else set())
            names = {parameter["name"] for parameter in described["parameters"]}
            wanted |= ({"412", "428"} if "If-Match" in names else set()) | (
                {"304"} if "If-None-Match" in names else set()
            )
            assert wanted <= set(described["responses"]), described["operationId"]


def test_a_body_is_required_if_a_field_of_it_is() -> None:
    paths = make_document()["paths"]
    assert paths["/api/v1/alerts"]["post"]["requestBody"]["required"]
    assert not paths["/api/v1/alerts/{alert}/unmute"]["post"]["requestBody"]["required"]


def test_every_path_leads_to_its_operation() -> None:
    routes = Routes(OPERATIONS)
    for operation in OPERATIONS:
        for path in operation.paths:
            assert routes.find(operation.method, path.replace("{", "").replace("}", ""))[0] is operation
