"""`python -m streamworkers.testing.leftovers FOLDER`: ends the services in a folder once the tests' process has ended.

That process holds the other end of our standard input. Killed or interrupted, it runs no fixture to its end, and its
servers would go on for ever.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

_REDIS_URL = "STREAMWORKERS_REDIS_URL"
_END_SECONDS = 10.0


@contextmanager
def ended_with_us(folder: Path) -> Iterator[None]:
    """Have the services in this folder, and the processes that use them, end with this process at the latest."""
    command = [sys.executable, "-m", __name__, str(folder)]
    # In a session of its own: what a terminal sends to all of us does not end it.
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True):  # noqa: S603
        yield


def end_leftovers(folder: Path) -> None:
    """End the processes that were given the Redis of this folder, then its services, and remove it."""
    from streamworkers.config import Settings  # imported when it is needed: one of us waits for each process of tests
    from streamworkers.embedded import EmbeddedServices

    users = [process for process in psutil.process_iter() if str(folder) in _redis_url(process)]
    for process in users:
        process.kill()
    psutil.wait_procs(users, timeout=_END_SECONDS)
    EmbeddedServices(Settings(data_dir=folder)).stop()
    shutil.rmtree(folder, ignore_errors=True)


def _redis_url(process: psutil.Process) -> str:
    try:
        return str(process.environ().get(_REDIS_URL, ""))
    except psutil.Error:
        return ""


if __name__ == "__main__":
    sys.stdin.read()
    if (found := Path(sys.argv[1])).exists():
        end_leftovers(found)
