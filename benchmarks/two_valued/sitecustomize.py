"""Takes unknown for false in every process with this folder on its path: a control of benchmarks/alerts.py.

Python imports a module of this name when it starts.
"""

from typing import Any

from streamworkers.rules.evaluate import CompiledRule
from streamworkers.rules.truth import FALSE, UNKNOWN

_three_valued = CompiledRule.evaluate


def _two_valued(*words: Any, **named: Any) -> Any:
    found = _three_valued(*words, **named)
    found.value[found.value == UNKNOWN] = FALSE
    return found


setattr(CompiledRule, "evaluate", _two_valued)  # noqa: B010  # with other parameters
