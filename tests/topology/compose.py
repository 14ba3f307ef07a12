"""Reads docker-compose.yml as Compose does: merge keys, then variables in every value."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parent.parent.parent
COMPOSE_FILE = REPOSITORY / "docker-compose.yml"
OUR_IMAGE = "streamworkers"

_VARIABLE = re.compile(r"\$(?:(\$)|\{(\w+)(?:(:-|:\?)([^}]*))?\})")
_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def compose_text() -> str:
    """The parsed file with its variables unresolved."""
    return COMPOSE_FILE.read_text(encoding="utf-8")


def variables_of(text: str) -> dict[str, tuple[str, str]]:
    """Each variable that the file names, with its operator (`:?`, `:-` or none) and what follows it."""
    return {name: (operator, rest) for dollar, name, operator, rest in _VARIABLE.findall(text) if not dollar}


def services(values: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The services with these values of variables. Raises ValueError for a required variable that is not set."""
    parsed: dict[str, Any] = yaml.safe_load(compose_text())
    substituted: dict[str, dict[str, Any]] = _substitute(parsed["services"], values)
    return substituted


def our_services(values: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The services that run the image of this repository."""
    return {
        name: service for name, service in services(values).items() if service["image"].partition(":")[0] == OUR_IMAGE
    }


def seconds(duration: str) -> float:
    """A duration of Compose in seconds: `45s`, `1m30s`."""
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"([\d.]+)([a-z]*)", duration))


def _substitute(value: Any, values: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _substitute(inner, values) for key, inner in value.items()}
    if isinstance(value, list):
        return [_substitute(inner, values) for inner in value]
    return _VARIABLE.sub(lambda match: _value_of(match, values), value) if isinstance(value, str) else value


def _value_of(match: re.Match[str], values: Mapping[str, str]) -> str:
    dollar, name, operator, rest = match.groups()
    if dollar:
        return "$"
    if given := values.get(name):
        return given
    if operator == ":?":
        raise ValueError(f"{name}: {rest}")
    return rest or ""
