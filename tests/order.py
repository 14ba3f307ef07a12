"""The order of tests for several processes: each begins with its share of the slow ones.

`--dist worksteal` gives every process a slice of the list, and tests from the end of another's slice when its own is
done. A slow test that begins last would be waited for by all.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Seconds that a test takes, by the beginning of its id; all others are quick. Only their proportions matter.
_SECONDS = {
    "tests/chaos/test_chaos.py::test_a_short": 45.0,
    "tests/chaos/test_chaos.py::test_the_product": 40.0,
    "tests/chaos/test_chaos.py": 18.0,
    "tests/crash/test_alerts_killed.py": 12.0,
    "tests/crash/test_api_killed.py": 6.0,
    "tests/crash/test_bot_killed.py": 8.0,
    "tests/crash/test_calls_outside.py": 5.0,
    "tests/crash/test_demo.py": 12.0,
    "tests/crash/test_fork_server.py": 9.0,
    "tests/crash/test_frozen_processes.py": 18.0,
    "tests/crash/test_limits_killed.py": 40.0,
    "tests/crash/test_lanes_killed.py": 12.0,
    "tests/crash/test_load.py": 17.0,
    "tests/crash/test_misbehaving_hooks.py": 12.0,
    "tests/crash/test_metric_sums.py": 18.0,
    "tests/crash/test_child_processes.py": 5.0,
    "tests/crash/test_run_webhooks_killed.py": 15.0,
    "tests/crash/test_scheduler_replicas.py": 15.0,
    "tests/crash/test_secrets_of_processes.py": 8.0,
    "tests/crash/test_shutdown.py": 9.0,
    "tests/crash/test_worker_processes.py::test_a_poisonous": 30.0,
    "tests/crash/test_worker_processes.py": 9.0,
    "tests/faults/": 9.0,
    "tests/integration/alerts/test_real_bars.py": 40.0,
    "tests/integration/cli/test_item_commands.py::test_an_item": 7.0,
    "tests/integration/jobs/test_as_of.py": 9.0,
    "tests/integration/jobs/test_the_night": 22.0,
    "tests/integration/scheduler/test_simulated_day.py": 18.0,
    "tests/integration/test_embedded.py": 4.0,
    "tests/integration/testing/test_crash_between.py": 12.0,
    "tests/integration/testing/test_plugin.py": 10.0,
    "tests/unit/test_doc_examples.py": 20.0,
    "tests/integration/cli/test_tutorial.py": 40.0,
    "tests/integration/test_tls.py": 2.0,
    "tests/model/": 15.0,
    "tests/preview/test_drawing.py": 9.0,
    "tests/preview/test_drawn_boards.py": 25.0,
    "tests/topology/": 20.0,
    "tests/unit/market/calendar/test_sessions.py": 5.0,
    "tests/unit/rules/test_rule_evaluation.py": 9.0,
    "tests/watching/test_alerts.py": 39.0,
    "tests/watching/test_watched_system.py": 53.0,
}
# Tests that share a pool, which each process that runs one of them has to start.
_SHARING = "tests/faults/"


def deal(tests: Sequence[Any], names: Sequence[str], processes: int) -> list[Any]:
    """The tests of these names as one slice for each process, slow ones first and in equal shares."""
    slow = {place: seconds for place, name in enumerate(names) if (seconds := _seconds(name))}
    slices: list[list[int]] = [[] for _ in range(processes)]
    loads = [0.0] * processes
    for bundle in sorted(_bundles(slow, names, processes), key=lambda places: -sum(slow[place] for place in places)):
        least = loads.index(min(loads))
        slices[least] += bundle
        loads[least] += sum(slow[place] for place in bundle)
    quick = [place for place in range(len(tests)) if place not in slow]
    dealt = 0
    for number, places in enumerate(slices):
        size = (len(tests) - dealt) // (processes - number)
        missing = max(0, size - len(places))
        places += quick[:missing]
        del quick[:missing]
        dealt += size
    return [tests[place] for places in slices for place in (*places, *(quick if places is slices[-1] else ()))]


def start_elsewhere(folders: Sequence[str], number: int, processes: int) -> list[str]:
    """The test files of these folders, from the share of this process on: all begin at once, and each compiles its own.

    In a fresh checkout every process would compile every file, as none has been written when the others begin with it.
    """
    files = sorted(str(file) for folder in folders for file in Path(folder).rglob("test_*.py"))
    first = len(files) * number // processes
    return files[first:] + files[:first]


def _seconds(name: str) -> float:
    return next((seconds for prefix, seconds in _SECONDS.items() if name.startswith(prefix)), 0.0)


def _bundles(slow: dict[int, float], names: Sequence[str], processes: int) -> list[list[int]]:
    sharing = [place for place in slow if names[place].startswith(_SHARING)]
    count = max(1, processes // 2)
    shares = [sharing[len(sharing) * n // count : len(sharing) * (n + 1) // count] for n in range(count)]
    return [*([place] for place in slow if not names[place].startswith(_SHARING)), *filter(None, shares)]
