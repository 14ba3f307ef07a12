"""When an alert fires, bar by bar in plain Python, written from the description of rearming and not from its code.

A policy and the state are dictionaries. Truth is True, False, or None for unknown.
"""

from typing import Any

from rule_oracle import Oracle, Values, above, equal, read

RELEASED_AT_ONCE = ("simple", "cooldown")
OTHER_SIDES = {"crosses_above": "down", "crosses_below": "up", "enters_channel": "out", "exits_channel": "in"}
UPWARD = (">", ">=", "crosses_above")


def find_leaf(rule: Any, wanted: Any) -> Any:
    """The first leaf that a function accepts, in the order in which leaves are written."""
    if "conditions" not in rule:
        return rule if wanted(rule) else None
    found = (find_leaf(child, wanted) for child in rule["conditions"])
    return next((leaf for leaf in found if leaf is not None), None)


class AlertOracle:
    """One alert and symbol: give it one bar after the other, and it says whether it fires."""

    def __init__(self, rule: Any, policy: dict[str, Any], max_fires: int | None = None, expires: int | None = None):
        plain: dict[str, Any] = {"type": "edge", "persistence_bars": 1, "release_bars": 1}
        self.rule, self.policy = rule, plain | policy
        self.max_fires, self.expires = max_fires, expires
        self.oracle = Oracle(rule, hold=self.policy["persistence_bars"] > 1)
        self.waiting_for_release = self.policy.get("initial") == "wait"
        self.true_bars = self.release_bars = self.counted = 0
        self.last_fired: tuple[int, int] | None = None  # bar number and close
        self.side_before: str | None = None

    def bar(self, values: Values, number: int, close: int, muted: bool = False) -> bool:
        """Whether it fires at a bar (suppressed or not)."""
        self.side_before = self.side()
        truth = self.oracle.at(values, number)
        most = 1 if self.policy["type"] == "once" else self.max_fires
        if most is not None and self.counted >= most:
            return False
        reset = self.policy.get("gaps") == "reset"
        if self.waiting_for_release:
            holds = self.released(values, number, truth)
            if holds is None:
                self.release_bars = 0 if reset else self.release_bars
            else:
                self.release_bars = self.release_bars + 1 if holds else 0
            by_falsehood = self.last_fired is None or self.policy["type"] == "once"
            if holds and self.release_bars >= (1 if by_falsehood else self.policy["release_bars"]):
                self.waiting_for_release, self.release_bars = False, 0
        if self.waiting_for_release:
            return False
        if truth is None:
            self.true_bars = 0 if reset else self.true_bars
        else:
            self.true_bars = self.true_bars + 1 if truth else 0
        if truth is not True or self.true_bars < self.policy["persistence_bars"] or not self.gates_open(number, close):
            return False
        self.waiting_for_release, self.last_fired = True, (number, close)
        self.counted += not muted
        self.true_bars = self.true_bars if self.policy["type"] == "cooldown" else 0
        return True

    def side(self) -> str | None:
        """The side of the only crossing of the rule, if it has been seen."""
        return next(iter(self.oracle.sides.values()), None)

    def gates_open(self, number: int, close: int) -> bool:
        """The cooldown is over, in time and in bars, and the alert has not expired."""
        if self.expires is not None and close > self.expires:
            return False
        if self.last_fired is None:
            return True
        bars, seconds = self.policy.get("cooldown_bars", 0), self.policy.get("cooldown", 0)
        return bool(number - self.last_fired[0] >= bars and close - self.last_fired[1] >= seconds)

    def released(self, values: Values, number: int, truth: bool | None) -> bool | None:
        """Whether what has to happen before the next firing is the case at this bar."""
        kind = self.policy["type"]
        if kind in RELEASED_AT_ONCE and self.last_fired is not None:
            return True
        if kind == "crossing" and self.last_fired is not None:
            leaf = find_leaf(self.rule, lambda each: "cross" in each["operator"] or "channel" in each["operator"])
            bounds = leaf["value"] if isinstance(leaf["value"], list) else [leaf["value"]]
            if any(read(each, values, number) is None for each in [leaf, *bounds]):
                return None
            if leaf["operator"] == "crosses":
                return self.side_before is not None and self.side() != self.side_before
            return self.side() == OTHER_SIDES[leaf["operator"]]
        if kind == "hysteresis" and self.last_fired is not None:
            return self.came_back(values, number)
        return None if truth is None else not truth

    def came_back(self, values: Values, number: int) -> bool | None:
        """The left side of the watched leaf is back from the level by the threshold."""
        leaf = find_leaf(self.rule, lambda each: each.get("id") == self.policy["leaf"])
        left, right = read(leaf, values, number), read(leaf["value"], values, number)
        if left is None or right is None:
            return None
        threshold = self.policy["threshold"]
        if isinstance(threshold, dict):
            distance = threshold["abs"]
        elif right == 0:
            return None
        else:
            distance = threshold * abs(right)
        if leaf["operator"] in UPWARD:
            return above(right - distance, left) or equal(left, right - distance)
        return above(left, right + distance) or equal(left, right + distance)
