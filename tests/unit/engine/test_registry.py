"""Which jobs exist, and which are rejected."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from streamworkers.engine.job import Context, Job, JobParameters, RunRequest
from streamworkers.engine.limits import ConcurrencyLimit, RateLimit, name_bucket
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
    queues = [registry["other"].lane_of(replace(request, goes_first=first)) for first in (True, False)]
    assert queues == ["load_first", "load"]
    assert registry["sound"].lane_of(replace(request, goes_first=True)) == "analysis"


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


def _untyped(value: Any) -> Any:
    return value


BROKER = ConcurrencyLimit("broker", 2)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ([BROKER], "limits of job 'sound' is not a tuple of RateLimit and ConcurrencyLimit: .ConcurrencyLimit"),
        (("broker",), "limits of job 'sound' is not a tuple of RateLimit and ConcurrencyLimit: .'broker'"),
        ((ConcurrencyLimit("Bro ker", 2),), "limit 'Bro ker' is not a name of 1 to 64 small letters.*: job 'sound'"),
        ((ConcurrencyLimit("x", 0),), "limit 'x' of job 'sound': places 0 is not 1 to 10,000"),
        ((ConcurrencyLimit("x", True),), "limit 'x' of job 'sound': places True is not 1 to 10,000"),
        ((RateLimit("x", 5001),), "limit 'x' of job 'sound': calls 5001 is not 1 to 5,000"),
        ((RateLimit("x", 1, 0.05),), "limit 'x' of job 'sound': seconds 0.05 is not 0.1 to 86,400"),
        ((RateLimit("x", 1, float("nan")),), "limit 'x' of job 'sound': seconds nan is not 0.1 to 86,400"),
        ((RateLimit("x", 1, per=_untyped("run")),), "limit 'x' of job 'sound': per 'run' is not 'item' or 'batch'"),
        (
            (RateLimit("x", 1, per="batch", key=lambda item, _: item.key),),
            "limit 'x' of job 'sound': a rate of batches has no key, as the items of a batch may differ in it",
        ),
        (
            (ConcurrencyLimit("x", 1, key=_untyped("symbol")),),
            "limit 'x' of job 'sound': key 'symbol' is not a function of an item and its run's parameters",
        ),
        ((BROKER, RateLimit("broker", 1)), "limit 'broker' of job 'sound' is declared twice"),
    ],
)
def test_a_limit_that_breaks_a_rule_is_rejected(limits: Any, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        Registry([_variant(limits=limits)])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("VENDOR_KEY", "required_settings of job 'sound' is not a tuple of names: 'VENDOR_KEY'"),
        ((5,), r"required_settings of job 'sound' is not a tuple of names: \(5,\)"),
        (("vendor key",), "required setting 'vendor key' of job 'sound' is not the name of a variable"),
    ],
)
def test_a_required_setting_that_is_no_name_is_rejected(names: Any, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        Registry([_variant(required_settings=names)])


def test_a_limit_of_several_jobs_is_declared_alike() -> None:
    registry = Registry([_variant(limits=(BROKER,)), _variant(name="other", queue="load", limits=(BROKER,))])
    assert registry.limits == {"broker": BROKER}
    assert registry.queues_of_limit("broker") == ["analysis", "load"]
    other = _variant(name="other", limits=(ConcurrencyLimit("broker", 3, key=_untyped(str)),))
    message = (
        "limit 'broker' of jobs 'sound' and 'other' is one limit, but they declare it differently"
        r" \(2 at once; 3 at once, by str\): declare it once, and use that in both"
    )
    with pytest.raises(BadInputError, match=message):
        Registry([_variant(limits=(BROKER,)), other])


def test_the_key_of_a_limit_is_a_text_of_any_length() -> None:
    item = Item(1, 1, "A" * 32, None, 1)
    assert name_bucket(BROKER, item, None) == "broker"
    assert name_bucket(replace(BROKER, key=lambda item, _: item.key), item, None) == f"broker:{item.key}"
    long = name_bucket(replace(BROKER, key=lambda item, _: item.key * 10), item, None)
    assert len(long) == len("broker:") + 64
    with pytest.raises(TypeError, match=r"the key of limit 'broker' is 7 for A+, not a text"):
        name_bucket(replace(BROKER, key=lambda *_: 7), item, None)  # type: ignore[arg-type]


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
