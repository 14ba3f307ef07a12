"""What is known of a rule or an alert without any bars: both notations, and what it reads."""

from typing import Any

from streamworkers.alerts.alert_printer import print_alert
from streamworkers.alerts.document import Alert, alert_to_json, alert_warnings
from streamworkers.alerts.firing_message import preview_alert
from streamworkers.rules.canonical import rule_to_json
from streamworkers.rules.printer import print_rule, print_value
from streamworkers.rules.tree import (
    Condition,
    is_adjustable,
    lookback,
    lookback_days,
    needed_fields,
    needed_patterns,
)


def describe_checked(alert: Alert) -> dict[str, Any]:
    """Both notations of a rule, or of an alert that is more than its rule, with its warnings and an example message."""
    answer = _describe_rule(alert.rule)
    document, plain = alert_to_json(alert), alert_to_json(Alert(alert.rule))
    if document != plain:
        answer |= {"text": print_alert(alert), "alert": document, "warnings": alert_warnings(alert)}
        answer["message"] = preview_alert(alert)
    return answer


def _describe_rule(rule: Condition) -> dict[str, Any]:
    """Both notations of a rule, and what is known of it without bars."""
    patterns = needed_patterns(rule)
    return {
        "text": print_rule(rule),
        "rule": rule_to_json(rule),
        "fields": [
            {
                "text": print_value(field),
                "dimension": None if field.dimension is None else str(field.dimension),
                "lookback": field.lookback,
            }
            for field in needed_fields(rule)
        ],
        "patterns": [{"text": f"pattern {each.name}", "dimension": "", "lookback": each.lookback} for each in patterns],
        "lookback": lookback(rule),
        "lookback_days": lookback_days(rule),
        "adjustable": is_adjustable(rule),
    }
