"""What msgspec and jsonschema find wrong, as sentences of this project: each kind of error that they have."""

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from msgspec import Meta

from streamworkers.json_errors import word_malformed
from streamworkers.schema_errors import word_schema_error
from streamworkers.struct_errors import word_struct_error


class _Colour(Enum):
    RED = "red"
    BLUE = "blue"


class _Inner(msgspec.Struct, forbid_unknown_fields=True):
    url: str
    count: int = 0


class _Cat(msgspec.Struct, tag="cat"):
    name: str = ""


class _Dog(msgspec.Struct, tag="dog"):
    name: str = ""


class _Everything(msgspec.Struct, forbid_unknown_fields=True):
    whole: Annotated[int, Meta(ge=1, le=10)] = 1
    part: Annotated[float, Meta(gt=0, lt=1)] = 0.5
    fives: Annotated[int, Meta(multiple_of=5)] = 5
    word: Annotated[str, Meta(min_length=1, max_length=3)] = "x"
    code_name: Annotated[str, Meta(pattern="^[a-z]+$")] = "x"
    clock: Annotated[str, Meta(pattern="^[0-9]{2}:[0-9]{2}$")] = "00:00"
    names: Annotated[list[str], Meta(min_length=1, max_length=2)] = msgspec.field(default_factory=lambda: ["a"])
    order: Literal["desc", "asc"] | None = "desc"
    colour: _Colour = _Colour.RED
    zoned: Annotated[datetime, Meta(tz=True)] | None = None
    local: Annotated[datetime, Meta(tz=False)] | None = None
    day: date | None = None
    clock_time: time | None = None
    span: timedelta | None = None
    uuid: UUID | None = None
    price: Decimal | None = None
    blob: bytes | None = None
    yes: bool = True
    counts: dict[str, int] = msgspec.field(default_factory=dict)
    by_number: dict[int, str] = msgspec.field(default_factory=dict)
    inner: _Inner | None = None
    either: int | list[int] | None = None
    pair: tuple[int, int] | None = None
    pet: _Cat | _Dog | None = None
    password: Annotated[str, Meta(min_length=1)] | None = None


_CASES = [
    (5, "the body is not an object"),
    ({"whole": 0}, "field `whole`: 0 is below 1"),
    ({"whole": 11}, "field `whole`: 11 is above 10"),
    ({"whole": 10**100}, "field `whole`: 1" + "0" * 79 + "… is above 10"),
    ({"part": 0}, "field `part`: 0 is not above 0"),
    ({"part": 1.5}, "field `part`: 1.5 is not below 1"),
    ({"part": "x"}, "field `part`: 'x' is not a number"),
    ({"fives": 3}, "field `fives`: 3 is not a multiple of 5"),
    ({"word": ""}, "field `word` has 0 characters, fewer than 1"),
    ({"word": "abcd"}, "field `word` has 4 characters, more than 3"),
    ({"code_name": "A"}, "field `code_name`: 'A' is not of the form ^[a-z]+$"),
    ({"clock": "10 pm"}, "field `clock`: '10 pm' is not a time of day HH:MM"),
    ({"names": []}, "field `names` has 0 values, fewer than 1"),
    ({"names": ["a"] * 3}, "field `names` has 3 values, more than 2"),
    ({"names": ["a", None]}, "field `names[1]`: null is not a text"),
    ({"order": "dsc"}, "field `order`: 'dsc' is not one of asc, desc; did you mean 'desc'?"),
    ({"order": 5}, "field `order`: 5 is not one of asc, desc"),
    ({"colour": "rde"}, "field `colour`: 'rde' is not one of red, blue; did you mean 'red'?"),
    ({"zoned": "soon"}, "field `zoned`: 'soon' is not a time as 2026-11-26T18:00:00Z"),
    (
        {"zoned": "2026-01-01T00:00:00"},
        "field `zoned`: '2026-01-01T00:00:00' is a time without its zone: end it with Z, or an offset as -05:00",
    ),
    (
        {"local": "2026-01-01T00:00:00Z"},
        "field `local`: '2026-01-01T00:00:00Z' is a time with a zone, and none is wanted",
    ),
    ({"day": "x"}, "field `day`: 'x' is not a date YYYY-MM-DD"),
    ({"clock_time": "x"}, "field `clock_time`: 'x' is not a time of day as 18:00:00Z"),
    ({"span": "x"}, "field `span`: 'x' is not a duration as PT1H"),
    ({"span": "P99999999999999D"}, "field `span`: 'P99999999999999D' is too large or too small"),
    ({"uuid": "x"}, "field `uuid`: 'x' is not a UUID"),
    ({"price": "x"}, "field `price`: 'x' is not a number"),
    ({"blob": "!"}, "field `blob`: '!' is not a text in base64"),
    ({"yes": 1}, "field `yes`: 1 is not true or false"),
    ({"counts": {"a": "x"}}, "field `counts[...]` has a value that is not a whole number"),
    ({"by_number": {"x": ""}}, "a name in field `by_number` is not a whole number"),
    ({"inner": []}, "field `inner`: a list is not an object or null"),
    ({"inner": {}}, "field `inner.url` is missing"),
    ({"inner": {"url": "x", "cout": 1}}, "field `inner.cout` is not known; did you mean `count`?"),
    ({"inner": {"url": "x", "zz": 1}}, "field `inner.zz` is not known; known: url, count"),
    ({"either": "a"}, "field `either`: 'a' is not a whole number, a list or null"),
    ({"pair": [1]}, "field `pair` has 1 value, not 2"),
    ({"pet": {"type": "cow"}}, "field `pet.type`: 'cow' is not one of cat, dog"),
    ({"password": 5}, "field `password` is not a text or null"),
    ({"password": ""}, "field `password` has 0 characters, fewer than 1"),
    ({"whole": "Bearer abc"}, "field `whole` is not a whole number"),
    ({"ordr": 1}, "field `ordr` is not known; did you mean `order`?"),
    ({"x" * 100: 1}, f"field `{'x' * 80}` is not known"),
    ({"a` - at `$.b": 1}, "field `b.a` is not known"),
]


