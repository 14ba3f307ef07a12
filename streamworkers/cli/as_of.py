"""The option `--as-of`: a moment, or a bare date that stands for the end of its session."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

import click

from streamworkers.cli.checked_text import check_moment
from streamworkers.engine.ledger import Run
from streamworkers.market.calendar.moments import show_moment_there

F = TypeVar("F", bound=Callable[..., Any])

as_of_option: Callable[[F], F] = click.option(
    "--as-of",
    callback=check_moment,
    help="See only bars that were closed at this ISO time, of New York unless it names a zone; a bare date is the end"
    " of its session.  [default: now, at the newest closed bar that most symbols have]",
)


def note_earlier_as_of(run: Run, moment: datetime | None, text: str | None) -> None:
    """Print on standard error which close a run is as of, if it is not the moment or date that `--as-of` names."""
    if text is None or moment is None or run.as_of is None:
        return
    shown = show_moment_there(run.as_of)
    is_another_day = len(text) == len("YYYY-MM-DD") and not shown.startswith(text)
    if run.as_of != moment or is_another_day:
        click.echo(f"note: --as-of {text} is as of {shown}, the newest close up to it", err=True)
