"""Types of options that stay texts, but are read when the command line is, so that an error names its option."""

from collections.abc import Callable
from typing import Any

import click

from streamworkers.alerts.duration import parse_duration
from streamworkers.cli.session import parse_since
from streamworkers.errors import BadInputError
from streamworkers.market.calendar.moments import parse_moment


class CheckedText(click.ParamType[str]):
    """A text that a function can read, and that stays a text."""

    name = "text"

    def __init__(self, read: Callable[[str], Any]) -> None:
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            self._read(value)
        except BadInputError as error:
            self.fail(str(error), param, ctx)
        return str(value)


SINCE = CheckedText(parse_since)
MOMENT = CheckedText(parse_moment)
DURATION = CheckedText(parse_duration)
