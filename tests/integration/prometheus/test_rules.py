"""The configuration of Prometheus is valid by promtool, and agrees with the metrics and the runbook."""

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from debian_packages import prometheus_programs
from grafana.layout import flat
from grafana.runbook import SECTIONS
from patience import patient
from streamworkers.cli.main import cli
from streamworkers.errors import UsageError
from unit.test_docs import _registries

REPOSITORY = Path(__file__).parent.parent.parent.parent
FOLDER = REPOSITORY / "prometheus"
CASES = sorted((FOLDER / "tests").glob("*.yml"))
BOARDS = REPOSITORY / "grafana" / "dashboards"
_PROMTOOL_SECONDS = 100.0
_GRAFANA = "{{ $externalLabels.grafana_url }}"
_WORDS = {"for", "and", "or", "unless", "on", "by", "group_left", "offset", "bool"}


@dataclass(frozen=True)
class Case:
    """A query in a test of rules, and the expected label sets."""

    query: str
    labels: list[dict[str, str]]


def _panels(board: str) -> set[int]:
    model = json.loads((BOARDS / f"{board}.json").read_text(encoding="utf-8"))
    return {panel["id"] for panel in flat(model["panels"])}


@pytest.fixture(scope="session")
def promtool() -> Path:
    """The program; skips if it is neither installed nor downloadable."""
    try:
        return prometheus_programs()[1]
    except UsageError as error:
        pytest.skip(str(error))


def _run(program: Path, *words: str | Path) -> str:
    done = subprocess.run(
        [program, *words], cwd=FOLDER, capture_output=True, text=True, timeout=patient(_PROMTOOL_SECONDS), check=False
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


def _read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@cache
def _rules() -> list[dict[str, Any]]:
    return [
        rule for path in sorted((FOLDER / "rules").glob("*.yml")) for g in _read(path)["groups"] for rule in g["rules"]
    ]


def _alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for rule in _rules() if "alert" in rule}


def _records() -> dict[str, dict[str, Any]]:
    return {rule["record"]: rule for rule in _rules() if "record" in rule}


def _labels(words: str) -> dict[str, str]:
    return dict(re.findall(r'(\w+)="([^"]*)"', words))


@cache
def _cases() -> list[Case]:
    return list(_read_cases())


def _read_cases() -> Iterator[Case]:
    for path in CASES:
        for test in _read(path)["tests"]:
            for asked in test.get("promql_expr_test", ()):
                yield Case(asked["expr"], [_labels(sample["labels"]) for sample in asked["exp_samples"]])
            for asked in test.get("alert_rule_test", ()):
                name = f'ALERTS{{alertname="{asked["alertname"]}"}}'
                yield Case(name, [alert["exp_labels"] for alert in asked["exp_alerts"]])


def _anchors(text: str) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def _names_in(expression: str) -> set[str]:
    """The series that an expression names, without labels, functions and keywords."""
    bare = re.sub(r'"[^"]*"', "", expression)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\b(?:by|on|ignoring|group_left)\s*\([^)]*\)", " ", bare)
    return {word for word in re.findall(r"(?<![\w:.])[a-zA-Z_:][\w:]*(?![\w:]*\s*\()", bare) if word not in _WORDS}


def _series_of_the_code() -> set[str]:
    names = {"up"}
    for registry in _registries().values():
        for collector in registry._collector_to_names:
            for metric in collector.describe():  # type: ignore[attr-defined]
                endings = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(metric.type, ("",))
                names |= {metric.name + ending for ending in endings}
    return names


def test_promtool_accepts_the_configuration_and_the_rules(promtool: Path) -> None:
    assert "SUCCESS" in _run(promtool, "check", "config", "prometheus.yml")
    assert "SUCCESS" in _run(promtool, "check", "rules", *sorted((FOLDER / "rules").glob("*.yml")))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_the_rules_do_what_their_cases_say(promtool: Path, path: Path) -> None:
    assert "SUCCESS" in _run(promtool, "test", "rules", path)


def test_the_example_of_targets_is_valid(promtool: Path, tmp_path: Path) -> None:
    """It is copied to the name that prometheus.yml reads."""
    text = (FOLDER / "prometheus.yml").read_text(encoding="utf-8").replace("rules/*.yml", f"{FOLDER}/rules/*.yml")
    (tmp_path / "prometheus.yml").write_text(text, encoding="utf-8")
    (tmp_path / "targets").mkdir()
    (tmp_path / "targets" / "workers.yml").write_bytes((FOLDER / "targets" / "workers.yml.example").read_bytes())
    assert "WARNING" not in _run(promtool, "check", "config", tmp_path / "prometheus.yml")
    components = [group["labels"]["component"] for group in _read(tmp_path / "targets" / "workers.yml")]
    assert components == ["worker", "scheduler"]


