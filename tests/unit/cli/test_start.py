"""What a user waits for: help, and the import of the package, load nothing heavy."""

import json
import subprocess
import sys

import pytest

from patience import patient

HEAVY = {"exchange_calendars", "hiredis", "httpx", "numpy", "pandas", "psycopg", "pydantic", "redis", "talib"}
REPORT = "import json, sys; print(json.dumps(sorted(sys.modules)))"


@pytest.mark.parametrize(
    "start",
    [
        "import streamworkers",
        "from streamworkers.cli.main import cli; cli.main(['--help'], standalone_mode=False)",
        "from streamworkers.cli.main import cli; cli.main(['version'], standalone_mode=False)",
    ],
)
def test_starting_loads_nothing_heavy(start: str) -> None:
    answer = subprocess.run(
        [sys.executable, "-c", f"{start}\n{REPORT}"], capture_output=True, text=True, timeout=patient(60), check=True
    )
    loaded = set(json.loads(answer.stdout.splitlines()[-1]))
    assert "streamworkers" in loaded
    assert loaded & HEAVY == set()


@pytest.mark.parametrize(
    "module",
    ["streamworkers.engine.worker.fork_server", "streamworkers.engine.supervisor.supervisor", "scheduler.service"],
)
def test_a_process_of_the_pool_loads_nothing_that_it_does_not_use(module: str) -> None:
    unused = {"exchange_calendars", "opentelemetry", "pandas", "pygments", "rich", "sentry_sdk", "talib"}
    answer = subprocess.run(
        [sys.executable, "-c", f"import {module}\n{REPORT}"],
        capture_output=True,
        text=True,
        timeout=patient(60),
        check=True,
    )
    loaded = {name.partition(".")[0] for name in json.loads(answer.stdout)}
    assert {"redis", "structlog", "streamworkers"} <= loaded
    assert loaded & unused == set()
