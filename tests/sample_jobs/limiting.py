"""Jobs with limits of their own, which write down when each of their items begins and ends."""

import os
import time
from collections.abc import Iterator, Sequence
from typing import ClassVar

from sample_jobs import LedgerEntry, Noop
from streamworkers.engine.job import Context, JobParameters
from streamworkers.engine.limits import ConcurrencyLimit, RateLimit
from streamworkers.engine.outcome import Completed, Item, Outcome


class LimitedParameters(JobParameters):
    """Milliseconds that each item takes, and a file for the times of all."""

    milliseconds: float = 0.0
    log: str = ""


def group_of(item: Item, _parameters: LimitedParameters) -> str:
    """What stands before the dash: `A-17` belongs to A."""
    if item.key.startswith("NO_KEY"):
        raise ValueError(f"{item.key} has no group")
    return item.key.partition("-")[0]


def key_of(item: Item, _parameters: JobParameters) -> str:
    """The key of the item itself."""
    return item.key


def write_line(path: str, word: str, item: Item) -> None:
    """Write what happens to an item now, in one piece, so that it outlives the process."""
    if path:
        line = f"{word} {time.time():.6f} {os.getpid()} {item.run_id} {item.key}\n"
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, line.encode())
        os.close(descriptor)


class Unlimited(LedgerEntry):
    """Does the same as those below, without a limit."""

    name: ClassVar[str] = "unlimited"
    queue: ClassVar[str] = "tests"
    parameters: ClassVar[type[JobParameters]] = LimitedParameters
    timeout_seconds: ClassVar[float] = float(os.environ.get("SAMPLE_JOBS_TIMEOUT_SECONDS", "3"))

    def execute(self, items: Sequence[Item], context: Context[LimitedParameters]) -> Iterator[Outcome]:  # type: ignore[override]
        for item in items:
            write_line(context.parameters.log, "begin", item)
            time.sleep(context.parameters.milliseconds / 1000)
            if item.key.startswith("RAISE") and item.attempt == 1:
                raise ValueError(f"{item.key} cannot be done yet")
            write_line(context.parameters.log, "end", item)
            yield Completed(item, item.symbol)


class TwoAtOnce(Unlimited):
    """Two items at once, and one of a group."""

    name: ClassVar[str] = "two_at_once"
    limits = (ConcurrencyLimit("sample_broker", 2), ConcurrencyLimit("sample_group", 1, key=group_of))


class OneOfGroup(Unlimited):
    """One item of a group at once."""

    name: ClassVar[str] = "one_of_group"
    limits = (ConcurrencyLimit("sample_group", 1, key=group_of),)


class TenPerSecond(Unlimited):
    """Ten items begin in a second."""

    name: ClassVar[str] = "ten_per_second"
    limits = (RateLimit("sample_rate", calls=10, seconds=1.0),)


class TenPerMinute(Unlimited):
    """Ten items begin in a minute."""

    name: ClassVar[str] = "ten_per_minute"
    limits = (RateLimit("sample_slow_rate", calls=10, seconds=60.0),)


class FourBatches(Unlimited):
    """Four calls begin in a minute, whatever they hold."""

    name: ClassVar[str] = "four_batches"
    batch_size: ClassVar[int] = 5
    limits = (RateLimit("sample_batches", calls=4, seconds=60.0, per="batch"),)


class Both(Unlimited):
    """Twenty items begin in a second, three at once."""

    name: ClassVar[str] = "both_limits"
    limits = (RateLimit("sample_both_rate", calls=20), ConcurrencyLimit("sample_both", 3))


class Roomy(Noop):
    """Does nothing, within a limit that always has room."""

    name: ClassVar[str] = "roomy"
    limits = (ConcurrencyLimit("bench_room", 10_000),)


class RoomyByKey(Noop):
    """Does nothing, one item of a symbol at once."""

    name: ClassVar[str] = "roomy_by_key"
    limits = (ConcurrencyLimit("bench_key", 1, key=key_of),)


class TwoOfCrowd(Unlimited):
    """Two items at once of the many that wait."""

    name: ClassVar[str] = "two_of_crowd"
    queue: ClassVar[str] = "bench"
    timeout_seconds: ClassVar[float] = 20.0
    limits = (ConcurrencyLimit("bench_crowd", 2),)
