"""Stubs: Python types of parameters from JSON Schemas, and what mypy makes of them."""

from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal

import pytest
from mypy import api
from pydantic import BaseModel, ConfigDict, Field

from streamworkers.client import SubmittableJob, TypedJob
from streamworkers.client.stubs import write_stubs

ROOT = Path(__file__).parent.parent.parent.parent


class _Leg(BaseModel):
    symbol: str
    weight: float = 1.0
    legs: list["_Leg"] = []


class _Parameters(BaseModel):
    """What each type becomes.

    A second paragraph is left out.
    """

    model_config = ConfigDict(extra="forbid")

    count: int = Field(ge=1)
    share: float | None = None
    on: bool = False
    side: Literal["long", "short"] = "long"
    first: date | None = None
    at: datetime | None = None
    names: list[str] = []
    limits: dict[str, int] = {}
    legs: tuple[_Leg, ...] = ()
    anything: Any = None


def _job(name: str, schema: dict[str, Any]) -> SubmittableJob:
    return SubmittableJob(name, "q", 3, "symbol", schema)


def _load(source: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(compile(source, "stubs", "exec"), names)
    return names


def test_each_type_of_pydantic_has_one_of_python() -> None:
    source = write_stubs([_job("make_legs", _Parameters.model_json_schema())])
    own = source.partition("class MakeLegsParameters")[2]
    assert own.startswith('(TypedDict, total=False):\n    """What each type becomes."""\n\n')
    assert own.partition("\n\n")[2].splitlines()[:10] == [
        "    count: Required[int]",
        "    share: float | None",
        "    on: bool",
        "    side: Literal['long', 'short']",
        "    first: date | str | None",
        "    at: datetime | str | None",
        "    names: list[str] | tuple[str, ...]",
        "    limits: Mapping[str, int]",
        '    legs: list["MakeLegsLeg"] | tuple["MakeLegsLeg", ...]',
        "    anything: Any",
    ]
    names = _load(source)
    assert names["MAKE_LEGS"] == TypedJob("make_legs")
    assert names["MakeLegsParameters"].__required_keys__ == {"count"}
    assert names["MakeLegsLeg"].__required_keys__ == {"symbol"}


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"type": ["integer", "null"]}, "int | None"),
        ({"const": 5}, "Literal[5]"),
        ({"enum": ["a'b\n", None, True]}, 'Literal["a\'b\\n", None, True]'),
        ({"enum": [1.5]}, "Any"),
        ({"enum": []}, "Any"),
        ({"oneOf": [{"type": "string"}, {"type": "string"}, {"type": "integer"}]}, "str | int"),
        ({"type": "object"}, "Mapping[str, Any]"),
        ({"type": "array"}, "list[Any] | tuple[Any, ...]"),
        ({"$ref": "#/$defs/nowhere"}, "Any"),
        ({"$ref": "#/$defs/json"}, "str | list[Any] | tuple[Any, ...]"),
        ({"$ref": "#/$defs/size"}, "int"),
        ({"type": "money"}, "Any"),
        (True, "Any"),
    ],
)
def test_each_form_of_a_schema_has_a_type(schema: Any, kind: str) -> None:
    known = {
        "size": {"type": "integer"},
        "json": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"$ref": "#/$defs/json"}}]},
    }
    source = write_stubs([_job("x", {"properties": {"field": schema}, "$defs": known})])
    assert f"    field: {kind}\n" in source
    _load(source)


def test_no_text_of_a_job_becomes_code() -> None:
    hostile = '"""\\\nimport os"""; 1/0 \\"'
    source = write_stubs(
        [
            _job(
                "x",
                {"description": hostile, "properties": {"class": {"type": "string"}, 'a"\n1/0': {"const": hostile}}},
            ),
            _job("y", {"description": hostile, "properties": {"ok": {"const": "\\"}}}),
            _job("z", {"description": "   "}),
        ]
    )
    names = _load(source)
    assert set(names["XParameters"].__annotations__) == {"class", 'a"\n1/0'}
    assert names["YParameters"].__doc__.startswith("'''")
    assert names["ZParameters"].__doc__ == "Parameters of the job z."
    assert names["Z"] == TypedJob("z")


def test_the_newest_release_counts_and_no_name_is_used_twice() -> None:
    nested = {"$defs": {"XParameters": {"properties": {"a": {"type": "integer"}}}}}
    source = write_stubs(
        [
            _job("load", {"properties": {"old": {"type": "string"}}}),
            _job("load", {**nested, "properties": {"new": {"$ref": "#/$defs/XParameters"}}}),
            _job("load_x", {"properties": {"b": {"type": "integer"}}}),
        ]
    )
    assert "old" not in source
    names = _load(source)
    assert set(names["LoadXParameters"].__annotations__) == {"a"}
    assert set(names["LoadXParameters2"].__annotations__) == {"b"}


_USES = """
from streamworkers.client import AsyncClient, Client
from stubs import MAKE_LEGS, MakeLegsParameters as Legs

def right(client: Client) -> None:
    run = client.enqueue(MAKE_LEGS, Legs(count=1, side="short", legs=[{"symbol": "A"}]), symbols=["A"], key="k")
    client.enqueue_many([MAKE_LEGS.request({"count": 1, "names": ["a"]}, universe="u")])
    run.wait(1).status.lower()

async def right_too(client: AsyncClient) -> None:
    await (await client.enqueue(MAKE_LEGS, Legs(count=1))).wait(1)

def wrong(client: Client) -> None:
    client.enqueue(MAKE_LEGS, Legs(count="1"))
    client.enqueue(MAKE_LEGS, Legs())
    client.enqueue(MAKE_LEGS, Legs(count=1, cuont=1))
    client.enqueue(MAKE_LEGS, Legs(count=1, side="flat"))
    client.enqueue(MAKE_LEGS, Legs(count=1), symbls=["A"])
    client.enqueue(MAKE_LEGS, Legs(count=1), symbols=5)
    client.enqueue(MAKE_LEGS, {"cuont": 1})
    MAKE_LEGS.request({"count": None})
"""


def test_mypy_finds_what_does_not_fit(tmp_path: Path) -> None:
    """Only the client's own modules are read: the types of drivers are not what this is about."""
    (tmp_path / "stubs.py").write_text(write_stubs([_job("make_legs", _Parameters.model_json_schema())]))
    uses = tmp_path / "uses.py"
    uses.write_text(_USES)
    package = ROOT / "streamworkers" / "client"
    files = [package / f"{name}.py" for name in ("__init__", "client", "async_client", "request", "records")]
    words = [
        "--strict",
        "--follow-imports=skip",
        "--explicit-package-bases",
        f"--cache-dir={tmp_path}",
        "--config-file=",
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MYPYPATH", f"{ROOT}:{tmp_path}")
        out, error, _ = api.run([*words, str(uses), str(tmp_path / "stubs.py"), *map(str, files)])
    assert error == ""
    found = {int(line.split(":")[1]) for line in out.splitlines() if "uses.py" in line and ": error:" in line}
    before = _USES.partition("def wrong")[0].count("\n") + 1
    assert found == set(range(before + 1, _USES.count("\n") + 1)), out
    assert "stubs.py" not in out
