"""Which jobs exist, and which are rejected."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from streamworkers.engine.job import Context, Job, JobParameters, RunRequest
from streamworkers.engine.outcome import Completed, Item, Outcome
from streamworkers.engine.registry import Registry, installed_jobs
from streamworkers.errors import BadInputError, UnknownNameError


class Sound(Job[JobParameters]):
    name: ClassVar[str] = "sound"

    def execute(self, items: Sequence[Item], context: Context[JobParameters]) -> list[Outcome]:
        return [Completed(item) for item in items]


def _variant(**attributes: Any) -> Job[JobParameters]:
    kind = type("Variant", (Sound,), attributes)
    made: Job[JobParameters] = kind()
    return made


def test_jobs_are_found_by_name_and_queues_by_jobs() -> None:
    registry = Registry([Sound(), _variant(name="other", queue="load", batch_size=7)])
    assert sorted(registry) == ["other", "sound"]
    assert registry.queues == ["analysis", "load"]
    assert registry.largest_batch("load") == 7
    assert registry.largest_batch("nobody's") == 1
    assert len(registry) == 2


def test_workers_of_a_queue_read_the_queues_that_go_first_too() -> None:
    registry = Registry([Sound(), _variant(name="other", queue="load", first_queue="load_first", batch_size=7)])
    assert registry.queues == ["analysis", "load", "load_first"]
    assert registry.add_first_queues(["analysis", "load"]) == ["load_first", "analysis", "load"]
    assert registry.add_first_queues(["load_first"]) == ["load_first"]
    assert registry.largest_batch("load_first") == 7
    assert registry.jobs_by_queue()["load_first"] == ["other"]
    request = RunRequest("other", ("A",), "A")
    queues = [registry["other"].queue_of(replace(request, goes_first=first)) for first in (True, False)]
    assert queues == ["load_first", "load"]
    assert registry["sound"].queue_of(replace(request, goes_first=True)) == "analysis"


def test_an_unknown_job_is_rejected_with_the_nearest_name() -> None:
    with pytest.raises(UnknownNameError, match="no job is named 'sond'; did you mean 'sound'"):
        Registry([Sound()])["sond"]


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        (
            {"name": "Bad Name"},
            "job 'Bad Name' is not a name of 1 to 64 small letters, digits and _, a letter first: .*Variant",
        ),
        ({"queue": "{q}"}, "queue '{q}' is not a name of"),
        ({"first_queue": "{q}"}, "queue '{q}' is not a name of"),
        ({"batch_size": 0}, "batch_size 0 of job 'sound' is not between 1 and 1000"),
        ({"max_attempts": 101}, "max_attempts 101 of job 'sound' is not between 1 and 100"),
        ({"timeout_seconds": 0}, "timeout_seconds 0 of job 'sound' is not above 0"),
        ({"parameters": dict}, "parameters of job 'sound' is not a subclass of JobParameters"),
    ],
)
def test_a_job_that_breaks_a_rule_is_rejected(attributes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        Registry([_variant(**attributes)])


def test_two_jobs_of_one_name_are_rejected_with_both_places() -> None:
    with pytest.raises(BadInputError, match=r"two jobs are named 'sound': .*Sound and .*Variant"):
        Registry([Sound(), _variant()])


def test_the_installed_jobs_are_those_of_the_entry_points() -> None:
    assert {"analysis", "indicators", "patterns"} <= set(installed_jobs())


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("no_such_module:Job", r"job 'broken' \(no_such_module:Job\) does not load: No module named"),
        (
            "streamworkers.engine.outcome:Completed",
            r"job 'broken' \(.*\) is not a subclass of streamworkers.engine.job.Job",
        ),
    ],
)
def test_an_entry_point_that_is_no_job_is_named(
    target: str, message: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "broken-0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 0\n")
    (folder / "entry_points.txt").write_text(f"[streamworkers.jobs]\nbroken = {target}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(BadInputError, match=message):
        installed_jobs()
