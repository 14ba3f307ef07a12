"""Finds what a path names, if the caller may know of it."""

import uuid
from typing import Any

from streamworkers.api.call import ApiCall
from streamworkers.api.problem import Hidden, NotFound
from streamworkers.api.reading import LARGEST_INTEGER
from streamworkers.engine import ledger
from streamworkers.engine.ledger import Run
from streamworkers.engine.ledger.run_pages import find_visible_run


def find_run(call: ApiCall) -> dict[str, Any]:
    """Return the row of the run that the path names by number or UUID. Raises NotFound."""
    text = call.path["run"]
    is_number = text.isascii() and text.isdecimal() and len(text) <= 19 and int(text) <= LARGEST_INTEGER
    number, name = (int(text), None) if is_number else (None, text)
    if number is None and not _is_uuid(text):
        raise NotFound("run", text)
    found = find_visible_run(call.connection, call.caller.viewer, number=number, uuid=name)
    if found is None:
        is_there = find_visible_run(call.connection, None, number=number, uuid=name) is not None
        raise (Hidden if is_there else NotFound)("run", text)
    return found


def load_found_run(call: ApiCall, row: dict[str, Any]) -> Run:
    """Return the run of a row as the pool knows it."""
    run = ledger.load_run(call.connection, row["id"])
    if run is None:
        raise NotFound("run", row["id"])
    return run


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False
