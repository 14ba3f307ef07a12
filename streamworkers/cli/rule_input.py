"""Rules and alerts as commands take them: text or JSON, as an argument or from a file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from streamworkers.cli.files import read_file
from streamworkers.errors import BadInputError
from streamworkers.rules.json_input import MOST_BYTES

F = TypeVar("F", bound=Callable[..., Any])

file_option: Callable[[F], F] = click.option(
    "--file",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help="Read it from a file; - is standard input.",
)


def read_text(text: str | None, file: Path | None, what: str) -> str:
    """The text of an argument or of a file, as far as one may be long. Raises BadInputError unless one is given."""
    if (text is None) == (file is None):
        raise BadInputError(f"give either {what} or --file")
    if text is not None:
        return text
    assert file is not None
    return read_file(file, MOST_BYTES)
