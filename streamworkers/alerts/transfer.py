"""Many alerts in one file: JSON lines, or one document with a list; what is imported twice changes nothing."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from streamworkers.actor import Actor
from streamworkers.alerts.document import Alert, alert_to_json, parse_alert
from streamworkers.alerts.store.alerts import StoredAlert, list_alerts
from streamworkers.alerts.store.changes import add_alert, edit_alert
from streamworkers.database import Connection
from streamworkers.errors import BadInputError, UsageError
from streamworkers.rules.json_input import read_json
from streamworkers.rules.vocabulary import Vocabulary

_LIST = "alerts"

Outcome = Literal["added", "changed", "unchanged"]


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did with one alert."""

    name: str
    outcome: Outcome


def write_lines(alerts: Sequence[StoredAlert]) -> str:
    """The documents of alerts, one a line."""
    return "".join(f"{json.dumps(alert_to_json(stored.alert), ensure_ascii=False)}\n" for stored in alerts)


def write_document(alerts: Sequence[StoredAlert]) -> str:
    """The documents of alerts as one JSON document."""
    documents = [alert_to_json(stored.alert) for stored in alerts]
    return json.dumps({_LIST: documents}, ensure_ascii=False, indent=2) + "\n"


def parse_alerts(text: str, vocabulary: Vocabulary) -> list[Alert]:
    """The alerts of a file of either form, which was read within a limit.

    Raises BadInputError that says which one is wrong, and for no alerts.
    """
    found: dict[str, Alert] = {}
    for place, document in _documents(text):
        try:
            alert = parse_alert(document, vocabulary)
        except UsageError as error:
            raise BadInputError(f"{place}: {error}") from None
        if alert.name is None:
            raise BadInputError(f"{place}: has no name, by which an import knows whether it is there already")
        if alert.name in found:
            raise BadInputError(f"{place}: a second alert has the name {alert.name!r}")
        found[alert.name] = alert
    if not found:
        raise BadInputError("there are no alerts in it")
    return list(found.values())


def import_alerts(
    connection: Connection, actor: Actor, alerts: Sequence[Alert], *, dry_run: bool = False
) -> list[Imported]:
    """Add the alerts whose names are new, and edit those whose documents differ; all or none.

    A dry run does the same and takes it back. Raises what `add_alert` and `edit_alert` raise, with the name.
    """
    stored = {each.name: each.document for each in list_alerts(connection, actor.user)}
    with connection.transaction(force_rollback=dry_run):
        return [_import(connection, actor, alert, stored) for alert in alerts]


def _import(connection: Connection, actor: Actor, alert: Alert, stored: dict[str, dict[str, Any]]) -> Imported:
    assert alert.name is not None
    try:
        if alert.name not in stored:
            add_alert(connection, actor, alert)
            return Imported(alert.name, "added")
        if stored[alert.name] == alert_to_json(alert):
            return Imported(alert.name, "unchanged")
        edit_alert(connection, actor, alert.name, alert)
    except UsageError as error:
        raise BadInputError(f"alert {alert.name!r}: {error}") from None
    return Imported(alert.name, "changed")


def _documents(text: str) -> Iterator[tuple[str, object]]:
    """Each document of a file, with words for its place."""
    # Other line separators may be in a message, and JSON has them as they are.
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if _is_one_document(lines):
        content = read_json(text, None)
        listed = content.get(_LIST, [content]) if isinstance(content, dict) else content
        if not isinstance(listed, list):
            raise BadInputError(f"{_LIST!r} is not a list")
        yield from ((f"alert {number}", document) for number, document in enumerate(listed, 1))
        return
    for number, line in lines:
        try:
            yield f"line {number}", read_json(line)
        except UsageError as error:
            raise BadInputError(f"line {number}: {error}") from None


def _is_one_document(lines: list[tuple[int, str]]) -> bool:
    """True if the first line alone is no document of an alert: a list, a part of one, or the one with the list."""
    if not lines:
        return False
    first = lines[0][1].strip()
    return first[0] == "[" or first[-1] != "}" or (len(lines) == 1 and first.startswith(f'{{"{_LIST}"'))
