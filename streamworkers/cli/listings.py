"""`streamworkers listings`: since when and until when symbols are listed, as providers answer and people set."""

from typing import Any

import click

from streamworkers.cli.known_names import require_known_symbols
from streamworkers.cli.session import Day, Session, json_option, print_json, print_table
from streamworkers.cli.unknown_symbols import warn_without_bars
from streamworkers.errors import BadInputError
from streamworkers.loading.listings import forget_listings, list_listings, set_listing
from streamworkers.market.bars.rules import require_symbol


@click.group()
def listings() -> None:
    """Days on which symbols are listed: list, set, unset."""


@listings.command("list", short_help="List the first and last days that are known.")
@click.argument("symbols", nargs=-1)
@json_option
def list_days(symbols: tuple[str, ...], as_json: bool) -> None:
    """List the first and last days on which SYMBOLS, or all, are listed: as a provider says, or as `set`."""
    chosen = [require_symbol(symbol) for symbol in symbols] or None
    with Session.open().database() as connection:
        rows = list_listings(connection, chosen)
        require_known_symbols(connection, {*(chosen or ())} - {row["symbol"] for row in rows})
    if as_json:
        print_json(rows)
        return
    names = ("symbol", "listed_from", "delisted_after", "source")
    columns = {name: name.replace("_", " ") for name in names}
    print_table(rows, columns, "no listing is known")


@listings.command("set", short_help="Set that symbols were delisted, or are new.")
@click.argument("symbols", nargs=-1, required=True)
@click.option("--delisted-after", type=Day, help="Last day on which they are traded.")
@click.option("--from", "listed_from", type=Day, help="First day on which they are traded.")
def set_days(symbols: tuple[str, ...], delisted_after: Any, listed_from: Any) -> None:
    """Set on which days SYMBOLS are listed, where no provider does, such as for bars from files.

    Bars before and after are expected nowhere: they are no gaps, and alerts about a symbol that was delisted end. Bars
    after the last day, loaded or imported later, say that it was none, and so does another answer of a provider.
    """
    if delisted_after is None and listed_from is None:
        raise BadInputError("name --delisted-after, --from or both")
    first, last = (None if day is None else day.date() for day in (listed_from, delisted_after))
    if first is not None and last is not None and last < first:
        raise BadInputError(f"--delisted-after {last} is before --from {first}")
    with Session.open().database() as connection, connection.transaction():
        set_listing(connection, [require_symbol(symbol) for symbol in symbols], first, last)
        warn_without_bars(connection, symbols)
    words = [f"listed from {first}"] if first is not None else []
    words += [f"delisted after {last}"] if last is not None else []
    click.echo(f"{symbols[0] if len(symbols) == 1 else f'{len(symbols)} symbols'}: {', '.join(words)}")


@listings.command("unset", short_help="Forget what is known of the listing of symbols.")
@click.argument("symbols", nargs=-1, required=True)
def unset_days(symbols: tuple[str, ...]) -> None:
    """Forget since when and until when SYMBOLS are listed; loads ask their provider again."""
    with Session.open().database() as connection:
        count = forget_listings(connection, [require_symbol(symbol) for symbol in symbols])
    click.echo(f"forgotten: {count} of {len(symbols)}")
