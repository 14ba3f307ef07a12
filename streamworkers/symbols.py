"""What a symbol is: one rule for every way into the product, from a file's row to a message of another program."""

import re

from streamworkers.names import quote_name

SYMBOL_MAX_LENGTH = 32
# The same in a migration and in the schemas of alerts; a test compares them.
SYMBOL_PATTERN = r"^[A-Za-z0-9^](?:[A-Za-z0-9:=^+#$&!_-]|[./](?![./])){0,31}$"
SYMBOL_RULE = "letters, digits and . - / : = ^ + # $ & ! _ as in BRK.B, BF/B, X:BTCUSD, ^GSPC"
_SYMBOL = re.compile(SYMBOL_PATTERN, re.ASCII)


def find_symbol_error(symbol: str) -> str | None:
    """Return what is wrong with a symbol, or None.

    Symbols are compared by their characters: `BACpA`, a preferred share, is not `BACPA`; `NA`, `NULL` and `TRUE` are
    symbols like any other. What a shell, a path, a list with commas or a spreadsheet would read as its own is none.
    """
    if _SYMBOL.fullmatch(symbol):
        return None
    if not symbol:
        return "the symbol is empty"
    if len(symbol) > SYMBOL_MAX_LENGTH:
        return f"the symbol {quote_name(symbol)} has {len(symbol)} characters, more than {SYMBOL_MAX_LENGTH}"
    return f"the symbol {quote_name(symbol)} is not {SYMBOL_RULE}"
