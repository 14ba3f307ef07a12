"""`streamworkers rules`: check rules and translate between their notations; needs no services."""

from pathlib import Path

import click

from streamworkers.alerts.checked import describe_checked
from streamworkers.alerts.document import alert_warnings
from streamworkers.alerts.given import parse_given_alert, read_vocabulary
from streamworkers.cli.rule_input import file_option, read_text
from streamworkers.cli.session import Session, json_option, print_json, print_table
from streamworkers.rules.market_vocabulary import MarketVocabulary


@click.group(short_help="Rules: check them, and translate between text and JSON.")
def rules() -> None:
    """Rules: conditions on the bars of one symbol, as text or JSON (docs/guides/rules.md)."""


@rules.command(short_help="Check a rule or an alert, and print both notations.")
@click.argument("rule", required=False)
@file_option
@click.option("--database", is_flag=True, help="Know the names of the database's definitions, such as rsi_14, too.")
@json_option
def check(rule: str | None, file: Path | None, database: bool, as_json: bool) -> None:
    """Check RULE, a rule or an alert in text form or JSON, and print its canonical form and what it reads.

    \b
    For example:
      streamworkers rules check 'rsi(14) < 30 and price crosses_above sma(50)'
      streamworkers rules check 'AAPL > 150 1h cooldown 5m until 2027-01-01'
    """
    text = read_text(rule, file, "a rule")
    vocabulary = _database_vocabulary() if database else MarketVocabulary()
    alert = parse_given_alert(text, vocabulary)
    answer = describe_checked(alert)
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


def _database_vocabulary() -> MarketVocabulary:
    with Session.open().database() as connection:
        return read_vocabulary(connection)
