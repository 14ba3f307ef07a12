"""What a vocabulary has to know of functions: names, parameters, outputs and traits."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from streamworkers.analysis.parameters import ParameterValue

GivenValues = Mapping[str, Any]


class FunctionFacts(Protocol):
    """The functions of `analysis`, as they are computed or as data describes them.

    Names of TA-Lib's functions are in upper case, own ones are not.
    """

    @property
    def ta_fields(self) -> Collection[str]:
        """The indicators of TA-Lib, those that cannot be a field included."""

    @property
    def own_fields(self) -> Collection[str]:
        """The indicators of this package, which have a rule for each parameter."""

    @property
    def ta_patterns(self) -> Collection[str]:
        """The candle patterns of TA-Lib, by their upper-case names."""

    @property
    def own_patterns(self) -> Collection[str]:
        """The chart patterns of this package, by their lower-case names."""

    @property
    def rejected(self) -> Mapping[str, str]:
        """The indicators that cannot be a field, with the reason."""

    def defaults(self, function: str) -> Mapping[str, ParameterValue]:
        """The parameters in the order of the function, with their defaults."""

    def validate(self, function: str, params: GivenValues) -> Mapping[str, ParameterValue]:
        """The given parameters in the types of the function. Raises UsageError."""

    def outputs(self, function: str) -> Sequence[str]:
        """The names of what an indicator returns; the first is meant if none is named."""

    def lookback(self, function: str, params: GivenValues) -> int:
        """The bars before a bar that its value needs; UNKNOWN_LOOKBACK where it cannot be known."""

    def is_neutral(self, function: str) -> bool:
        """True for a pattern without a direction."""


class Definition(Protocol):
    """A row of the indicator definitions: a name for a function with parameters."""

    @property
    def name(self) -> str:
        """The name that rules use for it."""

    @property
    def function(self) -> str:
        """The function that it computes."""

    @property
    def params(self) -> GivenValues:
        """The parameters that differ from the defaults."""


class ThresholdDefinition(Definition, Protocol):
    """A row of the pattern definitions, with the lowest confidence that counts."""

    @property
    def confidence_threshold(self) -> float:
        """The lowest confidence that counts, 0 to 1."""
