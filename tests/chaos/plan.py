"""The plan of a chaos run, made from its seed: the work that is enqueued, and the schedule of faults."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from patience import paced, patient

FULL_SECONDS = 300.0
LONG_OUTAGE_SECONDS = 60.0
# What an item does that must end dead, and the beginning of its reason.
POISON = {
    "RAISE": "ValueError",
    "HANG": "timeout after",
    "KILL": "killed by signal 9",
    "EXIT0": "worker exited with code 0 during the call",
    "FOREIGN": "OperationalError: my other database is away",
    "SAVECURSOR": "InterfaceError: the cursor is closed",
    "SWALLOW": "BrokenTransactionError: save caught an error of the database",
}
# What leaves a mess or a child behind and must be completed, as its neighbours and the runs after it.
MESSY = ("SESSION", "FORK")
CANCELLED_KEY = "to-be-cancelled"

# The number of times each fault happens in the full form.
FULL_FAULTS: Mapping[str, int] = {
    "kill_worker": 48,
    "kill_supervisor": 12,
    "stop_worker": 4,
    "stop_tree": 4,
    "term_supervisor": 6,
    "redis_restart": 4,
    "redis_kill": 3,
    "redis_flushall": 3,
    "redis_script_flush": 2,
    "redis_client_kill": 3,
    "postgres_restart": 3,
    "postgres_kill": 2,
    "postgres_terminate": 4,
    "redis_cut": 3,
    "postgres_cut": 3,
    "redis_cut_reply": 4,
    "postgres_cut_reply": 4,
    "redis_hang": 2,
    "postgres_hang": 2,
    "redis_reject": 2,
    "postgres_reject": 2,
    "cancel": 1,
    "replay": 1,
}
SHORT_FAULTS: Mapping[str, int] = {
    "kill_worker": 4,
    "kill_supervisor": 2,
    "stop_tree": 1,
    "term_supervisor": 1,
    "redis_kill": 1,
    "redis_flushall": 1,
    "redis_script_flush": 1,
    "redis_cut_reply": 1,
    "postgres_kill": 1,
    "postgres_terminate": 1,
    "postgres_cut": 1,
    "cancel": 1,
    "replay": 1,
}
# Late in the schedule, when there are dead items to replay.
_LATE = {"replay"}
# Seconds by which these exceed a lease. A hanging Redis outlasts the timeout of its clients, 10 s, so that their
# requests arrive after the clients have given up.
_LASTING = {
    "stop_worker": 0.0,
    "stop_tree": 0.0,
    "redis_hang": 8.5,
    "redis_reject": 0.0,
    "postgres_hang": 0.0,
    "postgres_reject": 0.0,
}


@dataclass(frozen=True, slots=True)
class Enqueue:
    """A run that is enqueued at a time of the schedule, by a process that may be killed meanwhile.

    A submitted one is written by `submit_runs`, and prepared by a supervisor.
    """

    at: float
    key: str
    job: str
    symbols: tuple[str, ...]
    milliseconds: float
    max_attempts: int
    killed_after: float | None = None
    is_submitted: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault some seconds after the previous one; it lasts for some seconds or is instantaneous.

    A blind fault does not wait for a busy target.
    """

    pause: float
    kind: str
    target: int
    seconds: float = 0.0

    @property
    def is_blind(self) -> bool:
        """One of four candidates, selected by the target."""
        return self.target % 4 == 0


@dataclass(frozen=True, slots=True)
class Plan:
    """A chaos run.

    After `stuck_seconds` without progress since the last fault, the run counts as stuck. A fault waits
    `wait_seconds` for a busy pool.
    """

    seed: int
    seconds: float
    supervisors: int
    processes: int
    lease_seconds: float
    stuck_seconds: float
    enqueues: Sequence[Enqueue] = ()
    faults: Sequence[Fault] = ()
    wait_seconds: float = 20.0


def full_plan(seed: int, seconds: float = FULL_SECONDS, *, long_outages: bool = False) -> Plan:
    """The full form; its faults and its work are proportional to its length."""
    rng = random.Random(seed)
    lease_seconds = paced(2.5)
    scale = seconds / FULL_SECONDS
    counts = {kind: max(1, round(count * scale)) for kind, count in FULL_FAULTS.items()}
    enqueues = _workload(rng, seconds, max(4, round(90 * scale)), max(2, round(8 * scale)), 600, 25.0)
    faults = _schedule(rng, counts, seconds, lease_seconds)
    enqueues = _with_run_to_cancel(enqueues, faults)
    if long_outages:
        for number, kind in enumerate(("redis_reject", "postgres_reject")):
            at = sum(fault.pause for fault in faults)
            symbols = tuple(f"FAST-{index:04}" for index in range(2000))
            enqueues.append(Enqueue(at, f"outage-{number}", "chaos_bulk", symbols, 10.0, 5))
            faults.append(Fault(LONG_OUTAGE_SECONDS + 10 if number else 2.0, kind, 0, LONG_OUTAGE_SECONDS))
    return Plan(seed, seconds, 3, 2, lease_seconds, patient(45), enqueues, faults, patient(20))


