"""What commands that read may name: a slip is an error with the nearest name, and not answered with nothing.

A command asks only when it has found nothing. A thing that exists, and of which there is nothing to show, is no error.
"""

from collections.abc import Iterable

from streamworkers.database import Connection
from streamworkers.engine.ledger.job_types import list_known_jobs, read_job_types
from streamworkers.engine.registry import installed_jobs, list_job_names
from streamworkers.errors import BadInputError, UnknownNameError
from streamworkers.loading.listings import list_listings
from streamworkers.market.bars.rules import require_symbol
from streamworkers.market.bars.unknown_symbols import describe_without_bars, find_near_symbol, find_without_bars
from streamworkers.market.universes.store import find_members


def require_known_symbols(connection: Connection, symbols: Iterable[str]) -> None:
    """Raise BadInputError for what is no symbol, and for symbols without bars that nobody has named either."""
    if unknown := find_unknown(connection, [require_symbol(symbol) for symbol in symbols]):
        raise BadInputError(str(describe_without_bars(connection, unknown)))


def require_dead_symbol(connection: Connection, symbol: str, dead: Iterable[str]) -> None:
    """Raise UnknownNameError for a symbol that is neither known nor that of one of the dead items."""
    require_symbol_of_item(connection, symbol, dead, kind="symbol of a dead item")


def require_symbol_of_item(
    connection: Connection, symbol: str, items: Iterable[str], *, kind: str = "symbol of an item"
) -> None:
    """Raise UnknownNameError for a symbol that is neither known nor that of one of the items."""
    known = set(items)
    if symbol not in known and find_unknown(connection, [symbol]):
        near = find_near_symbol(connection, symbol)
        raise UnknownNameError(kind, symbol, known if near is None else known | {near})


def require_known_job(connection: Connection, job: str) -> None:
    """Raise UnknownNameError for a job that is not installed, that no worker has had lately, and that has no run."""
    known = {*list_job_names(), *list_known_jobs(connection)}
    if job not in known:
        raise UnknownNameError("job", job, known)


def require_known_queue(connection: Connection, queue: str) -> None:
    """Raise UnknownNameError for a queue that no job uses."""
    known = {*installed_jobs().queues, *(each.queue for each in read_job_types(connection))}
    if queue not in known:
        raise UnknownNameError("queue", queue, known)


def has_symbols(connection: Connection, job: str | None) -> bool:
    """True unless the items of a job are known to be parts, or ids of something else."""
    return job is None or all(each.item_kind == "symbol" for each in read_job_types(connection, job))


def find_unknown(connection: Connection, symbols: list[str]) -> list[str]:
    """Return those of the symbols that have no bars, are in no universe, and of which no listing is known."""
    absent = find_without_bars(connection, symbols)
    if not absent:
        return []
    named = find_members(connection, absent) | {row["symbol"] for row in list_listings(connection, absent)}
    return [symbol for symbol in absent if symbol not in named]
