"""Firing alerts by name, for every board that shows them."""

from grafana.columns import column, link, state_column
from grafana.looks import Look, empty_cells
from grafana.panels import About, Panel, Size, merged, sorted_by, table
from grafana.queries import Json, promql_table
from grafana.runbook import SECTIONS, UID

_ALL = 'ALERTS_FOR_STATE{alertname=~"Streamworkers.*"} and ignoring (alertstate) ALERTS{alertstate="firing"}'
# The labels that say what an alert is about; those that an alert does not have are empty.
_SUBJECTS = '"queue", "job", "schedule", "provider", "store", "kind", "cause", "instance"'


def firing(number: int, size: Size) -> Panel:
    """The alerts that are firing, pages first: about what, since when, and which section of the runbook helps."""
    about = About(
        number,
        "Alerts firing",
        "Is any alert firing, and what is to be done? A page needs somebody now, a ticket this week. The number leads"
        " to the section of the runbook.",
    )
    twice = f'label_join({_ALL}, "section", "", "alertname")'
    joined = f'label_join({twice}, "about", " ", {_SUBJECTS})'
    trimmed = f'label_replace({joined}, "about", "$1", "about", " *(.*?) *")'
    since = f"max by (severity, alertname, about, section) ({trimmed}) * 1000"
    names = {"severity": "severity", "alertname": "alert", "about": "about", "Value": "since", "section": "runbook"}
    columns = (
        state_column("severity", 98, filled=True),
        _named("alert", {alert: title for alert, (_, title) in SECTIONS.items()}, 126),
        column("since", "time:ddd HH:mm", width=90),
        _runbook_column(),
    )
    look = Look(unit="none", columns=columns, no_value="no alert is firing")
    made = table(about, [promql_table(since)], look, size, transformations=merged(names))
    return sorted_by(made, "severity")


def _runbook_column() -> Json:
    made = _named("runbook", {alert: str(number) for alert, (number, _) in SECTIONS.items()}, 70)
    to = link("what to do", f"/d/{UID}?viewPanel=${{__value.text}}")
    made["properties"].append({"id": "links", "value": [to]})
    return made


def _named(name: str, texts: dict[str, str], width: int) -> Json:
    """A column of alerts, shown by other words."""
    options = {alert: {"text": shown, "index": index} for index, (alert, shown) in enumerate(texts.items())}
    made = column(name)
    made["properties"] += [{"id": "custom.width", "value": width}]
    made["properties"].append({"id": "mappings", "value": [*empty_cells(), {"type": "value", "options": options}]})
    return made
