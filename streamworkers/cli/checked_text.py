"""Callbacks of options that stay texts, but are read when the command line is, so that an error names its option."""

from collections.abc import Callable
from typing import Any, TypeAlias

import click

from streamworkers.alerts.duration import parse_duration
from streamworkers.cli.session import parse_since
from streamworkers.errors import BadInputError
from streamworkers.market.calendar.moments import parse_moment

Check: TypeAlias = Callable[[click.Context, click.Parameter, str | None], str | None]


def _check_with(read: Callable[[str], Any]) -> Check:
    def check(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
        try:
            if value is not None:
                read(value)
        except BadInputError as error:
            raise click.BadParameter(str(error), ctx, param) from None
        return value

    return check


check_since = _check_with(parse_since)
check_moment = _check_with(parse_moment)
check_duration = _check_with(parse_duration)
