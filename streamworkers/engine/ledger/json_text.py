"""The JSON of user code that the ledger keeps: valid, and bounded."""

import json

# A result is read with its item again and again, and an event goes through Redis to every subscriber.
MOST_CHARACTERS = 1_048_576


def dump_bounded(what: str, count: int, value: object) -> str:
    """Return the value as JSON. Raises TypeError or ValueError for what is no JSON or longer than the limit.

    The limit is for one item or event. Of several items together, a batch that is over it is committed one by one.
    """
    text = json.dumps(value, allow_nan=False)
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"{what} of {count} takes {len(text)} characters of JSON, over the limit of {MOST_CHARACTERS}")
    return text
