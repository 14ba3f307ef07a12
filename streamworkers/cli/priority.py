"""The option `--priority`: whether a run goes before others of its queue, or lets them go first."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from streamworkers.engine.redis.lanes import PRIORITIES

F = TypeVar("F", bound=Callable[..., Any])

priority_option: Callable[[F], F] = click.option(
    "--priority",
    type=click.Choice(PRIORITIES),
    help="Runs of high priority come before those of normal priority, and low ones last.  [default: normal; low for"
    " more than 10,000 items]",
)
