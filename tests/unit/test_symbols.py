"""Symbols: what exchanges and providers write passes, what harms a shell, a path, a list or a spreadsheet does not."""

import json
from importlib.resources import files
from pathlib import Path

import pytest

from streamworkers.symbols import SYMBOL_PATTERN, SYMBOL_RULE, find_symbol_error

ROOT = Path(__file__).parents[2]


SYMBOLS = """
A 7203.T 0700.HK BP. M&M.NS BRK.B BF/B BACpA BAC$A AAM.U ABC.WS ABC+ ABC# X:BTCUSD C:EURUSD I:SPX O:SPXW251219C05000000
^GSPC ES=F ES1! BTC-USD BTC_USD NA NAN NULL TRUE null
"""
HARMFUL = (
    *(
        "../../etc/passwd",
        "/etc/passwd",
        "A/../B",
        "A//B",
        "A..B",
        ".A",
        "A,B",
        "A;B",
        "A|B",
        "A*",
        "<b>",
        "$(id)",
        "`id`",
    ),
    *("$HOME", "=1+1", "+A", "-A", "@A", "A B", "A\n", "\nA", "A\x00", "\uff21\uff21", "A\u200bB", "A\u202eB", "\xc4"),
    "\ud800",
)


@pytest.mark.parametrize("symbol", SYMBOLS.split())
def test_what_exchanges_and_providers_write_is_a_symbol(symbol: str) -> None:
    assert find_symbol_error(symbol) is None


@pytest.mark.parametrize("text", HARMFUL, ids=ascii)
def test_what_could_harm_is_not(text: str) -> None:
    assert find_symbol_error(text) == f"the symbol {text!a} is not {SYMBOL_RULE}"


def test_a_symbol_has_1_to_32_characters() -> None:
    assert find_symbol_error("") == "the symbol is empty"
    assert find_symbol_error("A" * 32) is None
    assert find_symbol_error("A" * 33) == f"the symbol '{'A' * 33}' has 33 characters, more than 32"
    assert find_symbol_error("A" * 1000) == f"the symbol '{'A' * 37}\\u2026' has 1000 characters, more than 32"


def test_migrations_and_schemas_state_the_same_rule() -> None:
    (migration,) = (ROOT / "sql" / "migrations").glob("*_symbols.sql")
    assert f"'{SYMBOL_PATTERN}'" in migration.read_text()
    schemas = files("streamworkers.alerts") / "schemas"
    flat, first = (json.loads((schemas / f"alert-{name}.json").read_text()) for name in ("flat", "v1"))
    assert flat["properties"]["symbol"]["pattern"] == SYMBOL_PATTERN
    assert first["$defs"]["ticker"]["pattern"] == SYMBOL_PATTERN
