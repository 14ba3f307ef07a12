"""The warning of commands that start or schedule a run about symbols of which nothing is stored."""

from collections.abc import Sequence
from typing import Any

from streamworkers.cli.session import messages
from streamworkers.database import Connection
from streamworkers.engine.job import Job
from streamworkers.market.bars.unknown_symbols import describe_without_bars


def warn_of_unknown_symbols(connection: Connection, job: Job[Any], symbols: Sequence[str]) -> None:
    """Print a warning for the symbols without bars, if the job needs bars: a load may be about new symbols."""
    if job.needs_bars:
        warn_without_bars(connection, symbols)


def warn_without_bars(connection: Connection, symbols: Sequence[str]) -> None:
    """Print a warning for the symbols without bars, where something is set about symbols that may be new."""
    text = describe_without_bars(connection, symbols) if symbols else None
    if text is not None:
        messages.print(f"warning: {text}", markup=False, soft_wrap=True)
