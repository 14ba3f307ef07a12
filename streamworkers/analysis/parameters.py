"""Rules for the parameters of own indicators and detectors, and their validation."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from streamworkers.errors import BadInputError, UnknownNameError

ParameterValue = int | float | str


@dataclass(frozen=True, slots=True)
class WholeNumber:
    """A whole number from `minimum` to `maximum`, both included; 20.0 counts as 20."""

    minimum: int
    maximum: int = 100_000

    def validate(self, owner: str, name: str, value: object) -> int:
        """The value as an int. Raises BadInputError if it is not a whole number in range."""
        number = to_whole_number(owner, name, value)
        if not self.minimum <= number <= self.maximum:
            raise BadInputError(f"{name} of {owner} is {number}, not in {self.minimum} to {self.maximum}")
        return number


@dataclass(frozen=True, slots=True)
class RealNumber:
    """A finite number from `minimum` to `maximum`, both included."""

    minimum: float
    maximum: float

    def validate(self, owner: str, name: str, value: object) -> float:
        """The value as a float. Raises BadInputError if it is not a finite number in range."""
        number = to_real_number(owner, name, value)
        if not self.minimum <= number <= self.maximum:
            raise BadInputError(f"{name} of {owner} is {number:g}, not in {self.minimum:g} to {self.maximum:g}")
        return number


@dataclass(frozen=True, slots=True)
class Choice:
    """A parameter that is one of several words."""

    options: tuple[str, ...]

    def validate(self, owner: str, name: str, value: object) -> str:
        """The word. Raises BadInputError for any other value."""
        if isinstance(value, str) and value in self.options:
            return value
        raise BadInputError(f"{name} of {owner} is {value!r}, not one of {', '.join(self.options)}")


Rule = WholeNumber | RealNumber | Choice


def to_whole_number(owner: str, name: str, value: object) -> int:
    """The value as an int. Raises BadInputError for text, booleans and fractions."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    raise BadInputError(f"{name} of {owner} is {value!r}, not a whole number")


def to_real_number(owner: str, name: str, value: object) -> float:
    """The value as a float. Raises BadInputError for text, booleans, NaN and infinity."""
    if isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value):
        return float(value)
    raise BadInputError(f"{name} of {owner} is {value!r}, not a finite number")


def require_known(owner: str, params: Mapping[str, object], known: Mapping[str, object]) -> None:
    """Raise BadInputError or UnknownNameError for the first parameter that `owner` does not have."""
    for name in params:
        if not known:
            raise BadInputError(f"{owner} takes no parameters, but the definition gives {name!r}")
        if name not in known:
            raise UnknownNameError(f"parameter of {owner}", name, known)


def validate_params(owner: str, rules: Mapping[str, Rule], params: Mapping[str, object]) -> dict[str, ParameterValue]:
    """The parameters of an own function, each in the type of its rule.

    Raises UnknownNameError for a parameter without a rule, and BadInputError for a value that breaks its rule.
    """
    require_known(owner, params, rules)
    return {name: rules[name].validate(owner, name, value) for name, value in params.items()}


def complete_params(function: Callable[..., Any], params: Mapping[str, ParameterValue]) -> dict[str, ParameterValue]:
    """The given parameters of an own function, completed with the defaults in its signature."""
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.default is not inspect.Parameter.empty
    }
    return {**defaults, **params}