def test_every_scrape_keeps_the_label_job_of_the_metrics() -> None:
    scrapes = _read(FOLDER / "prometheus.yml")["scrape_configs"]
    assert [scrape["honor_labels"] for scrape in scrapes] == [True] * len(scrapes)


@pytest.mark.parametrize("name", _alerts())
def test_an_alert_has_a_summary_an_action_a_panel_and_a_runbook(name: str) -> None:
    alert = _alerts()[name]
    annotations = alert["annotations"]
    assert alert["labels"]["severity"] in {"page", "ticket"}
    assert alert["for"]
    assert alert["keep_firing_for"]
    assert set(annotations) == {"summary", "description", "dashboard_url", "runbook", "runbook_url"}
    document, _, anchor = annotations["runbook"].partition("#")
    assert anchor in _anchors((REPOSITORY / document).read_text(encoding="utf-8"))
    number, heading = SECTIONS[name]
    assert _anchors(f"### {heading}") == {anchor}
    assert annotations["runbook_url"] == f"{_GRAFANA}/d/streamworkers-runbook?viewPanel={number}"
    assert number in _panels("streamworkers-runbook")
    panel = re.fullmatch(
        r"/d/(streamworkers-\w+)\?(?:var-\w+=\{\{ \$labels\.\w+ \}\}&)?viewPanel=(\d+)",
        annotations["dashboard_url"].removeprefix(_GRAFANA),
    )
    assert panel is not None
    assert int(panel[2]) in _panels(panel[1])
    assert re.search("`[^`]+`", annotations["description"]) or "prometheus/targets" in annotations["description"]


@pytest.mark.parametrize("name", _alerts())
def test_an_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not(name: str) -> None:
    cases = [case for case in _cases() if f'alertname="{name}"' in case.query]
    fired = [labels for case in cases for labels in case.labels]
    assert fired
    assert any(not case.labels for case in cases)
    named = set(re.findall(r"\$labels\.(\w+)", str(_alerts()[name]["annotations"])))
    assert all(named <= labels.keys() for labels in fired)


@pytest.mark.parametrize("name", _records())
def test_a_recorded_series_has_a_value_in_a_case(name: str) -> None:
    assert [case for case in _cases() if name in _names_in(case.query) and case.labels]


def test_the_runbook_has_a_section_for_each_alert_and_none_that_is_older() -> None:
    assert list(SECTIONS) == list(_alerts())
    assert len({number for number, _ in SECTIONS.values()}) == len(SECTIONS)


def test_the_address_of_links_is_no_label_of_an_alert_that_is_sent() -> None:
    """It is an external label, so it would otherwise stand on each alert."""
    config = _read(FOLDER / "prometheus.yml")
    (label,) = config["global"]["external_labels"]
    assert config["global"]["external_labels"][label] == "${GRAFANA_URL}"
    assert {"regex": label, "action": "labeldrop"} in config["alerting"]["alert_relabel_configs"]


def test_no_two_rules_have_the_same_name() -> None:
    assert len(_rules()) == len(_alerts()) + len(_records())


def test_every_series_that_a_rule_names_is_recorded_or_in_the_code() -> None:
    known = _series_of_the_code() | set(_records())
    assert len(known) > 60
    for rule in _rules():
        assert _names_in(rule["expr"]) <= known, rule


def test_every_series_that_a_case_feeds_is_in_the_code() -> None:
    known = _series_of_the_code() | {"vector_of_another_program"}
    for path in CASES:
        for test in _read(path)["tests"]:
            assert {series["series"].partition("{")[0] for series in test["input_series"]} <= known


def test_every_command_that_an_alert_or_the_runbook_names_exists() -> None:
    texts = [str(alert["annotations"]) for alert in _alerts().values()]
    texts.append((REPOSITORY / "docs" / "guides" / "operations.md").read_text(encoding="utf-8"))
    lines = [line for text in texts for line in re.findall(r"(?:`|^\$ )streamworkers ([^`\n#]+)", text, re.MULTILINE)]
    assert len(lines) > 40
    context = click.Context(cli)
    for line in lines:
        words = line.split()
        command = cli.get_command(context, words[0])
        assert command is not None, line
        while isinstance(command, click.Group) and len(words) > 1:
            words = words[1:]
            command = command.commands.get(words[0])
            assert command is not None, line
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known, line
