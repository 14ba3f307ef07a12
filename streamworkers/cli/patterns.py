"""`streamworkers patterns`: what was found, and what is looked for."""

import click

from streamworkers.cli.session import Session, json_option, limit_option, print_json, print_table, show_bar_time
from streamworkers.market.calendar.timeframes import timeframe_named
from streamworkers.results import definitions
from streamworkers.results import store as results


@click.group(short_help="Candle and chart patterns: what was found.")
def patterns() -> None:
    """Candle and chart patterns: recent detections, and their definitions."""


@patterns.command()
@click.option("--timeframe", default="day", show_default=True, help="1min, hour, day, week or month.")
@click.option("--min-confidence", type=click.FloatRange(0, 1), default=0.0, help="Only those at or above this score.")
@click.option("--direction", type=click.Choice(["bullish", "bearish", "neutral"]), help="Only these.")
@limit_option
@json_option
def recent(timeframe: str, min_confidence: float, direction: str | None, limit: int, as_json: bool) -> None:
    """The newest detections, the strongest of each bar first. Confidence is a rule score, not a probability."""
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
    print_table(shown, {**columns, "confidence": "confidence", "run_id": "run"}, "no patterns found yet")


@patterns.command("list")
@click.option("--enabled", "only_enabled", is_flag=True, help="Only those that are looked for.")
@json_option
def list_patterns(only_enabled: bool, as_json: bool) -> None:
    """All pattern definitions."""
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
    """Look for a pattern from the next run on."""
    with Session.open().database() as connection:
        definitions.enable_pattern(connection, name, True)
    click.echo(f"{name} is enabled")


@patterns.command()
@click.argument("name")
def disable(name: str) -> None:
    """Leave a pattern out from the next run on; its detections stay."""
    with Session.open().database() as connection:
        definitions.enable_pattern(connection, name, False)
    click.echo(f"{name} is disabled")
