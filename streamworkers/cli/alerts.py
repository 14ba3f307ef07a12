"""`streamworkers alerts`: alerts, and what they would have done."""

import click

from streamworkers.cli.alerts_test import try_command


@click.group(short_help="Alerts: try them on stored bars.")
def alerts() -> None:
    """Alerts: rules that fire on closed bars (docs/guides/alerts.md)."""


alerts.add_command(try_command)
