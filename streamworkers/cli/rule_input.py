"""Rules and alerts as commands take them: text or JSON, as an argument or from a file."""

from collections.abc import Callable
from typing import IO, Any, TypeVar

import click

from streamworkers.alerts.alert_text import parse_alert_text
from streamworkers.alerts.document import Alert, parse_alert
from streamworkers.database import Connection
from streamworkers.errors import BadInputError
from streamworkers.results import definitions
from streamworkers.rules.build import parse_rule
from streamworkers.rules.json_input import MOST_BYTES, read_json
from streamworkers.rules.market_vocabulary import MarketVocabulary

F = TypeVar("F", bound=Callable[..., Any])

file_option: Callable[[F], F] = click.option(
    "--file", type=click.File("rb"), help="Read it from a file; - is standard input."
)


def read_text(text: str | None, file: IO[bytes] | None, what: str) -> str:
    """The text of an argument or of a file, as far as one may be long. Raises BadInputError unless one is given."""
    if (text is None) == (file is None):
        raise BadInputError(f"give either {what} or --file")
    if text is not None:
        return text
    assert file is not None
    content = file.read(MOST_BYTES + 1)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise BadInputError(f"byte {error.start} of {file.name} is no UTF-8") from None


def parse_alert_input(text: str, vocabulary: MarketVocabulary) -> Alert:
    """The alert of a text or document; a bare rule is an alert that has nothing else."""
    if text.lstrip()[:1] not in ("{", "["):
        return parse_alert_text(text, vocabulary)
    document = read_json(text)
    if isinstance(document, dict) and {"rule", "schema_version", "condition"} & document.keys():
        return parse_alert(document, vocabulary)
    return Alert(parse_rule(document, vocabulary))


def read_vocabulary(connection: Connection) -> MarketVocabulary:
    """The vocabulary with the names of the database's definitions."""
    indicators = definitions.list_indicator_definitions(connection)
    patterns = definitions.list_pattern_definitions(connection)
    return MarketVocabulary(definitions.parse_indicators(indicators), definitions.parse_patterns(patterns))
