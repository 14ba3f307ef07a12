"""`streamworkers patterns`: recent detections, and the definitions of the patterns that are detected."""

import click

from streamworkers.cli.session import Number, Session, json_option, limit_option, print_json, print_table
from streamworkers.market.calendar.moments import show_bar_time
from streamworkers.market.calendar.timeframes import timeframe_named
from streamworkers.results import definitions
from streamworkers.results import read as results


@click.group(short_help="Candle and chart patterns: detections and definitions.")
def patterns() -> None:
    """Candle and chart patterns: recent detections, and pattern definitions."""


@patterns.command(short_help="Show the newest detections.")
@click.option("--timeframe", default="day", show_default=True, help="Timeframe: 1min, hour, day, week or month.")
@click.option("--min-confidence", type=Number(0, 1), default=0.0, help="Show only detections with at least this score.")
@click.option(
    "--direction", type=click.Choice(["bullish", "bearish", "neutral"]), help="Show only detections of this direction."
)
@limit_option
@json_option
def recent(timeframe: str, min_confidence: float, direction: str | None, limit: int, as_json: bool) -> None:
    """Show the newest detections, the strongest of each bar first.

    Confidence is a rule score from 0 to 1, not a probability.
    """
    frame = timeframe_named(timeframe)
    with Session.open().database() as connection:
        rows = results.list_recent_patterns(
            connection, timeframe=frame.name, min_confidence=min_confidence, direction=direction, limit=limit
        )
    if as_json:
        print_json(rows)
        return
    shown = [{**row, "bar": show_bar_time(row["bar_time"], frame.name)} for row in rows]
    columns = {"bar": "bar", "symbol": "symbol", "pattern_name": "pattern", "direction": "direction"}
    print_table(shown, {**columns, "confidence": "confidence", "run_id": "run"}, "no patterns found")


@patterns.command("list")
@click.option("--enabled", "only_enabled", is_flag=True, help="List only enabled patterns.")
@json_option
def list_patterns(only_enabled: bool, as_json: bool) -> None:
    """List all pattern definitions with their parameters."""
    with Session.open().database() as connection:
        rows = [row for row in definitions.list_pattern_definitions(connection) if row["enabled"] or not only_enabled]
    if as_json:
        print_json(rows)
        return
    columns = {"name": "name", "function": "function", "confidence_threshold": "threshold", "enabled": "enabled"}
    print_table(rows, columns, "no patterns")


@patterns.command()
@click.argument("name")
def enable(name: str) -> None:
    """Enable a pattern from the next run on."""
    with Session.open().database() as connection:
        definitions.enable_pattern(connection, name, True)
    click.echo(f"{name} is enabled")


@patterns.command()
@click.argument("name")
def disable(name: str) -> None:
    """Disable a pattern from the next run on; its detections are kept."""
    with Session.open().database() as connection:
        definitions.enable_pattern(connection, name, False)
    click.echo(f"{name} is disabled")
