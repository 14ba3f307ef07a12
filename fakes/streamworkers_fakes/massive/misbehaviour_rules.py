"""The rules of misbehaviour in force.

Whether a rule applies to a call is a function of the seed, the URL and the number of calls to this URL. It is the same
in each run, even if calls overlap, and a repeated call may succeed.
"""

import hashlib
import math
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from streamworkers_fakes.massive.misbehaviour import Misbehaviour, ReceivedCall


@dataclass(slots=True)
class _Rule:
    misbehaviour: Misbehaviour
    left: float
    asked: Counter[str] = field(default_factory=Counter)


class MisbehaviourRules:
    """The rules in force, in order; the first that applies to a call is used. Thread-safe."""

    def __init__(self, seed: int, misbehaviours: Iterable[Misbehaviour] = ()) -> None:
        self._seed = seed
        self._lock = threading.Lock()
        self._rules: list[_Rule] = []
        for misbehaviour in misbehaviours:
            self.add(misbehaviour)

    def add(self, misbehaviour: Misbehaviour) -> None:
        """Add a rule after the others."""
        with self._lock:
            self._rules.append(_Rule(misbehaviour, misbehaviour.calls or math.inf))

    def clear(self) -> None:
        """Remove all rules."""
        with self._lock:
            self._rules.clear()

    def list(self) -> list[Misbehaviour]:
        """Return the rules in force, including those whose calls are used up."""
        with self._lock:
            return [rule.misbehaviour for rule in self._rules]

    def strike(self, asked: ReceivedCall) -> Misbehaviour | None:
        """Return the misbehaviour that a call meets, or None, and counts the call. `random_failures` draws another."""
        with self._lock:
            for rule in self._rules:
                if rule.left <= 0 or not rule.misbehaviour.concerns(asked):
                    continue
                rule.asked[asked.path] += 1
                found = self._draw(rule.misbehaviour, asked, rule.asked[asked.path])
                if found is not None:
                    rule.left -= 1
                    return found
        return None

    def _draw(self, rule: Misbehaviour, asked: ReceivedCall, time: int) -> Misbehaviour | None:
        text = f"{self._seed}/{rule.name}/{time}/{asked.path}"
        digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
        first, second = (int.from_bytes(part, "little") / 2**64 for part in (digest[:8], digest[8:]))
        if rule.name != "random_failures":
            return rule if first < rule.share else None
        if first >= rule.share * rule.number:
            return None
        return _FAILURES[int(second * len(_FAILURES))]


_FAILURES = (
    Misbehaviour("rate_limit"),
    Misbehaviour("server_error", 500),
    Misbehaviour("server_error", 502),
    Misbehaviour("truncated_json"),
    Misbehaviour("gateway_timeout"),
)
