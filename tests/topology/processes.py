"""A service of docker-compose.yml as a process on loopback, with the file's command, environment and health check."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import SAMPLE_JOBS, Supervisor, wait_until
from patience import patient
from topology.compose import seconds

_STREAMWORKERS = (sys.executable, "-m", "streamworkers")
_CHECK_SECONDS = 10.0


class ServiceProcess(Supervisor):
    """One replica. What differs in a container is replaced: the port, and the hosts in URLs."""

    def __init__(self, service: Mapping[str, Any], environment: Mapping[str, str], log: Path) -> None:
        self.log = log
        self.stop_seconds = seconds(service.get("stop_grace_period", "10s"))
        own = {"0.0.0.0": "127.0.0.1", **_port_of(service["command"])}
        self._command = _replaced(service["command"], own)
        self._check = _replaced(service["healthcheck"].get("test", []), own)
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("STREAMWORKERS_")},
            "PYTHONPATH": str(SAMPLE_JOBS),
            "PYTHONWARNINGS": "error",
            **service["environment"],
            **environment,
        }
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [*_STREAMWORKERS, *self._command],
                env=self._environment,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    def is_healthy(self) -> bool:
        """The result of the file's health check; fails if the process has ended."""
        assert self.process.poll() is None, self.log.read_text(encoding="utf-8")
        kind, program, *words = self._check
        assert (kind, program) == ("CMD", "python")
        command = [sys.executable, *words]
        return (
            subprocess.run(command, capture_output=True, timeout=patient(_CHECK_SECONDS), check=False).returncode == 0
        )

    def wait_until_healthy(self) -> None:
        """Poll the health check until it succeeds."""
        wait_until(self.is_healthy, what=f"{self._command[0]} is healthy")

    def call(self, *words: str) -> str:
        """The output of a command in this service, as by `docker compose exec`."""
        answer = subprocess.run(
            [*_STREAMWORKERS, *words],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=patient(60),
            check=False,
        )
        assert answer.returncode == 0, answer.stderr
        return answer.stdout

    def supervisor_id(self) -> str:
        """What a worker's supervisor calls itself."""
        return str(self.events("supervisor_started")[0]["supervisor"])

    def ended(self) -> int:
        """The exit code, after the process ended by itself."""
        return self.process.wait(patient(60))


def _port_of(command: Sequence[str]) -> dict[str, str]:
    if "--metrics-port" not in command:
        return {}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return {command[command.index("--metrics-port") + 1]: str(free.getsockname()[1])}


def _replaced(words: Sequence[str], replacements: Mapping[str, str]) -> list[str]:
    """Words with whole numbers and addresses in them replaced."""
    return [re.sub(r"\d+(\.\d+)*", lambda match: replacements.get(match[0], match[0]), word) for word in words]
