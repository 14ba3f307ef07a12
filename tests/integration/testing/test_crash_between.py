"""`crash_between` as a team's suite uses it: green for a sound job, red for one that writes past the fence."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness import ServiceUrls
from kit_stage import make_suite
from streamworkers.errors import UsageError
from streamworkers.testing import crash_between
from streamworkers.testing.crashes import CALL_STEPS, ITEM_STEPS, find_boundaries
from streamworkers.testing.pool import IN_PROCESSES

pytestmark = pytest.mark.timeout(600)
_TEST = """
from streamworkers.testing import assert_exactly_once, crash_between

@crash_between({steps})
def test_each_effect_is_there_once(sw_pool, sw_client, sw_crash):
    sw_pool(workers=2)
    run = sw_client.enqueue({job!r}, symbols=["A", "B", "C"])
    assert run.wait(180).succeeded
    assert_exactly_once(run{table})
    print("killed:", sw_crash.victim)
"""
_EFFECTS = ', table="effects", key=("run_id", "symbol")'


def test_a_sound_job_is_green_at_every_boundary(tmp_path: Path, service_urls: ServiceUrls, no_other_jobs: Path) -> None:
    suite = make_suite(tmp_path, _TEST.format(steps="", job="kit_saved", table=_EFFECTS), service_urls, no_other_jobs)
    done = suite.run("-rP")
    assert "4 passed" in done.stdout, done.stdout
    for point in ("prepare-execute", "execute-save", "save-commit", "commit-acknowledge"):
        assert f"test_each_effect_is_there_once[{point}]" in done.stdout
    assert len(re.findall("killed: kit_saved: run 1", done.stdout)) == 4


def test_a_write_past_the_fence_is_red(tmp_path: Path, service_urls: ServiceUrls, no_other_jobs: Path) -> None:
    steps = '"execute", "save"'
    suite = make_suite(
        tmp_path, _TEST.format(steps=steps, job="kit_planted", table=_EFFECTS), service_urls, no_other_jobs
    )
    done = suite.run()
    assert "1 failed" in done.stdout, done.stdout
    assert "FAILED test_jobs.py::test_each_effect_is_there_once[execute-save]" in done.stdout
    # The worker that dies has some of the items, or all of them.
    assert re.search(r"run 1: [123] effects are in effects more than once: [ABC] \(2 rows\)", done.stdout), done.stdout
    assert "pool pool-1.log" in done.stdout, "the log of the pool is shown"
    assert "killed by signal 9" in done.stdout


def test_calls_to_the_outside_are_killed_between_claim_call_and_record(
    tmp_path: Path, service_urls: ServiceUrls, no_other_jobs: Path
) -> None:
    tests = """
from streamworkers.testing import assert_exactly_once, crash_between

@crash_between("claim", "call", "record")
def test_no_letter_is_sent_twice(sw_pool, sw_client, sw_connection, sw_crash, tmp_path):
    sw_connection.execute("CREATE TABLE letters (name text PRIMARY KEY, state text NOT NULL DEFAULT 'new', claim uuid)")
    sw_connection.execute("INSERT INTO letters (name) VALUES ('one'), ('two')")
    sent = tmp_path / "sent"
    sent.touch()
    sw_pool(workers=1, environment={"KIT_SENT": str(sent)})
    run = sw_client.enqueue("kit_calling", symbols=["one", "two"])
    assert run.wait(180).succeeded
    assert_exactly_once(run, table="letters", key={"name": "key"})
    lines = sent.read_text().split()
    held = [name for (name,) in sw_connection.execute("SELECT name FROM letters WHERE state = 'held'")]
    assert sw_crash.victim == f"kit_calling: {held[0]}"
    assert len(held) == 1 and len(lines) == len(set(lines))
    assert ("sent" if sw_crash.point == "call-record" else "not sent") == ("sent" if held[0] in lines else "not sent")
"""
    done = make_suite(tmp_path, tests, service_urls, no_other_jobs).run()
    assert "2 passed" in done.stdout, done.stdout


def test_a_crash_test_in_which_nothing_dies_is_red(tmp_path: Path, service_urls: ServiceUrls) -> None:
    tests = """
from streamworkers.testing import crash_between

@crash_between("save", "commit", job="kit_saved")
def test_without_a_pool():
    pass

def test_that_is_no_crash_test(sw_crash):
    assert sw_crash.victim is None
"""
    done = make_suite(tmp_path, tests, service_urls).run()
    assert "1 failed, 1 passed" in done.stdout, done.stdout
    assert (
        "no worker was killed between save and commit: the test has ended, and no work of job 'kit_saved'"
        in done.stdout
    )


def test_boundaries_are_those_between_named_steps() -> None:
    assert find_boundaries(ITEM_STEPS) == [
        "prepare-execute",
        "execute-save",
        "save-commit",
        "commit-acknowledge",
    ]
    assert find_boundaries(("commit", "save", *CALL_STEPS)) == ["save-commit", "claim-call", "call-record"]
    with pytest.raises(UsageError, match="no two of the steps prepare, save follow each other"):
        crash_between("prepare", "save")
    with pytest.raises(UsageError, match="no step is named 'safe'; did you mean 'save'"):
        crash_between("safe", "commit")  # type: ignore[arg-type]


def test_a_process_is_armed_by_its_path_alone_and_runs_its_own_sitecustomize_too(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('its own')\n", encoding="utf-8")
    look = "import sys; print(sorted(name for name in sys.modules if name.startswith('streamworkers.testing')))"
    order = json.dumps({"point": "save-commit", "job": None, "mark": str(tmp_path / "mark")})

    def run(*path: Path, words: tuple[str, ...] = ()) -> str:
        environment = {"PYTHONPATH": ":".join(map(str, path)), "SW_TESTING_KILL": order}
        command = [sys.executable, "-c", look, *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    worker = ("streamworkers.engine.worker.fork_server",)
    assert run(tmp_path, words=worker) == "its own\n[]\n", "the variable alone arms nothing"
    assert run(IN_PROCESSES, tmp_path) == "its own\n[]\n", "nor does the path, in a process that is no worker"
    armed = run(IN_PROCESSES, tmp_path, words=worker)
    assert armed.startswith("its own\n")
    assert "streamworkers.testing.kill_points" in armed
