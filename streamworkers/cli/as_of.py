"""The option `--as-of`: a moment, or a bare date that stands for the end of its session."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

as_of_option: Callable[[F], F] = click.option(
    "--as-of",
    help="See only bars that were closed at this ISO time, of New York unless it names a zone; a bare date is the end"
    " of its session.  [default: now, at the newest closed bar that most symbols have]",
)
