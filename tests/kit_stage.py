"""Runs pytest with the plugin, in a folder of its own and a process of its own, as a team's suite would."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from harness import ServiceUrls
from patience import patient

KIT_JOBS = Path(__file__).parent / "kit_jobs"
# The services of this session in place of the plugin's own, which take seconds to start.
_SHARED = """
import pytest
from streamworkers.testing.installation import PrivateServers

@pytest.fixture(scope="session")
def sw_services():
    yield PrivateServers({redis!r}, {postgres!r})
"""


@dataclass(frozen=True)
class Suite:
    """A folder with tests of jobs."""

    folder: Path
    environment: dict[str, str]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run pytest in it, with the plugin and no other; what it printed."""
        return subprocess.run(
            self.command(*words),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=patient(300),
        )

    def command(self, *words: str) -> list[str]:
        """The words of that pytest."""
        only = ["--disable-plugin-autoload", "-p", "streamworkers", "-p", "no:cacheprovider"]
        return [sys.executable, "-m", "pytest", *only, *words]


def make_suite(folder: Path, tests: str, urls: ServiceUrls | None, *path: Path) -> Suite:
    """A suite of one file of tests, with the kit's jobs; on its own services unless it shares those at `urls`."""
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    (folder / "test_jobs.py").write_text(tests, encoding="utf-8")
    if urls is not None:
        shared = _SHARED.format(redis=urls.redis, postgres=urls.postgres)
        (folder / "conftest.py").write_text(shared, encoding="utf-8")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("STREAMWORKERS_", "PYTEST_"))}
    return Suite(folder, {**kept, "PYTHONPATH": os.pathsep.join(map(str, (*path, KIT_JOBS))), "COLUMNS": "200"})
