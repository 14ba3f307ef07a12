"""The table of docs/reference/doctor.md is the table of checks."""

from pathlib import Path

import yaml

from streamworkers.diagnosis.checks import CHECKS
from streamworkers.diagnosis.components import COMPONENTS
from streamworkers.diagnosis.finding import SEVERITIES

ROOT = Path(__file__).parent.parent.parent


def kinds_table() -> str:
    """The table of docs/reference/doctor.md, from the code."""
    rows = []
    for name, check in CHECKS.items():
        views = "doctor, status, health" if check.is_cheap else "doctor"
        alert = f"`{check.alert}`" if check.alert else ""
        texts = (check.meaning, check.fix or "nothing", check.by_hand or "nothing", views, alert)
        rows.append(f"| `{name}` | {check.component} | {check.severity} | {' | '.join(texts)} |")
    header = [
        "| kind | component | severity | meaning | what `--fix` does | what is left to do by hand | shown by | alert |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    return "\n".join([*header, *rows])


def test_the_table_of_checks_is_the_code() -> None:
    assert kinds_table() in (ROOT / "docs" / "reference" / "doctor.md").read_text(encoding="utf-8")


def test_every_check_says_what_can_be_done() -> None:
    assert [name for name, check in CHECKS.items() if not (check.fix or check.by_hand)] == []


def test_every_check_has_a_known_component_and_severity() -> None:
    assert {check.component for check in CHECKS.values()} == set(COMPONENTS)
    assert {check.severity for check in CHECKS.values()} <= set(SEVERITIES)


def test_every_alert_that_a_check_names_exists() -> None:
    rules = yaml.safe_load((ROOT / "prometheus" / "rules" / "alerts.yml").read_text(encoding="utf-8"))
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"] if "alert" in rule}
    named = {check.alert for check in CHECKS.values() if check.alert}
    assert named
    assert named <= alerts
