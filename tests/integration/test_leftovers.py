"""Tests that are killed leave no server and no process behind."""

import os
import subprocess
import sys
from pathlib import Path

import psutil

from harness import wait_until

_PROGRAM = """
import os, subprocess, sys
from services import running_services
with running_services() as urls:
    user = subprocess.Popen(["sleep", "600"], env={"STREAMWORKERS_REDIS_URL": urls.redis}, start_new_session=True)
    print(urls.redis, user.pid, flush=True)
    sys.stdin.read()
"""


def test_killed_tests_leave_no_server_no_process_and_no_folder() -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as tests:
        assert tests.stdout is not None
        url, user = tests.stdout.readline().split()
        folder = Path(url.removeprefix("unix://")).parent.parent
        assert folder.is_dir()
        tests.kill()
    wait_until(lambda: not folder.exists(), 30, "the removal of the folder")
    # The process that removed the folder ends after that, and is the last one of it.
    wait_until(lambda: _processes_of(folder) == [], 30, "the end of all processes of the folder")
    assert not psutil.pid_exists(int(user)) or _words(psutil.Process(int(user))) == []


def _processes_of(folder: Path) -> list[psutil.Process]:
    return [process for process in psutil.process_iter() if str(folder) in " ".join(_words(process))]


def _words(process: psutil.Process) -> list[str]:
    """The command line of a process that has not ended."""
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []
