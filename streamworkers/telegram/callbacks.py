"""What buttons send back: `alert:VERB:ID[:SYMBOL]` below a firing, and `confirm:ID` below a question."""

import uuid
from typing import NamedTuple

from streamworkers.errors import BadInputError
from streamworkers.market.bars.rules import require_symbol
from streamworkers.telegram.commands import OneAlert, SilenceAlert

SNOOZE_SECONDS = 3600.0


class Confirmation(NamedTuple):
    """The button of a question was pressed."""

    question: uuid.UUID


def parse_callback(data: str) -> OneAlert | SilenceAlert | Confirmation:
    """The command or confirmation of a button. Raises BadInputError for a button of another release, or of nobody."""
    kind, _, rest = data.partition(":")
    try:
        if kind == "confirm":
            return Confirmation(uuid.UUID(rest))
        verb, number, *symbol = rest.split(":", 2)
        if kind == "alert" and number.isascii() and number.isdecimal() and len(number) <= 18:
            if verb == "show" and not symbol:
                return OneAlert("show", int(number))
            if verb == "mute" and not symbol:
                return SilenceAlert("mute", int(number))
            if verb == "snooze" and symbol:
                return SilenceAlert("snooze", int(number), SNOOZE_SECONDS, require_symbol(symbol[0]))
    except ValueError:
        pass
    raise BadInputError("this button is of another release: send a command instead")
