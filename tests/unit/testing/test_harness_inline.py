"""A job under the harness without services: outcomes by item, exceptions as they were raised, as the engine repeats."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest
from pydantic import Field

from streamworkers import (
    BadInputError,
    Completed,
    Context,
    Failed,
    Item,
    Job,
    JobCounter,
    JobParameters,
    PermanentError,
    RunRequest,
    Snoozed,
    StopRunError,
)
from streamworkers.database import Connection
from streamworkers.engine.outcome import Outcome
from streamworkers.errors import UsageError
from streamworkers.testing import JobHarness
from streamworkers.testing.given_rows import NotGivenError

LATER = datetime(2030, 1, 1, tzinfo=UTC)


class Doubling(JobParameters):
    factor: int = Field(2, ge=1)


class Moody(Job[Doubling, float]):
    """Does with an item what its key says; reads the others from its connection."""

    name: ClassVar[str] = "moody"
    batch_size: ClassVar[int] = 3
    max_attempts: ClassVar[int] = 2
    item_kind: ClassVar[Any] = "id"
    parameters: ClassVar[type[JobParameters]] = Doubling
    counters: ClassVar[tuple[JobCounter, ...]] = (JobCounter("seen", "items"),)

    def __init__(self) -> None:
        self.moments: list[datetime | None] = []

    def execute(self, items: Sequence[Item], context: Context[Doubling]) -> Iterable[Outcome[float]]:
        self.moments.append(context.as_of)
        for item in items:
            context.tallies["seen",] += 1
            yield self._do(item, context)

    def _do(self, item: Item, context: Context[Doubling]) -> Outcome[float]:
        match item.key:
            case "raise":
                raise ZeroDivisionError("as wished")
            case "fail":
                return Failed(item, f"in attempt {item.attempt}")
            case "mend":
                return Completed(item, 1.0) if item.attempt > 1 else Failed(item, "not yet")
            case "give up":
                raise PermanentError("for good")
            case "snooze":
                return Snoozed(item, LATER)
            case "stop":
                raise StopRunError("the key is wrong")
            case "limited":
                context.rate_limiter.reserve  # noqa: B018
            case "set":
                return Completed(item, 1.0, {"no": {1, 2}})
        rows = context.connection.execute("SELECT price FROM prices WHERE key = %s", (item.key,)).fetchall()
        return Completed(item, rows[0][0] * context.parameters.factor, {"rows": len(rows)})


class Chooser(Job[JobParameters]):
    """Chooses its items in `prepare`, which reads."""

    name: ClassVar[str] = "chooser"
    item_kind: ClassVar[Any] = "id"

    def prepare(self, connection: Connection, request: RunRequest) -> RunRequest:
        keys = [row[0] for row in connection.cursor().execute("SELECT key FROM letters")]
        if keys == ["bad"]:
            raise BadInputError("no such letters")
        return request.with_keys(keys) if keys else request.nothing_to_do("no letter waits")

    def execute(self, items: Sequence[Item], context: Context[JobParameters]) -> Iterable[Outcome]:
        return [Completed(item, item.key) for item in items]


def _price(statement: str, words: Any) -> list[tuple[float]]:
    assert statement.startswith("SELECT price")
    return [(float(len(words[0])),)]


@pytest.fixture
def harness() -> JobHarness[Doubling, float]:
    return JobHarness(Moody, answer=_price)


def test_values_and_results_come_by_item_from_rows_that_the_test_gives(harness: JobHarness[Doubling, float]) -> None:
    run = harness.run(["AAPL", "GE"], Doubling(factor=10))
    assert run.values == {"AAPL": 40.0, "GE": 20.0}
    assert run["GE"].value == 20.0
    assert run["GE"].result == {"rows": 1}
    assert run.results == {"AAPL": {"rows": 1}, "GE": {"rows": 1}}
    assert run.calls == [["AAPL", "GE"]]
    assert run.tallies == {("seen",): 2}
    assert len(run) == 2


def test_parameters_may_be_a_mapping_and_are_checked(harness: JobHarness[Doubling, float]) -> None:
    assert harness.run(["A"], {"factor": 3}).values == {"A": 3.0}
    with pytest.raises(BadInputError, match="nothing has this name; did you mean 'factor'"):
        harness.run(["A"], {"faktor": 3})
    with pytest.raises(BadInputError, match="factor=0 of job 'moody'"):
        harness.run(["A"], {"factor": 0})


def test_a_batch_that_raises_is_repeated_item_by_item(harness: JobHarness[Doubling, float]) -> None:
    run = harness.run(["A", "raise", "BB", "CCC"])
    assert run.calls == [["A", "raise", "BB"], ["A"], ["raise"], ["BB"], ["CCC"]]
    assert run.values == {"A": 2.0, "BB": 4.0, "CCC": 6.0}
    assert run.retries == {"raise": "ZeroDivisionError: as wished"}
    assert run.tallies == {("seen",): 3}, "what a failed call has counted is not kept, as in a pool"


def test_an_exception_is_shown_as_it_was_raised(harness: JobHarness[Doubling, float]) -> None:
    run = harness.run(["raise", "A"])
    assert isinstance(run.exceptions["raise"], ZeroDivisionError)
    with pytest.raises(ZeroDivisionError, match="as wished") as raised:
        _ = run["raise"].value
    assert raised.traceback[-1].name == "_do", "the traceback ends in the job"
    with pytest.raises(ZeroDivisionError):
        run.raise_errors()
    harness.run(["A"]).raise_errors()


def test_what_failed_is_retried_as_often_as_the_test_wants_and_dead_when_the_job_says(
    harness: JobHarness[Doubling, float],
) -> None:
    keys = ["fail", "mend", "give up", "snooze"]
    once = harness.run(keys)
    assert once.retries == {"fail": "in attempt 1", "mend": "not yet"}
    assert once.dead == {"give up": "PermanentError: for good"}
    assert once.errors == once.retries | once.dead
    assert once.snoozes == {"snooze": LATER}
    twice = harness.run(keys, attempts=2)
    assert twice.values == {"mend": 1.0}
    assert twice["mend"].attempt == 2
    assert twice.dead == {"fail": "in attempt 2", "give up": "PermanentError: for good"}
    assert harness.run(["fail"], attempts=2, max_attempts=5).retries == {"fail": "in attempt 2"}
    with pytest.raises(AssertionError, match="fail is dead after attempt 2: in attempt 2"):
        _ = twice["fail"].value
    with pytest.raises(AssertionError, match=r"snooze is snoozed after attempt 1: until 2030-01-01"):
        _ = twice["snooze"].value
    with pytest.raises(BadInputError, match="attempts 0 is not between 1 and 100"):
        harness.run(["A"], attempts=0)


def test_an_error_that_concerns_all_items_ends_the_run(harness: JobHarness[Doubling, float]) -> None:
    run = harness.run(["stop", "A", "B", "C"])
    assert [item.state for item in run] == ["dead", "cancelled", "cancelled", "cancelled"]
    assert run["A"].error == "StopRunError: the key is wrong"
    with pytest.raises(AssertionError, match="C is cancelled after attempt 1: its run was stopped"):
        _ = run["C"].value


def test_a_result_that_the_ledger_cannot_keep_is_a_failure(harness: JobHarness[Doubling, float]) -> None:
    assert "not JSON serializable" in harness.run(["set"]).errors["set"]


def test_what_a_test_does_not_give_is_named() -> None:
    with pytest.raises(NotGivenError, match=r"the job uses connection\.execute, .* give JobHarness a connection="):
        JobHarness(Moody).run(["A"])
    with pytest.raises(NotGivenError, match=r"context\.rate_limiter\.reserve"):
        JobHarness(Moody, answer=_price).run(["limited"])
    with pytest.raises(NotGivenError, match=r"connection\.transaction, and given rows have only execute and cursor"):
        JobHarness(_Transacting, answer=_price).run(["A"])
    with pytest.raises(BadInputError, match="one of connection, answer and installation"):
        JobHarness(Moody, answer=_price, connection=object())
    with pytest.raises(BadInputError, match="writes_in_execute is for a harness with an installation"):
        JobHarness(Moody, writes_in_execute=["letters"])
    with pytest.raises(UsageError, match="no item of the run is named 'AAPPL'; did you mean 'AAPL'"):
        _ = JobHarness(Moody, answer=_price).run(["AAPL"])["AAPPL"]


class _Transacting(Moody):
    def execute(self, items: Sequence[Item], context: Context[Doubling]) -> Iterable[Outcome[float]]:
        with context.connection.transaction():
            return []


def test_prepare_chooses_the_items() -> None:
    letters: list[tuple[str]] = [("first",), ("second",)]
    harness = JobHarness(Chooser, answer=lambda *_: letters)
    assert harness.run().values == {"first": "first", "second": "second"}
    letters.clear()
    empty = harness.run()
    assert (len(empty), empty.request.note) == (0, "no letter waits")
    letters.append(("bad",))
    with pytest.raises(BadInputError, match="no such letters"):
        harness.run()


def test_the_job_sees_the_as_of_and_the_timeframes_of_the_run(harness: JobHarness[Doubling, float]) -> None:
    moment = datetime.now(UTC) - timedelta(days=1)
    run = harness.run(["A"], as_of=moment, timeframes=["day", "hour"])
    assert isinstance(harness.job, Moody)
    assert harness.job.moments == [moment]
    assert [(item.key, item.timeframe) for item in run] == [("A", "day"), ("A", "hour")]
    assert run["A", "hour"].value == 2.0
    assert run.values == {("A", "day"): 2.0, ("A", "hour"): 2.0}
    with pytest.raises(BadInputError, match="is in the future"):
        harness.run(["A"], as_of=datetime.now(UTC) + timedelta(days=1))


@pytest.mark.parametrize(
    ("execute", "error"),
    [
        (lambda items, _: None, "TypeError: 'NoneType' object is not iterable"),
        (lambda items, _: [], "the handler returned no outcome for this item"),
        (lambda items, _: [Completed(items[0])] * 2, "two outcomes"),
        (lambda items, context: [context.tallies.update({("sean",): 1}) or Completed(items[0])], "tally"),
    ],
)
def test_a_wrong_outcome_is_the_failure_that_it_is_in_a_pool(execute: Callable[..., Any], error: str) -> None:
    job = type("Wrong", (Moody,), {"execute": lambda _, items, context: execute(items, context)})()
    assert error in JobHarness(job).run(["A"]).errors["A"]


def test_a_job_that_no_pool_would_take_is_rejected() -> None:
    job = type("Large", (Moody,), {"batch_size": 5000})
    with pytest.raises(BadInputError, match="batch_size 5000 of job 'moody'"):
        JobHarness(job)


def test_importing_the_names_loads_neither_a_driver_nor_pytest() -> None:
    heavy = "{'numpy', 'pandas', 'psycopg', 'redis', 'pytest', 'pydantic'}"
    check = (
        f"import streamworkers.testing, sys; found = {heavy} & set(sys.modules); sys.exit(str(found) if found else 0)"
    )
    subprocess.run([sys.executable, "-c", check], check=True)


def test_the_names_are_sorted_documented_and_there() -> None:
    from pathlib import Path

    import streamworkers.testing as kit

    assert kit.__all__ == sorted(kit.__all__)
    assert all(hasattr(kit, name) for name in kit.__all__)
    assert dir(kit) == sorted(dir(kit))
    page = Path(__file__).parents[3].joinpath("docs/reference/stability.md").read_text(encoding="utf-8")
    assert [name for name in kit.__all__ if not re.search(rf"`{name}`", page)] == []
    with pytest.raises(AttributeError, match="has no attribute 'Harness'"):
        _ = kit.Harness
