"""A panel that an alert links to has the limit of the alert as a threshold: a line in it means what the alert means."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from grafana.boards import all_boards
from grafana.layout import flat

RULES = Path(__file__).parents[3] / "prometheus" / "rules" / "alerts.yml"
# Each limit as the rule writes it, and as a number.
LIMITS = {
    "StreamworkersNoWorker": ("== 0", 1),
    "StreamworkersOldestItemTooOld": ("> 1800", 1800),
    "StreamworkersItemsUndecided": ("> 0", 1),
    "StreamworkersTicksUnaccounted": ("> 0", 1),
    "StreamworkersCalendarEnds": ("< 60", 60),
    "StreamworkersDataStale": ("> 5 * 86400", 5 * 86_400),
    "StreamworkersOutboxStuck": ("> 120", 120),
    "StreamworkersPostgresConnections": ("> 0.8", 0.8),
    "StreamworkersNightlyIncomplete": ("< 0.99", 0.99),
    "StreamworkersApiErrors": ("> 0.05", 0.05),
    "StreamworkersApiSlow": ("> 1", 1),
    "StreamworkersAuditUnsealed": ("> 900", 900),
}
# The panel of an alert that shows more than its limit; the limit is on this one.
INSTEAD = {"StreamworkersNoWorker": ("streamworkers-tonight", 15)}


def _alerts() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def _thresholds(uid: str, number: int) -> set[float]:
    board = next(board for board in all_boards() if board.uid == uid)
    panel = next(panel for panel in flat(board.model()["panels"]) if panel["id"] == number)
    fields = panel["fieldConfig"]
    found = [fields["defaults"]["thresholds"]]
    found += [each["value"] for o in fields["overrides"] for each in o["properties"] if each["id"] == "thresholds"]
    return {step["value"] for thresholds in found for step in thresholds["steps"] if step["value"] is not None}


@pytest.mark.parametrize("name", LIMITS)
def test_the_panel_of_an_alert_has_its_limit(name: str) -> None:
    alert = _alerts()[name]
    written, value = LIMITS[name]
    assert written in " ".join(alert["expr"].split())
    board, _, panel = alert["annotations"]["dashboard_url"].partition("/d/")[2].partition("?")
    uid, number = INSTEAD.get(name, (board, int(panel.rpartition("viewPanel=")[2])))
    assert value in _thresholds(uid, number)
