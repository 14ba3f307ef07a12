"""The command line in this process, against the test's own services."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from command_line import Answer, Run
from harness import Supervisor, running_supervisor, wait_until
from streamworkers.cli.main import main


@pytest.fixture
def bare_cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[Run]:
    """Run a command in an empty folder; the environment says nothing of services."""
    for variable in ("REDIS_URL", "DATABASE_URL", "DATA_DIR"):
        monkeypatch.delenv(f"STREAMWORKERS_{variable}", raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)

    def run(*words: str | Path) -> Answer:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        captured = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Answer(ended.value.code, captured.out, captured.err)

    yield run
    structlog.reset_defaults()


@pytest.fixture
def cli(bare_cli: Run, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command that finds the test's Redis and database, and the sample jobs."""
    monkeypatch.syspath_prepend(environment["PYTHONPATH"])
    for name, value in environment.items():
        if name.startswith("STREAMWORKERS_"):
            monkeypatch.setenv(name, value)
    return bare_cli


@pytest.fixture
def worker(quick_environment: dict[str, str], tmp_path: Path) -> Iterator[Supervisor]:
    """A supervisor with one worker process, which loads the sample jobs only."""
    yield from _run_worker(quick_environment, tmp_path)


@pytest.fixture
def worker_of_all_jobs(environment: dict[str, str], tmp_path: Path) -> Iterator[Supervisor]:
    """A supervisor with one worker process, which loads the product's jobs, too."""
    yield from _run_worker(environment, tmp_path)


def _run_worker(environment: dict[str, str], folder: Path) -> Iterator[Supervisor]:
    with running_supervisor(environment, folder, "--processes", "1") as supervisor:
        wait_until(lambda: supervisor.events("supervisor_started"), what="the supervisor starts")
        yield supervisor
        assert supervisor.stop() == 0
