"""Limits of jobs in a fleet: three supervisors with two workers each, killed in between; each writes what it runs."""

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from harness import Supervisor, effects_of, running_supervisor, start_run, wait_for_end, wait_until
from patience import paced, patient
from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry

TESTS = ("--queue", "tests", "--processes", "2", "--metrics-port", "0")


@pytest.fixture
def environment(quick_environment: dict[str, str]) -> dict[str, str]:
    """Everything here is about the engine."""
    return quick_environment


@dataclass
class Executions:
    """What the items of a run have written, with the moments at which processes were killed."""

    path: Path
    deaths: dict[int, float] = field(default_factory=dict)

    def events(self) -> Iterator[tuple[float, int, str, str]]:
        """When, by how many more or fewer run, of which group, and which item; in the order of time.

        What a killed process was executing ends with it.
        """
        found, running = list[tuple[float, int, str, str]](), set[tuple[int, str]]()
        for line in self.path.read_text(encoding="utf-8").splitlines():
            word, moment, pid, _run, key = line.split(" ")
            if word == "begin":
                running.add((int(pid), key))
                found.append((float(moment), 1, key.partition("-")[0], key))
            else:
                running.remove((int(pid), key))
                found.append((float(moment), -1, key.partition("-")[0], key))
        for dead, key in running:
            found.append((self.deaths[dead], -1, key.partition("-")[0], key))
        yield from sorted(found, key=lambda event: (event[0], event[1]))

    def most_at_once(self) -> tuple[int, int]:
        """The most items that ever ran at once, and the most of one group."""
        running, of_group, most, most_of_group = 0, Counter[str](), 0, 0
        for _, change, group, _ in self.events():
            running += change
            of_group[group] += change
            most, most_of_group = max(most, running), max(most_of_group, of_group[group])
        return most, most_of_group

    def begins(self) -> list[float]:
        """When each execution began."""
        return [moment for moment, change, _, _ in self.events() if change == 1]

    def most_in_window(self, seconds: float) -> int:
        """The most executions that began in any window of so many seconds."""
        begins = self.begins()
        return max(sum(begin <= other < begin + seconds for other in begins) for begin in begins)

    def kill(self, pid: int) -> None:
        """Kill a worker, and note when it can run no more."""
        os.kill(pid, signal.SIGKILL)
        self.deaths[pid] = time.time()


@pytest.fixture
def fleet(environment: dict[str, str], tmp_path: Path) -> Iterator[list[Supervisor]]:
    """Three supervisors with two workers each."""
    with ExitStack() as stack:
        found = [stack.enter_context(running_supervisor(environment, tmp_path, *TESTS)) for _ in range(3)]
        wait_until(lambda: all(len(each.worker_pids()) == 2 for each in found), 60, "the fleet starts")
        yield found


def _keys(count: int, groups: int) -> list[str]:
    return [f"G{number % groups}-{number:03}" for number in range(count)]


def _done(connection: Connection, run: ledger.Run) -> int:
    return ledger.count_items(connection, run).get("completed", 0)


@pytest.mark.timeout(240)
def test_limits_hold_at_every_moment_while_workers_and_a_supervisor_are_killed(
    connection: Connection, streams: Streams, registry: Registry, fleet: list[Supervisor], tmp_path: Path
) -> None:
    executions = Executions(tmp_path / "executions")
    parameters = {"milliseconds": paced(40.0), "log": str(executions.path)}
    run = start_run(connection, streams, registry, "two_at_once", *_keys(200, 5), parameters=parameters)
    for number, done in enumerate((20, 45, 70)):
        wait_until(lambda done=done: _done(connection, run) >= done, 90)  # type: ignore[misc]
        for pid in fleet[number].worker_pids()[:1]:
            executions.kill(pid)
    wait_until(lambda: _done(connection, run) >= 100, 90)
    pids = fleet[0].worker_pids()
    fleet[0].process.kill()
    fleet[0].process.wait(patient(20))
    executions.deaths |= dict.fromkeys(pids, time.time())
    assert wait_for_end(connection, run, 120) == "COMPLETED"
    assert effects_of(connection, run) == sorted(_keys(200, 5)), "all are done, and once"
    assert executions.most_at_once() == (2, 1)


def test_without_limits_the_same_items_run_at_once_and_begin_at_once(
    connection: Connection, streams: Streams, registry: Registry, fleet: list[Supervisor], tmp_path: Path
) -> None:
    """The negative control: the measurements see what limits prevent."""
    executions = Executions(tmp_path / "executions")
    parameters = {"milliseconds": paced(40.0), "log": str(executions.path)}
    run = start_run(connection, streams, registry, "unlimited", *_keys(200, 5), parameters=parameters)
    assert wait_for_end(connection, run, 90) == "COMPLETED"
    most, most_of_group = executions.most_at_once()
    assert most > 2
    assert most_of_group > 1
    assert executions.most_in_window(1.0) > 10


@pytest.mark.timeout(180)
def test_no_window_has_more_begins_than_the_rate_allows(
    connection: Connection, streams: Streams, registry: Registry, fleet: list[Supervisor], tmp_path: Path
) -> None:
    executions = Executions(tmp_path / "executions")
    parameters = {"milliseconds": 20.0, "log": str(executions.path)}
    began = time.monotonic()
    run = start_run(connection, streams, registry, "ten_per_second", *_keys(100, 5), parameters=parameters)
    assert wait_for_end(connection, run, 90) == "COMPLETED"
    seconds = time.monotonic() - began
    assert effects_of(connection, run) == sorted(_keys(100, 5))
    assert executions.most_in_window(1.0) <= 10
    assert seconds < patient(25), "the rate is used"
    assert len(fleet) == 3