def short_plan(seed: int, seconds: float = 14.0) -> Plan:
    """The short form, which is part of every run of the tests."""
    rng = random.Random(seed)
    lease_seconds = paced(2.0)
    enqueues = _workload(rng, seconds, len(POISON), 1, 200, 12.0, poison_every=1)
    faults = _schedule(rng, SHORT_FAULTS, seconds, lease_seconds)
    enqueues = _with_run_to_cancel(enqueues, faults)
    return Plan(seed, seconds, 2, 2, lease_seconds, patient(25), enqueues, faults, patient(4))


def _workload(
    rng: random.Random,
    seconds: float,
    mixed: int,
    bulk: int,
    bulk_items: int,
    milliseconds: float,
    *,
    poison_every: int = 3,
) -> list[Enqueue]:
    """Enqueues over the first nine tenths of the time; a third of their processes is killed."""
    last = seconds * 0.9
    poisons = {number: list(POISON)[number // poison_every % len(POISON)] for number in range(0, mixed, poison_every)}
    runs = [
        _mixed_run(rng, number, last * number / mixed, milliseconds, poisons.get(number)) for number in range(mixed)
    ]
    for number in range(bulk):
        symbols = tuple(f"FAST-{index:04}" for index in range(bulk_items))
        at = last * (number + rng.random()) / bulk
        runs.append(
            Enqueue(at, f"bulk-{number}", "chaos_bulk", symbols, milliseconds / 3, 5, _moment_of_death(rng, 0.15))
        )
    return runs


def _with_run_to_cancel(runs: Sequence[Enqueue], faults: Sequence[Fault]) -> list[Enqueue]:
    """All runs by time, and the one for the fault `cancel`, just before it, with items that last until then."""
    number = next(number for number, fault in enumerate(faults) if fault.kind == "cancel")
    at = sum(fault.pause for fault in faults[:number]) + faults[number].pause / 2
    symbols = tuple(f"SLEEP-{index}" for index in range(6))
    return sorted([*runs, Enqueue(at, CANCELLED_KEY, "chaos_long", symbols, 2500.0, 5)], key=lambda run: run.at)


def _mixed_run(rng: random.Random, number: int, at: float, milliseconds: float, poison: str | None) -> Enqueue:
    words = rng.choices(["FAST", "SLOW", "BUSY", "FLAKY", "SNOOZE"], [60, 8, 5, 5, 5], k=rng.randint(40, 110))
    words[rng.randrange(len(words))] = MESSY[number % len(MESSY)]
    if poison is not None:
        words[rng.randrange(len(words))] = poison
    symbols = tuple(f"{word}-{index:03}" for index, word in enumerate(words))
    killed_after, is_submitted = _moment_of_death(rng, 0.06), number % 2 == 1
    return Enqueue(at, f"mixed-{number}", "chaos_mixed", symbols, milliseconds, 3, killed_after, is_submitted)


def _moment_of_death(rng: random.Random, longest_seconds: float) -> float | None:
    """Seconds between the readiness of an enqueuer and its SIGKILL; None for two thirds of them."""
    seconds = rng.uniform(0.0, longest_seconds)
    return seconds if rng.random() < 1 / 3 else None


def _schedule(rng: random.Random, counts: Mapping[str, int], seconds: float, lease_seconds: float) -> list[Fault]:
    """Each fault `counts` times, in random order, with random pauses, targets and durations."""
    kinds = [kind for kind, count in counts.items() if kind not in _LATE for _ in range(count)]
    rng.shuffle(kinds)
    kinds += [kind for kind in counts if kind in _LATE]
    step = seconds / len(kinds)
    return [
        Fault(
            step * rng.uniform(0.2, 1.8),
            kind,
            rng.randrange(1000),
            _LASTING[kind] + lease_seconds + rng.uniform(0.5, 2.5) if kind in _LASTING else 0.0,
        )
        for kind in kinds
    ]
