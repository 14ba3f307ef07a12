"""The question before a command that deletes more than its words name."""

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from streamworkers.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])

yes_option: Callable[[F], F] = click.option("--yes", is_flag=True, help="Do not ask.")


def ask_first(deed: str, *, yes: bool) -> None:
    """Ask at a terminal whether to do this, such as `delete all rejected entries`; elsewhere `yes` has to be given.

    Raises UsageError where there is nobody to ask, and click's Abort for a no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"this would {deed}, and there is no terminal to ask at: add --yes")
    click.confirm(f"{deed[0].upper()}{deed[1:]}?", abort=True, err=True)
