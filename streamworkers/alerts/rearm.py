"""When an alert may fire again: the policy of one alert, checked against its rule."""

from dataclasses import dataclass
from typing import Literal

from streamworkers.rules.problem import Path, RuleError
from streamworkers.rules.tree import Comparison, Condition, Crossing, Leaf, Not, Sided, child_conditions, leaves

RearmType = Literal["once", "simple", "edge", "hysteresis", "cooldown", "persistence", "crossing"]
Gaps = Literal["keep", "reset"]
Initial = Literal["fire", "wait"]

_WITHOUT_RELEASE = ("once", "simple", "cooldown")  # types that no condition releases
_HYSTERESIS_OPERATORS = (">", ">=", "<", "<=", "crosses_above", "crosses_below")


@dataclass(frozen=True, slots=True)
class Margin:
    """How far the value of a leaf has to come back: a fraction of its right side, or an amount in its unit."""

    size: float
    is_fraction: bool = True


@dataclass(frozen=True, slots=True)
class Rearm:
    """The policy: `type` says when a fired alert is released, everything else is a gate that any type may have.

    `cooldown_seconds` counts from close to close of bars, `cooldown_bars` counts stored bars. `persistence_bars` is how
    many bars in a row the rule has to be true, `release_bars` how many the release has to hold. With `gaps` reset, an
    unknown bar ends both rows of bars; with keep, it is no part of them. `initial` wait: a rule that is true at the
    first bar does not fire before it has been false.
    """

    type: RearmType = "edge"
    margin: Margin | None = None
    leaf: Leaf | None = None
    cooldown_seconds: float = 0.0
    cooldown_bars: int = 0
    persistence_bars: int = 1
    release_bars: int = 1
    gaps: Gaps = "keep"
    initial: Initial = "fire"

    @property
    def holds_crossings(self) -> bool:
        """True if crossing leaves count as true until their side changes back, so that they can persist."""
        return self.persistence_bars > 1


def require_fitting(rearm: Rearm, rule: Condition, path: Path) -> None:
    """Raise RuleError if a policy and a rule do not fit together. `path` is that of the policy."""
    if rearm.type == "persistence" and rearm.persistence_bars < 2:
        raise RuleError((*path, "persistence_bars"), f"{rearm.persistence_bars}, but type persistence needs 2 or more")
    if rearm.type == "cooldown" and not (rearm.cooldown_seconds or rearm.cooldown_bars):
        raise RuleError((*path, "cooldown"), "is missing; type cooldown needs it, or cooldown_bars")
    if rearm.release_bars > 1 and rearm.type in _WITHOUT_RELEASE:
        raise RuleError((*path, "release_bars"), f"{rearm.release_bars}, but no condition releases type {rearm.type}")
    crossings = [leaf for leaf in leaves(rule) if isinstance(leaf, Sided)]
    if rearm.type == "crossing" and len(crossings) != 1:
        raise RuleError((*path, "type"), f"'crossing', but the rule has {len(crossings)} crossings, not one")
    if rearm.holds_crossings and any(leaf.operator == "crosses" for leaf in crossings):
        raise RuleError(
            (*path, "persistence_bars"),
            f"{rearm.persistence_bars}, but 'crosses' has no side to stay on: use crosses_above or crosses_below",
        )


def choose_leaf(rule: Condition, name: str | None, path: Path) -> Leaf:
    """The leaf that a hysteresis watches: the one of that name, or the only one that can be watched."""
    able = [leaf for leaf in _outside_of_not(rule) if _can_be_watched(leaf)]
    if name is None:
        if len(able) != 1:
            raise RuleError(
                (*path, "leaf"), f"is missing; {len(able)} conditions could be meant, so name one by its id"
            )
        return able[0]
    found = next((leaf for leaf in leaves(rule) if leaf.id == name), None)
    if found is None:
        raise RuleError((*path, "leaf"), f"{name!r} is the id of no condition of the rule")
    if not _can_be_watched(found):
        raise RuleError((*path, "leaf"), f"{name!r} has none of the operators {', '.join(_HYSTERESIS_OPERATORS)}")
    if found not in able:
        raise RuleError((*path, "leaf"), f"{name!r} is under a 'not'")
    return found


def _can_be_watched(leaf: Leaf) -> bool:
    return isinstance(leaf, Comparison | Crossing) and leaf.operator in _HYSTERESIS_OPERATORS


def _outside_of_not(condition: Condition) -> list[Leaf]:
    if isinstance(condition, Not):
        return []
    children = child_conditions(condition)
    if children:
        return [leaf for child in children for leaf in _outside_of_not(child)]
    return list(leaves(condition))
