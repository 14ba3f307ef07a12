"""A real Prometheus with this repository's rules, on a free port of the loopback address."""

import json
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from debian_packages import prometheus_programs
from harness import wait_until
from patience import paced, patient

RULES = Path(__file__).parent.parent.parent / "prometheus" / "rules"


class QueryError(Exception):
    """Prometheus rejected an expression; the message is its own."""


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus, by its URL."""

    url: str

    def query(self, expression: str, at: float | None = None) -> list[dict[str, Any]]:
        """The samples of an expression now, or at a Unix time. Raises QueryError."""
        words = {} if at is None else {"time": str(at)}
        found: list[dict[str, Any]] = self._get("query", query=expression, **words)["result"]
        return found

    def query_range(self, expression: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
        """The series of an expression over a time range. Raises QueryError."""
        words = {"query": expression, "start": str(start), "end": str(end), "step": str(step)}
        found: list[dict[str, Any]] = self._get("query_range", **words)["result"]
        return found

    def label_values(self, label: str, matching: str | None, at: datetime) -> list[str]:
        """The values of a label in the day before a moment, of the series that match a selector."""
        words = {"start": str(at.timestamp() - 86_400), "end": str(at.timestamp())}
        found: list[str] = self._get(f"label/{label}/values", **words, **({"match[]": matching} if matching else {}))
        return found

    def alerts(self) -> dict[str, str]:
        """The state, `pending` or `firing`, of every active alert."""
        found: list[dict[str, Any]] = self._get("alerts")["alerts"]
        return {alert["labels"]["alertname"]: alert["state"] for alert in found}

    def annotations(self, name: str) -> dict[str, str]:
        """Those of an active alert; empty while it is not active."""
        found: list[dict[str, Any]] = self._get("alerts")["alerts"]
        return next((alert["annotations"] for alert in found if alert["labels"]["alertname"] == name), {})

    def targets_up(self) -> int:
        """The number of targets that answer."""
        found = self._get("targets", state="active")["activeTargets"]
        return sum(target["health"] == "up" for target in found)

    def _get(self, path: str, **words: str) -> Any:
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(words)}"
        try:
            with urllib.request.urlopen(url, timeout=patient(30)) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            with error:
                raise QueryError(f"{words.get('query')}: {error.read().decode()}") from None


@contextmanager
def running_prometheus(folder: Path, targets: Mapping[str, Sequence[str]], hasten: float = 1.0) -> Iterator[Prometheus]:
    """Scrape these addresses, by component, each second or so, with the rules of the repository; stopped in the end.

    `hasten` divides the times for which alerts wait before they fire.
    """
    rules = folder / "rules"
    rules.mkdir()
    for path in RULES.glob("*.yml"):
        (rules / path.name).write_text(_hastened(path.read_text(encoding="utf-8"), hasten))
    interval = f"{round(paced(1))}s"
    config = {
        "global": {"scrape_interval": interval, "evaluation_interval": interval},
        "rule_files": [str(rules / "*.yml")],
        "scrape_configs": [
            {
                "job_name": f"streamworkers-{component}",
                "honor_labels": True,
                "static_configs": [{"targets": list(addresses), "labels": {"component": component}}],
            }
            for component, addresses in targets.items()
        ],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    count = sum(len(addresses) for addresses in targets.values())
    with _started(folder) as server:
        wait_until(lambda: _answers(server) and server.targets_up() == count, 60, "Prometheus scrapes all targets")
        yield server


@contextmanager
def evaluating_rules(folder: Path) -> Iterator[Prometheus]:
    """Evaluate the alerts of the repository with its own external labels; nothing is scraped."""
    labels = yaml.safe_load((RULES.parent / "prometheus.yml").read_text(encoding="utf-8"))["global"]["external_labels"]
    config = {
        "global": {"evaluation_interval": "1s", "external_labels": labels},
        "rule_files": [str(RULES / "alerts.yml")],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    # What Prometheus 3 always does; it warns of a flag that it no longer has, and goes on.
    with _started(folder, "--enable-feature=expand-external-labels") as server:
        wait_until(lambda: _answers(server), 60, "Prometheus answers")
        yield server


@contextmanager
def serving_blocks(folder: Path) -> Iterator[Prometheus]:
    """Answer from the blocks in `folder`/prometheus-data, however old they are; nothing is scraped."""
    (folder / "prometheus.yml").write_text(yaml.safe_dump({"global": {"scrape_interval": "15s"}}))
    with _started(folder, "--storage.tsdb.retention.time=100y") as server:
        wait_until(lambda: _answers(server), 60, "Prometheus answers")
        yield server


@contextmanager
def _started(folder: Path, *words: str) -> Iterator[Prometheus]:
    """A Prometheus with the configuration in a folder, which keeps its data there; stopped in the end."""
    program, _ = prometheus_programs()
    port = _free_port()
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'prometheus-data'}",
                f"--web.listen-address=127.0.0.1:{port}",
                *words,
            ],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield Prometheus(f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait(patient(30))


def _hastened(text: str, by: float) -> str:
    document = yaml.safe_load(text)
    for group in document["groups"]:
        for rule in group["rules"]:
            for key in {"for", "keep_firing_for"} & rule.keys():
                rule[key] = f"{round(1000 * _seconds(rule[key]) / by)}ms"
    return str(yaml.safe_dump(document, sort_keys=False))


def _seconds(duration: str) -> float:
    units = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
    return float(duration[:-1]) * units[duration[-1]]


def _answers(server: Prometheus) -> bool:
    try:
        server.query("1")
    except (OSError, QueryError):
        return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
