"""What msgspec finds wrong with a value, as a sentence of this project: the place, the value, and the rule.

msgspec stops at the first error, and its text has only the rule and the path. A text that this module does not know,
as of a later msgspec, is shown behind the place as it is.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
from msgspec import inspect

from streamworkers.errors import find_near
from streamworkers.shown_values import MOST_CHARACTERS, is_secret_value, show_json_value

_MOST_KNOWN = 20
_UNKNOWN_RULE = "breaks a rule"
_WHERE = re.compile(r"(?P<rule>.*?)(?: - at (?P<key>`key` in )?`\$(?P<path>.*)`)?", re.DOTALL)
_STEP = re.compile(r"\[(\d+|\.\.\.)\]|\.?([^.\[]+)")
TIME = "a time as 2026-11-26T18:00:00Z"
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
    "datetime": TIME,
    "date": "a date YYYY-MM-DD",
    "time": "a time of day as 18:00:00Z",
    "duration": "a duration as PT1H",
    "uuid": "a UUID",
    "decimal": "a number",
    "bytes": "a text in base64",
}
_UNITS = {"str": "characters", "array": "values", "object": "members", "bytes": "bytes"}
_COMPARED = {">=": "below", "<=": "above", ">": "not above", "<": "not below"}
_INVALID = {
    "RFC3339 encoded datetime": TIME,
    "RFC3339 encoded date": _KINDS["date"],
    "RFC3339 encoded time": _KINDS["time"],
    "ISO8601 duration": _KINDS["duration"],
    "UUID": _KINDS["uuid"],
    "decimal string": _KINDS["decimal"],
    "base64 encoded string": _KINDS["bytes"],
    "epoch timestamp": TIME,
}
_TOO_FAR = ("Integer value", "Number", "Timestamp", "Duration")


def word_struct_error(
    error: msgspec.ValidationError, value: Any, wanted: Any, root: str = "the body", kind: str = "field"
) -> str:
    """Say what is wrong with a value that is none of the type `wanted`.

    `root` names the whole, `kind` is what its members are called. No value of a field whose name means a secret is
    shown.
    """
    found = _WHERE.fullmatch(str(error))
    rule, path = (str(error), "") if found is None else (found["rule"], found["path"] or "")
    steps = list(_read_path(path))
    if named := re.fullmatch(
        r"Object (?P<what>missing required|contains unknown) field `(?P<name>.*)`", rule, re.DOTALL
    ):
        place = f"{kind} `{_show_path([*steps, named['name']])}`"
        if named["what"] == "missing required":
            return f"{place} is missing"
        return f"{place} is not known{_suggest(named['name'], _fields_of(wanted, steps))}"
    place = f"{kind} `{_show_path(steps)}`" if steps else root
    if found is not None and found["key"]:
        return f"a name in {place} {_word_rule(rule, None, ())}"
    if "..." in steps:
        return f"{place} has a value that {_word_rule(rule, None, ())}"
    reached = _reach(value, steps)
    words = _word_rule(rule, reached, _choices_of(wanted, steps))
    if kind != "field":  # what a query has is text, never null
        words = words.removesuffix(" or null")
    is_secret = is_secret_value(steps, reached)
    if is_secret and words.startswith(_UNKNOWN_RULE):  # which may have the value in it
        return f"{place} breaks its rule"
    if words.startswith("has ") or is_secret or not steps:
        return f"{place} {words}"
    is_plain = kind != "field" and re.fullmatch(r"[-+]?\d+(\.\d+)?", str(reached)) is not None
    return f"{place}: {reached if is_plain else show_json_value(reached)} {words}"


def _word_rule(rule: str, value: Any, choices: tuple[Any, ...]) -> str:
    """The rule that a value breaks, as the end of a sentence about the value."""
    if choices and rule.startswith(("Invalid enum value", "Invalid value", "Expected")):
        near = find_near(value, [str(each) for each in choices]) if isinstance(value, str) else None
        words = ", ".join(map(str, choices))
        return f"is not one of {words}" + ("" if near is None else f"; did you mean {near!r}?")
    for pattern, word in _RULES:
        if found := pattern.fullmatch(rule):
            return word(found, value)
    if rule.startswith("Invalid ") and rule.removeprefix("Invalid ") in _INVALID:
        return f"is not {_INVALID[rule.removeprefix('Invalid ')]}"
    if rule.startswith(_TOO_FAR) and "out of range" in rule:
        return "is too large or too small"
    return f"{_UNKNOWN_RULE}: {rule}"


def _word_length(found: re.Match[str], value: Any) -> str:
    limit, unit = found["limit"], _UNITS.get(found["kind"], "values")
    count = _count(len(value), unit) if isinstance(value, str | list | Mapping) else f"a number of {unit} that is"
    return f"has {count}, {'fewer' if found['sign'] == '>=' else 'more'} than {limit}"


def _count(number: int, unit: str) -> str:
    return f"{number} {unit.removesuffix('s') if number == 1 else unit}"


def _word_type(found: re.Match[str], _: Any) -> str:
    kinds = [_KINDS.get(each, each) for each in found["kinds"].split(" | ")]
    *others, last = dict.fromkeys(kinds)
    return f"is not {', '.join(others)} or {last}" if others else f"is not {last}"


def _word_array(found: re.Match[str], _: Any) -> str:
    return f"has {_count(int(found['count']), 'values')}, not {found['limit'].replace('length ', '')}"


def _word_zone(found: re.Match[str], _: Any) -> str:
    if found["zone"] == "no timezone":
        return "is a time with a zone, and none is wanted"
    return "is a time without its zone: end it with Z, or an offset as -05:00"


def _word_pattern(found: re.Match[str], _: Any) -> str:
    pattern = found["pattern"].strip("'\"")
    return f"is not {_PATTERNS.get(pattern, f'of the form {pattern}')}"


_PATTERNS = {"^[0-9]{2}:[0-9]{2}$": "a time of day HH:MM"}
_RULES: tuple[tuple[re.Pattern[str], Callable[[re.Match[str], Any], str]], ...] = (
    (re.compile(r"Expected `(?P<kind>\w+)` of length (?P<sign>>=|<=) (?P<limit>\d+)"), _word_length),
    (
        re.compile(
            r"Expected `array` of (?:length )?(?P<limit>(?:at \w+ length )?\d+(?: to \d+)?), got (?P<count>\d+)"
        ),
        _word_array,
    ),
    (re.compile(r"Expected `\w+` with (?P<zone>a timezone|no timezone) component"), _word_zone),
    (re.compile(r"Expected `str` matching regex (?P<pattern>.*)", re.DOTALL), _word_pattern),
    (
        re.compile(r"Expected `(?:int|float|decimal)` (?P<sign>>=|<=|>|<) (?P<limit>\S+)"),
        lambda found, _: f"is {_COMPARED[found['sign']]} {found['limit'].removesuffix('.0')}",
    ),
    (
        re.compile(r"Expected `(?:int|float)` that's a multiple of (?P<factor>\S+)"),
        lambda found, _: f"is not a multiple of {found['factor']}",
    ),
    (re.compile(r"Expected `(?P<kinds>[\w |]+)`(?:, got `.*`)?"), _word_type),
)


def _read_path(path: str) -> Iterator[str | int]:
    """The steps of a path such as `.runs[0].job`."""
    for index, name in _STEP.findall(path):
        yield name or (index if index == "..." else int(index))


def _show_path(steps: list[str | int]) -> str:
    text = "".join(f"[{step}]" if isinstance(step, int) or step == "..." else f".{step}" for step in steps)
    return repr(text.removeprefix(".")[:MOST_CHARACTERS])[1:-1]


def _reach(value: Any, steps: list[str | int]) -> Any:
    """The value at a path; None where it leads nowhere."""
    for step in steps:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def _types_at(wanted: Any, steps: list[str | int]) -> list[Any]:
    """The types that a value at a path may have, those of unions by themselves."""
    types = _members(inspect.type_info(wanted))
    for step in steps:
        types = [below for each in types for below in _below(each, step)]
    return types


def _members(kind: Any) -> list[Any]:
    if isinstance(kind, inspect.Metadata):
        return _members(kind.type)
    return (
        [each for member in kind.types for each in _members(member)] if isinstance(kind, inspect.UnionType) else [kind]
    )


def _below(kind: Any, step: str | int) -> list[Any]:
    if isinstance(kind, inspect.StructType):
        if step == kind.tag_field:
            return [inspect.LiteralType((kind.tag,))]
        return [each for field in kind.fields if field.encode_name == step for each in _members(field.type)]
    if isinstance(kind, inspect.DictType):
        return _members(kind.value_type)
    return _members(kind.item_type) if isinstance(kind, inspect.ListType) else []


def _fields_of(wanted: Any, steps: list[str | int]) -> list[str]:
    found = [each for each in _types_at(wanted, steps) if isinstance(each, inspect.StructType)]
    return [field.encode_name for each in found for field in each.fields]


def _choices_of(wanted: Any, steps: list[str | int]) -> tuple[Any, ...]:
    found: list[Any] = []
    for each in _types_at(wanted, steps):
        if isinstance(each, inspect.LiteralType):
            found += each.values
        elif isinstance(each, inspect.EnumType):
            found += [member.value for member in each.cls]
    return tuple(found)


def _suggest(name: str, known: list[str]) -> str:
    near = find_near(name[:MOST_CHARACTERS], sorted(known))
    if near is not None:
        return f"; did you mean `{near}`?"
    return f"; known: {', '.join(known)}" if 0 < len(known) <= _MOST_KNOWN else ""
