"""The vocabulary of alerts, whatever its functions are known from: columns, functions, patterns and definitions."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from streamworkers.errors import BadInputError, UnknownNameError, UsageError
from streamworkers.rules.function_facts import Definition, FunctionFacts, GivenValues, ThresholdDefinition
from streamworkers.rules.market_functions import BAR_ALIASES, BAR_FIELDS, anchor_days, dimension_of, has_origin
from streamworkers.rules.problem import RuleError
from streamworkers.rules.tree import Field, Params, Pattern
from streamworkers.rules.vocabulary import GivenParams


class NamedVocabulary:
    """Names of bar columns, functions, and definitions.

    A function of TA-Lib is written in any case (`rsi`, `RSI`), unless an own function has the lower-case name: `cmf` is
    ours, `CMF` TA-Lib's. A name without parameters is that of a definition first, then that of a function with its
    defaults.
    """

    def __init__(
        self, facts: FunctionFacts, indicators: Iterable[Definition], patterns: Iterable[ThresholdDefinition]
    ) -> None:
        self._facts = facts
        self._indicators = {definition.name: definition for definition in indicators}
        self._patterns = {definition.name: definition for definition in patterns}

    def find_field(self, name: str, params: GivenParams, output: str | None) -> Field:
        """The field of this name. Raises UsageError for an unknown name, output or parameter."""
        column = BAR_ALIASES.get(name.lower(), name.lower())
        if column in BAR_FIELDS:
            if params or output is not None:
                raise BadInputError(f"{column} is a column of the bar: it has no parameters and no outputs")
            return Field(column, dimension=BAR_FIELDS[column])
        definition = self._indicators.get(name) if params is None else None
        if definition is not None:
            return self._field(definition.function, definition.params, output)
        function = match_name(name, self._facts.ta_fields, self._facts.own_fields)
        if function is None or function in self._facts.rejected:
            raise self._unknown_field(name, function)
        with _of_member("params"):
            given = self._by_name(function, params)
        return self._field(function, given, output)

    def find_pattern(self, name: str, params: GivenParams) -> tuple[Pattern, float]:
        """The pattern of this name and its threshold. Raises UsageError for an unknown name or parameter."""
        definition = self._patterns.get(name) if params is None else None
        if definition is not None:
            return self._pattern(definition.function, definition.params), definition.confidence_threshold
        facts = self._facts
        function = match_name(name, facts.ta_patterns, facts.own_patterns)
        if function is None:
            known = {*self._patterns, *facts.own_patterns, *map(str.lower, facts.ta_patterns)}
            raise UnknownNameError("pattern", name, known)
        with _of_member("params"):
            given = self._by_name(function, params)
        return self._pattern(function, given), 0.0

    def _unknown_field(self, name: str, function: str | None) -> UnknownNameError | BadInputError:
        facts = self._facts
        if function is not None:
            return BadInputError(f"{name} cannot be a field: {facts.rejected[function]}")
        if match_name(name, facts.ta_patterns, facts.own_patterns) or name in self._patterns:
            return BadInputError(f"{name!r} is a pattern: write pattern {name}")
        functions = map(self._shown, facts.ta_fields)
        return UnknownNameError(
            "field", name, {*BAR_FIELDS, *BAR_ALIASES, *self._indicators, *facts.own_fields, *functions}
        )

    def _field(self, function: str, given: GivenValues, output: str | None) -> Field:
        facts = self._facts
        with _of_member("params"):
            params = {**facts.defaults(function), **facts.validate(function, given)}
        outputs = facts.outputs(function)
        chosen = outputs[0] if output is None else output
        if chosen not in outputs:
            with _of_member("output"):
                raise UnknownNameError(f"output of {self._shown(function)}", chosen, outputs)
        if params.get("anchor") == "start":
            raise RuleError(("params",), f"anchor 'start' of {function} depends on the first bar read; use a period")
        return Field(
            name=self._shown(function),
            params=self._ordered(function, params),
            output=chosen if len(outputs) > 1 else None,
            dimension=None if function == "SAREXT" else dimension_of(function, chosen),
            lookback=facts.lookback(function, params),
            days=anchor_days(params),
            has_origin=has_origin(function),
        )

    def _pattern(self, function: str, given: GivenValues) -> Pattern:
        facts = self._facts
        with _of_member("params"):
            params = {**facts.defaults(function), **facts.validate(function, given)}
        ordered, needed = self._ordered(function, params), facts.lookback(function, params)
        return Pattern(self._shown(function), ordered, facts.is_neutral(function), needed)

    def _shown(self, function: str) -> str:
        """How the tree names a function: in lower case, unless that is the name of an own one."""
        lower = function.lower()
        return function if lower in self._facts.own_fields or lower in self._facts.own_patterns else lower

    def _ordered(self, function: str, params: GivenValues) -> Params:
        return tuple((name, params[name]) for name in self._facts.defaults(function))

    def _by_name(self, function: str, params: GivenParams) -> GivenValues:
        """Parameters by name, not validated. Raises BadInputError for more than the function has."""
        if isinstance(params, Mapping):
            return params
        names, given = list(self._facts.defaults(function)), params or ()
        if len(given) > len(names):
            takes = f"{len(names)}: {', '.join(names)}" if names else "none"
            raise BadInputError(f"{self._shown(function)} is given {len(given)} parameters, but takes {takes}")
        return dict(zip(names, given, strict=False))


def match_name(name: str, ta_functions: Iterable[str], own: Iterable[str]) -> str | None:
    """The function that a name stands for: exactly, or TA-Lib's in another case."""
    if name in own:
        return name
    return name.upper() if name.upper() in ta_functions else None


@contextmanager
def _of_member(member: str) -> Iterator[None]:
    """Make an error about a function one about a member of the field or pattern."""
    try:
        yield
    except UsageError as error:
        raise RuleError((member,), str(error)) from None