@pytest.mark.parametrize(("value", "message"), _CASES)
def test_each_kind_of_error_names_the_field_the_value_and_the_rule(value: Any, message: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(value, _Everything)
    assert word_struct_error(caught.value, value, _Everything) == message


@pytest.mark.parametrize(
    ("text", "value", "message"),
    [
        ("A new rule", {}, "the body breaks a rule: A new rule"),
        ("A new rule - at `$.whole`", {"whole": 7}, "field `whole`: 7 breaks a rule: A new rule"),
        ("A new rule of 'x' - at `$.password`", {"password": "x"}, "field `password` breaks its rule"),
        ("Number out of range - at `$.part`", {"part": 7}, "field `part`: 7 is too large or too small"),
        ("A new rule - at `$.a[0].b", {}, "the body breaks a rule: A new rule - at `$.a[0].b"),
        ("A new rule - at `$.gone[0]`", {"gone": 5}, "field `gone[0]`: null breaks a rule: A new rule"),
    ],
)
def test_a_message_of_a_later_msgspec_passes_with_its_text(text: str, value: Any, message: str) -> None:
    assert word_struct_error(msgspec.ValidationError(text), value, _Everything) == message


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"a":\n  "\xc3\xbc" 1}', "at line 2, column 7: a comma, or the end of the list or object, is missing"),
        (
            b'{"a":"x\n"}',
            "at line 1, column 8: a line end or control character stands in a text: write \\n, or another escape",
        ),
        (b'["\\ud83d\\u0041"]', "an escape \\u is half of a surrogate pair"),
        (b'["\\u12', "at line 1, column 4: the escape \\u has no four hexadecimal digits"),
        (b'{"a":1 ', "at line 1, column 8: it ends too early"),
        (b"\xef\xbb\xbf{}", "at line 1, column 1: a byte order mark stands before the value"),
    ],
)
def test_malformed_json_has_its_place_in_characters(body: bytes, message: str) -> None:
    with pytest.raises(msgspec.DecodeError) as caught:
        msgspec.json.decode(body)
    assert word_malformed(caught.value, body) == message
    assert word_malformed(msgspec.DecodeError("a new rule"), b"{}") == "a new rule"


_SCHEMA = {
    "type": "object",
    "properties": {
        "whole": {"type": "integer", "minimum": 1, "maximum": 5},
        "optional": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "mixed": {"type": ["integer", "null"]},
        "choice": {"enum": ["a", "b", 3]},
        "only": {"const": "x"},
        "word": {"type": "string", "minLength": 2, "maxLength": 3, "pattern": "^a"},
        "words": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 1},
        "above": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        "yes": {"type": "boolean"},
        "fives": {"multipleOf": 5},
        "inner": {"type": "object", "required": ["q"]},
        "unique": {"uniqueItems": True},
        "api_token": {"type": "string"},
    },
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"whole": 0}, "parameter whole=0 of job 'j': it is not at least 1"),
        ({"whole": 6}, "parameter whole=6 of job 'j': it is not at most 5"),
        ({"whole": "x"}, "parameter whole='x' of job 'j': it is not a whole number"),
        ({"optional": "x"}, "parameter optional='x' of job 'j': it is not a whole number and it is not null"),
        ({"mixed": "x"}, "parameter mixed='x' of job 'j': it is not a whole number and it is not null"),
        ({"choice": "c"}, "parameter choice='c' of job 'j': it is not a, b or 3"),
        ({"only": "c"}, "parameter only='c' of job 'j': it is not x"),
        ({"word": "a"}, "parameter word='a' of job 'j': it has fewer than 2 characters"),
        ({"word": "aaaa"}, "parameter word='aaaa' of job 'j': it has more than 3 characters"),
        ({"word": "bb"}, "parameter word='bb' of job 'j': it is not of the form ^a"),
        ({"words": [1]}, "parameter words.0=1 of job 'j': it is not a text"),
        ({"words": []}, "parameter words of job 'j': it has fewer than 1 entries"),
        ({"words": ["a", "b"]}, "parameter words of job 'j': it has more than 1 entries"),
        ({"above": 0}, "parameter above=0 of job 'j': it is not more than 0"),
        ({"above": 1}, "parameter above=1 of job 'j': it is not less than 1"),
        ({"yes": 1}, "parameter yes=1 of job 'j': it is not true or false"),
        ({"fives": 4}, "parameter fives=4 of job 'j': it is not a multiple of 5"),
        ({"inner": {}}, "parameter inner.q of job 'j': it is missing"),
        ({"inner": 1}, "parameter inner=1 of job 'j': it is not a mapping of names to values"),
        ({"unique": [1, 1]}, "parameter unique of job 'j': it breaks the rule 'uniqueItems' of its schema"),
        ({"api_token": 5}, "parameter api_token of job 'j': it is not a text"),
        ({"whol": 5}, "parameter whol=5 of job 'j': nothing has this name; did you mean 'whole'?"),
        ([], "parameters of job 'j': it is not a mapping of names to values"),
    ],
)
def test_parameters_that_break_their_schema_are_named_as_by_the_command_line(parameters: Any, message: str) -> None:
    error = best_match(Draft202012Validator(_SCHEMA).iter_errors(parameters))
    assert error is not None
    assert word_schema_error(error, "j") == message
