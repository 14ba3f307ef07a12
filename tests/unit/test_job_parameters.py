"""Parameters of jobs in words, from JSON Schemas of any shape."""

from datetime import date, datetime
from typing import Any, Literal
from uuid import UUID

import pytest
from pydantic import Field

from streamworkers import JobParameters
from streamworkers.admin.job_parameters import describe_parameters


class _Leg(JobParameters):
    size: int = 1


class _Parameters(JobParameters):
    name: str
    count: int = Field(5, ge=1, le=9, description="How many\n of them")
    share: float = Field(0.5, gt=0, lt=1)
    on: bool = False
    kind: Literal["a", "b"] | None = None
    days: tuple[date, ...] = ()
    at: datetime | None = None
    id: UUID | None = None
    legs: list[_Leg] = Field([])
    weights: dict[str, float] = Field({})
    anything: Any = None
    code: str = Field("x", pattern="^x", min_length=1, max_length=3)


def test_types_rules_and_defaults_are_words() -> None:
    rows = {each.name: each for each in describe_parameters(_Parameters.model_json_schema())}
    assert {name: row.type for name, row in rows.items()} == {
        "name": "text",
        "count": "whole number",
        "share": "number",
        "on": "true or false",
        "kind": "a, b or null",
        "days": "list of date",
        "at": "time or null",
        "id": "UUID or null",
        "legs": "list of mapping",
        "weights": "mapping",
        "anything": "any value",
        "code": "text",
    }
    assert (rows["name"].is_required, rows["name"].default) == (True, None)
    assert (rows["count"].rule, rows["count"].description) == ("at least 1, at most 9", "How many of them")
    assert rows["share"].rule == "more than 0, less than 1"
    assert rows["code"].rule == "at least 1 characters, at most 3 characters, of the form ^x"
    assert rows["kind"].rule == ""


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"$ref": "#/$defs/itself"}, "any value"),
        ({"$ref": "#/$defs/nothing"}, "any value"),
        ({"type": ["integer", "null"]}, "whole number or null"),
        ({"const": 3}, "3"),
        ({"type": "array"}, "list"),
        ({"type": "array", "items": {"$ref": "#/$defs/list"}}, "list of " * 9 + "any value"),
        (True, "any value"),
        ({"type": "odd"}, "any value"),
    ],
)
def test_a_schema_of_any_shape_has_words(part: Any, words: str) -> None:
    lists = {"itself": {"$ref": "#/$defs/itself"}, "list": {"type": "array", "items": {"$ref": "#/$defs/list"}}}
    (row,) = describe_parameters({"properties": {"x": part}, "$defs": lists})
    assert row.type == words
