"""Random rules over a small vocabulary, and random values for it, with many equal, unknown and zero ones."""

from functools import lru_cache
from typing import Any

import numpy as np
from hypothesis import strategies as st

from streamworkers.errors import UnknownNameError
from streamworkers.rules.dimensions import PRICE, RATIO, VOLUME
from streamworkers.rules.evaluate import Columns, FloatColumn
from streamworkers.rules.tree import Field, Pattern
from streamworkers.rules.vocabulary import GivenParams

NAMES = {"a": PRICE, "b": PRICE, "r": RATIO, "q": RATIO, "v": VOLUME}
KNOWN = "one"  # a field that is never unknown


class SmallVocabulary:
    """Five fields, a function `mean` of one parameter, a field that is always 1, and no patterns."""

    def find_field(self, name: str, params: GivenParams, output: str | None) -> Field:
        """The field of this name."""
        if name == "mean" and params:
            given = params["bars"] if isinstance(params, dict) else next(iter(params))
            return Field("mean", (("bars", int(str(given).removesuffix(".0"))),), dimension=PRICE)
        if name == KNOWN:
            return Field(KNOWN, dimension=RATIO)
        if name not in NAMES:
            raise UnknownNameError("field", name, NAMES)
        return Field(name, dimension=NAMES[name])

    def find_pattern(self, name: str, params: GivenParams) -> tuple[Pattern, float]:
        """There are none."""
        raise UnknownNameError("pattern", name, ())


FIELDS: dict[Any, list[dict[str, Any]]] = {
    PRICE: [{"indicator": "a"}, {"indicator": "b"}, {"indicator": "mean", "params": {"bars": 3}}],
    RATIO: [{"indicator": "r"}, {"indicator": "q"}],
    VOLUME: [{"indicator": "v"}],
}
SIMPLE = [">", ">=", "<", "<=", "==", "!="]
PAIRS = ["between", "outside", "enters_channel", "exits_channel"]
CROSSINGS = ["crosses_above", "crosses_below", "crosses"]
MOVES = ["moves_up", "moves_down", "moves_up_pct", "moves_down_pct"]
_operators = st.sampled_from(SIMPLE + PAIRS + CROSSINGS + MOVES)

numbers = st.sampled_from([-2, -1, 0, 1, 2, 3, 2.5, 0.1, -0.3, 1e6])
operations = st.sampled_from(["add", "sub"])


@lru_cache
def expressions(kind: Any, depth: int = 1) -> st.SearchStrategy[dict[str, Any]]:
    """Fields and arithmetic of one dimension."""
    fields = st.sampled_from(FIELDS[kind])
    if depth == 0:
        return fields
    below = expressions(kind, depth - 1)
    sums = st.tuples(operations, st.permutations([0, 1]), below, below | numbers).map(
        lambda drawn: {"expression": {"op": drawn[0], "of": [drawn[2:][place] for place in drawn[1]]}}
    )
    factors = st.sampled_from([-1, 0.5, 2, 3]) | expressions(RATIO, 0)
    products = st.tuples(st.sampled_from(["mul", "div"]), below, factors).map(
        lambda drawn: {"expression": {"op": drawn[0], "of": [drawn[1], drawn[2]]}}
    )
    return fields | sums | products


@st.composite
def leaf_documents(draw: st.DrawFn) -> dict[str, Any]:
    """One comparison of any operator."""
    kind = draw(st.sampled_from([PRICE, RATIO, VOLUME]))
    left = draw(expressions(kind))
    right = expressions(kind, 1) | numbers
    operator = draw(_operators)
    if operator in PAIRS:
        bounds = [draw(right), draw(right)]
        if all(isinstance(bound, int | float) for bound in bounds):
            bounds.sort()
        return {**left, "operator": operator, "value": bounds}
    if operator in MOVES:
        amount = draw(st.sampled_from([0.5, 1, 2, 50]))
        return {**left, "operator": operator, "value": amount, "bars": draw(st.integers(1, 4))}
    document = {**left, "operator": operator, "value": draw(right)}
    if operator in ("==", "!=") and draw(st.booleans()):
        document["tolerance"] = draw(st.sampled_from([0, 0.01, 0.5]))
    return document


@st.composite
def rule_documents(draw: st.DrawFn, depth: int = 2) -> dict[str, Any]:
    """A rule in JSON, at most two levels of conditions above its leaves."""
    if depth == 0 or draw(st.integers(0, 2)) == 0:
        return draw(leaf_documents())
    operator = draw(st.sampled_from(["and", "or", "not", "at_least"]))
    count = 1 if operator == "not" else draw(st.integers(2, 3))
    conditions = [draw(rule_documents(depth=depth - 1)) for _ in range(count)]
    document = {"operator": operator, "conditions": conditions}
    return document | ({"count": draw(st.integers(1, count))} if operator == "at_least" else {})


def value_lists(bars: int) -> st.SearchStrategy[dict[str, list[float]]]:
    """Values of every field at each bar. A column is drawn as one number, a digit for each bar: many draws are slow."""
    values = (0.0, 1.0, -1.0, 2.0, -2.0, 1.0 + 1e-12, 2.5, 3.0, float("nan"), float("inf"))
    column = st.integers(0, 10**bars - 1).map(lambda number: [values[int(digit)] for digit in f"{number:0{bars}}"])
    return st.fixed_dictionaries({**dict.fromkeys(NAMES, column), "mean_3": column})


def to_columns(values: dict[str, list[float]]) -> Columns:
    """The values as the evaluation takes them."""
    bars = len(values["a"])
    columns: dict[Field, FloatColumn] = {
        Field(name, dimension=dimension): np.array(values[name]) for name, dimension in NAMES.items()
    }
    columns[Field("mean", (("bars", 3),), dimension=PRICE)] = np.array(values["mean_3"])
    columns[Field(KNOWN, dimension=RATIO)] = np.ones(bars)
    return Columns(bars, columns)
