"""`streamworkers rules`: check rules and translate between their notations; needs no services."""

from typing import IO, Any

import click

from streamworkers.alerts.alert_printer import print_alert
from streamworkers.alerts.document import Alert, alert_to_json, alert_warnings
from streamworkers.alerts.firing_message import preview_alert
from streamworkers.cli.rule_input import file_option, parse_alert_input, read_text, read_vocabulary
from streamworkers.cli.session import Session, json_option, print_json, print_table
from streamworkers.rules.canonical import rule_to_json
from streamworkers.rules.market_vocabulary import MarketVocabulary
from streamworkers.rules.printer import print_rule, print_value
from streamworkers.rules.tree import (
    Condition,
    is_adjustable,
    lookback,
    lookback_days,
    needed_fields,
    needed_patterns,
)


@click.group(short_help="Rules: check them, and translate between text and JSON.")
def rules() -> None:
    """Rules: conditions on the bars of one symbol, as text or JSON (docs/guides/rules.md)."""


@rules.command(short_help="Check a rule or an alert, and print both notations.")
@click.argument("rule", required=False)
@file_option
@click.option("--database", is_flag=True, help="Know the names of the database's definitions, such as rsi_14, too.")
@json_option
def check(rule: str | None, file: IO[bytes] | None, database: bool, as_json: bool) -> None:
    """Check RULE, a rule or an alert in text form or JSON, and print its canonical form and what it reads.

    \b
    For example:
      streamworkers rules check 'rsi(14) < 30 and price crosses_above sma(50)'
      streamworkers rules check 'AAPL > 150 1h cooldown 5m until 2027-01-01'
    """
    text = read_text(rule, file, "a rule")
    vocabulary = _database_vocabulary() if database else MarketVocabulary()
    alert = parse_alert_input(text, vocabulary)
    answer = describe_rule(alert.rule)
    document, plain = alert_to_json(alert), alert_to_json(Alert(alert.rule))
    if document != plain:
        answer |= {"text": print_alert(alert), "alert": document, "warnings": alert_warnings(alert)}
        answer["message"] = preview_alert(alert)
    if as_json:
        print_json(answer)
        return
    click.echo(answer["text"])
    print_json(answer.get("alert", answer["rule"]))
    columns = {"text": "reads", "dimension": "measured in", "lookback": "bars before"}
    print_table([*answer["fields"], *answer["patterns"]], columns, "reads nothing")
    days = f" and {answer['lookback_days']} days" if answer["lookback_days"] else ""
    click.echo(f"needs {answer['lookback']} bars{days} before the bar that it decides")
    if alert.notify.message_template is not None:
        click.echo(f"message, for example: {answer['message']}")
    for warning in alert_warnings(alert):
        click.echo(f"warning: {warning}")


def describe_rule(rule: Condition) -> dict[str, Any]:
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


def _database_vocabulary() -> MarketVocabulary:
    with Session.open().database() as connection:
        return read_vocabulary(connection)
