"""A rule as a tree of frozen values. Equal rules are equal trees, whatever notation they were written in."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from streamworkers.rules.dimensions import Dimension

Params = tuple[tuple[str, int | float | str], ...]
ComparisonOperator = Literal[">", ">=", "<", "<=", "==", "!="]
RangeOperator = Literal["between", "outside"]
CrossingOperator = Literal["crosses_above", "crosses_below", "crosses"]
ChannelOperator = Literal["enters_channel", "exits_channel"]
MoveOperator = Literal["moves_up", "moves_down", "moves_up_pct", "moves_down_pct"]
ArithmeticOperator = Literal["add", "sub", "mul", "div"]
GroupOperator = Literal["and", "or"]
Direction = Literal["bullish", "bearish"]

DEFAULT_TOLERANCE = 1e-9
UNKNOWN_LOOKBACK = -1


@dataclass(frozen=True, slots=True)
class Field:
    """A value that every bar has: a column of the bar, or one output of a function with all its parameters.

    `dimension` is None where a split changes the value in no simple way. `lookback` is the number of bars before a bar
    that its value needs, or UNKNOWN_LOOKBACK; `days` are the calendar days before it that must be read as well. A field
    without `has_origin` is a sum or position that counts from the first bar that was read.
    """

    name: str
    params: Params = ()
    output: str | None = None
    dimension: Dimension | None = None
    lookback: int = field(default=0, compare=False)  # name and parameters say it
    days: int = 0
    has_origin: bool = True


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern to detect, with all its parameters; a neutral one has no direction."""

    name: str
    params: Params = ()
    neutral: bool = False
    lookback: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Constant:
    """A finite number, in the dimension of what it is compared with or added to."""

    value: float
    dimension: Dimension | None


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """A sum, difference, product or quotient of two values."""

    operator: ArithmeticOperator
    left: "Value"
    right: "Value"
    dimension: Dimension | None


Measured = Field | Arithmetic  # what the left side of a leaf can be
Value = Measured | Constant


@dataclass(frozen=True, slots=True)
class Comparison:
    """`left operator right` at one bar; values within `tolerance`, a fraction of the larger, are equal."""

    left: Measured
    operator: ComparisonOperator
    right: Value
    tolerance: float = DEFAULT_TOLERANCE
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Range:
    """`left` is within two bounds, both included, or outside of them."""

    left: Measured
    operator: RangeOperator
    low: Value
    high: Value
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Crossing:
    """`left` came from one side of `right` to the other."""

    left: Measured
    operator: CrossingOperator
    right: Value
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Channel:
    """`left` came into the channel between two bounds, or left it."""

    left: Measured
    operator: ChannelOperator
    low: Value
    high: Value
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """`left` differs from its value `bars` bars before by `amount` or more; `_pct` are percent."""

    left: Measured
    operator: MoveOperator
    amount: Constant
    bars: int = 1
    id: str | None = None


@dataclass(frozen=True, slots=True)
class PatternMatch:
    """A pattern was detected at the bar, in this direction and with this confidence."""

    pattern: Pattern
    direction: Direction | None = None
    min_confidence: float = 0.0
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite of a condition."""

    child: "Condition"


@dataclass(frozen=True, slots=True)
class Group:
    """All conditions hold (`and`), or at least one (`or`); there are two or more."""

    operator: GroupOperator
    children: tuple["Condition", ...]


@dataclass(frozen=True, slots=True)
class AtLeast:
    """At least `count` of the conditions hold."""

    count: int
    children: tuple["Condition", ...]


Leaf = Comparison | Range | Crossing | Channel | Move | PatternMatch
Condition = Leaf | Not | Group | AtLeast
Sided = Crossing | Channel


def child_conditions(condition: Condition) -> tuple[Condition, ...]:
    """The conditions directly below one."""
    if isinstance(condition, Group | AtLeast):
        return condition.children
    return (condition.child,) if isinstance(condition, Not) else ()


def leaves(condition: Condition) -> Iterator[Leaf]:
    """All leaves below a condition, itself included, in the order in which they are written."""
    if isinstance(condition, Not | Group | AtLeast):
        for child in child_conditions(condition):
            yield from leaves(child)
    else:
        yield condition


def operands(leaf: Leaf) -> tuple[Value, ...]:
    """The values that a leaf compares."""
    if isinstance(leaf, Comparison | Crossing):
        return (leaf.left, leaf.right)
    if isinstance(leaf, Range | Channel):
        return (leaf.left, leaf.low, leaf.high)
    return (leaf.left, leaf.amount) if isinstance(leaf, Move) else ()


def parts(value: Value) -> Iterator[Field | Constant]:
    """The fields and constants of a value."""
    if isinstance(value, Arithmetic):
        yield from parts(value.left)
        yield from parts(value.right)
    else:
        yield value


def fields_of(value: Value) -> Iterator[Field]:
    """The fields of a value, in the order in which they are written."""
    return (part for part in parts(value) if isinstance(part, Field))


def needed_fields(condition: Condition) -> tuple[Field, ...]:
    """The distinct fields of a rule, in the order in which they are written."""
    return tuple(
        dict.fromkeys(field for leaf in leaves(condition) for value in operands(leaf) for field in fields_of(value))
    )


def needed_patterns(condition: Condition) -> tuple[Pattern, ...]:
    """The distinct patterns of a rule, in the order in which they are written."""
    return tuple(dict.fromkeys(leaf.pattern for leaf in leaves(condition) if isinstance(leaf, PatternMatch)))


def lookback(condition: Condition) -> int:
    """The number of bars before a bar that deciding the rule at it needs; a crossing needs the bar before, too.

    Raises ValueError for a tree of a vocabulary that does not know it.
    """
    needed = [_leaf_lookback(leaf) for leaf in leaves(condition)]
    found = [each.lookback for each in needed_fields(condition)]
    found += [each.lookback for each in needed_patterns(condition)]
    if UNKNOWN_LOOKBACK in found:
        raise ValueError("this vocabulary does not know how many bars a rule needs")
    return max(needed)


def lookback_days(condition: Condition) -> int:
    """The calendar days before a bar that must be read as well, for fields anchored to a year, quarter or month."""
    return max((field.days for field in needed_fields(condition)), default=0)


def is_adjustable(condition: Condition) -> bool:
    """True if everything has a dimension, so that scaled constants keep the rule what it is through a split."""
    values = (value for leaf in leaves(condition) for value in operands(leaf))
    return all(part.dimension is not None for value in values for part in parts(value))


def _leaf_lookback(leaf: Leaf) -> int:
    if isinstance(leaf, PatternMatch):
        return leaf.pattern.lookback
    deepest = max(field.lookback for value in operands(leaf) for field in fields_of(value))
    if isinstance(leaf, Sided):
        return deepest + 1
    return deepest + leaf.bars if isinstance(leaf, Move) else deepest
