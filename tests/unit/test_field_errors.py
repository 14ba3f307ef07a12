"""What pydantic finds is said in sentences of this project."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from streamworkers.field_errors import word_rule

_CODE = r"^[A-Z]{3}$"


class _Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")

    size: int = 0


class _Values(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = ""
    code: str = Field("ABC", pattern=_CODE)
    tag: str = Field("a", pattern="^a")
    count: int = Field(1, ge=1, le=9)
    above: int = Field(1, gt=0, lt=9)
    share: float = Field(0.5, ge=0.25, le=1.0)
    finite: float = Field(0.0, allow_inf_nan=False)
    price: Decimal = Decimal(0)
    on: bool = True
    kind: Literal["a", "b"] = "a"
    words: tuple[str, ...] = Field(("a",), min_length=1, max_length=2)
    listed: list[int] = []
    text: Annotated[str, Field(min_length=2, max_length=3)] = "ab"
    map: dict[str, int] = {}
    inner: _Inner = _Inner()
    nothing: None = None
    day: date = date(2026, 1, 2)
    at: datetime = datetime(2026, 1, 2, tzinfo=UTC)
    own: int = 0

    @field_validator("own")
    @classmethod
    def _is_even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("it is odd")
        return value


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"name": 7}, "it is not a text"),
        ({"code": "abc"}, "it is not three capitals"),
        ({"tag": "b"}, "it is not of the form ^a"),
        ({"count": "soon"}, "it is not a whole number"),
        ({"count": 1.5}, "it is not a whole number"),
        ({"count": None}, "it is not a whole number"),
        ({"share": float("nan")}, "it is not a finite number"),
        ({"count": 0}, "it is not at least 1"),
        ({"count": 10}, "it is not at most 9"),
        ({"above": 0}, "it is not more than 0"),
        ({"above": 9}, "it is not less than 9"),
        ({"share": 0.1}, "it is not at least 0.25"),
        ({"share": 2}, "it is not at most 1"),
        ({"share": "much"}, "it is not a number"),
        ({"finite": "inf"}, "it is not a finite number"),
        ({"price": "x"}, "it is not a number"),
        ({"on": "perhaps"}, "it is not true or false"),
        ({"kind": "c"}, "it is not a or b"),
        ({"words": "a"}, "it is not a list"),
        ({"words": []}, "it has fewer than 1 entries"),
        ({"words": ["a", "b", "c"]}, "it has more than 2 entries"),
        ({"listed": 7}, "it is not a list"),
        ({"text": "a"}, "it has fewer than 2 characters"),
        ({"text": "abcd"}, "it has more than 3 characters"),
        ({"map": []}, "it is not a mapping of names to values"),
        ({"inner": 7}, "it is not a mapping of names to values"),
        ({"inner": {"siz": 7}}, "nothing has this name"),
        ({"nothing": 7}, "it is not null"),
        ({"day": "soon"}, "it is not a date YYYY-MM-DD"),
        ({"at": "soon"}, "it is not an ISO time"),
        ({"own": 1}, "it is odd"),
        ({"cuont": 1}, "nothing has this name; did you mean 'count'?"),
        ({"x": 1}, "nothing has this name"),
    ],
)
def test_a_rule_is_said_in_our_words(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError) as raised:
        _Values.model_validate(given)
    assert word_rule(raised.value.errors()[0], _Values.model_fields, {_CODE: "three capitals"}) == sentence
