"""Firing alerts by name, for every board that shows them."""

from grafana.columns import column, link, state_column
from grafana.looks import Look, empty_cells
from grafana.panels import About, Panel, Size, merged, sorted_by, table
from grafana.queries import Json, promql_table
from grafana.runbook import SECTIONS, UID

_ALL = 'ALERTS_FOR_STATE{alertname=~"Streamworkers.*"} and ignoring (alertstate) ALERTS{alertstate="firing"}'
# The labels that say what an alert is about; those that an alert does not have are empty.
_SUBJECTS = '"queue", "job", "schedule", "provider", "store", "kind", "cause", "method", "route", "instance"'


def firing(number: int, size: Size) -> Panel:
    """The alerts that are firing, pages first: about what, since when, and which section of the runbook helps."""
    about = About(
        number,
        "Alerts firing",
        "Is any alert firing, and what is to be done? A page needs somebody now, a ticket this week. The name leads to"
        " its section of the runbook.",
    )
    twice = f'label_join({_ALL}, "section", "", "alertname")'
    joined = f'label_join({twice}, "about", " ", {_SUBJECTS})'
    trimmed = f'label_replace({joined}, "about", "$1", "about", " *(.*?) *")'
    since = f"max by (severity, alertname, about, section) ({trimmed}) * 1000"
    names = {"severity": "is a", "alertname": "alert", "about": "about", "Value": "since", "section": "section"}
    columns = (
        state_column("is a", 66, filled=True),
        _alert_column(),
        column("since", "time:ddd HH:mm", width=84),
        _section_column(),
    )
    look = Look(unit="none", columns=columns, no_value="no alert is firing")
    made = table(about, [promql_table(since)], look, size, transformations=merged(names))
    return sorted_by(made, "is a")


def _alert_column() -> Json:
    """Wide enough for each title on one line: Grafana measures the height of a row by the names, not by the titles."""
    made = _named("alert", {alert: title for alert, (_, title) in SECTIONS.items()})
    to = link("what to do", f"/d/{UID}?viewPanel=${{__data.fields.section}}")
    made["properties"] += [{"id": "custom.width", "value": 174}, {"id": "links", "value": [to]}]
    return made


def _section_column() -> Json:
    """The number of the alert's section, which only the link needs; an older Grafana shows it."""
    made = _named("section", {alert: str(number) for alert, (number, _) in SECTIONS.items()})
    hidden = {"legend": True, "tooltip": True, "viz": True}
    made["properties"].append({"id": "custom.hideFrom", "value": hidden})
    return made


def _named(name: str, texts: dict[str, str]) -> Json:
    """A column of alerts, shown by other words."""
    options = {alert: {"text": shown, "index": index} for index, (alert, shown) in enumerate(texts.items())}
    made = column(name)
    made["properties"].append({"id": "mappings", "value": [*empty_cells(), {"type": "value", "options": options}]})
    return made
