"""Universes are imported whole, resolved as unions, and extended."""

import gzip
from pathlib import Path

import psycopg
import pytest

from streamworkers.errors import BadInputError, UnknownNameError
from streamworkers.market.files.limits import FileLimits
from streamworkers.market.universes.csv_import import import_universes
from streamworkers.market.universes.store import add_symbols, list_universes, resolve
from streamworkers.symbols import SYMBOL_RULE

Connection = psycopg.Connection


def written(directory: Path, content: str) -> Path:
    path = directory / "universes.csv"
    path.write_text(content)
    return path


def test_an_import_replaces_the_members_and_counts_what_changed(connection: Connection, tmp_path: Path) -> None:
    first = import_universes(connection, written(tmp_path, "Symbol,UNIVERSE\nNA,tech\nB,tech\nC,banks\n"))
    assert (first.rows_read, first.added, first.removed, first.unchanged) == (3, 3, 0, 0)
    packed = tmp_path / "next.csv.gz"
    packed.write_bytes(gzip.compress(b"universe,symbol\ntech,NA\ntech,D\n"))
    second = import_universes(connection, packed)
    assert (second.universes, second.added, second.removed, second.unchanged) == (("tech",), 1, 1, 1)
    assert resolve(connection, "tech") == ("D", "NA")
    assert resolve(connection, "banks:tech") == ("C", "D", "NA")


def test_bad_rows_are_rejected_with_line_and_rule_and_the_rest_is_loaded(
    connection: Connection, tmp_path: Path
) -> None:
    summary = import_universes(
        connection,
        written(
            tmp_path,
            "universe,symbol,type,weight,description\n"
            "spy,A,etf,0.25,Big ones\n"
            "a:b,A,,,\n"
            "spy,A B,,,\n"
            "spy,C,FUND,,\n"
            "spy,D,ETF,heavy,\n"
            "spy,A,ETF,0.5,\n"
            "spy,A\n"
            '"spy,A,,,\n',
        ),
    )
    assert [(reject.line, reject.rule, reject.detail) for reject in summary.rejected] == [
        (3, "bad_name", "universe 'a:b' is not a name of 1 to 64 letters, digits and . - _, neither . nor - first"),
        (4, "bad_symbol", f"the symbol 'A B' is not {SYMBOL_RULE}"),
        (5, "bad_type", "the type 'FUND' is not one of ETF, THEME, SECTOR, SEGMENT, UNIVERSE, CUSTOM"),
        (6, "bad_weight", "weight 'heavy' is not a number"),
        (7, "duplicate", "duplicate in the file: A is in spy already"),
        (8, "field_count", "the row has 2 fields where the header has 5"),
        (9, "bad_quotes", "the quotes of the row do not match: one is not closed"),
    ]
    assert list_universes(connection) == [("spy", "ETF", "Big ones", 1)]


def test_a_file_without_its_columns_is_rejected(connection: Connection, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="has no column symbol; its first line must name universe, symbol"):
        import_universes(connection, written(tmp_path, "universe\nx\n"))


@pytest.mark.parametrize("name", ["universes.csv", "universes.csv.gz"])
def test_a_file_of_more_text_than_the_limit_is_rejected(name: str, connection: Connection, tmp_path: Path) -> None:
    """Its lines are short, and packed it is small."""
    file = tmp_path / name
    text = b"universe,symbol,description\n" + b"tech,A,%s\n" % (b"x" * 2000) * 600
    file.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    with pytest.raises(BadInputError) as raised:
        import_universes(connection, file, most_mb=1)
    assert str(raised.value) == f"the text of {file} exceeds STREAMWORKERS_UNIVERSES_MAX_MB=1"
    file.write_bytes(b"universe,symbol\n" + b"x" * 300_000)
    with pytest.raises(BadInputError, match=r"line 2 of .* exceeds STREAMWORKERS_IMPORT_MAX_LINE_BYTES=1024"):
        import_universes(connection, file, limits=FileLimits(line_bytes=1024))


def test_an_unknown_universe_is_answered_with_the_nearest(connection: Connection) -> None:
    add_symbols(connection, "nasdaq100", ["A"])
    with pytest.raises(UnknownNameError, match=r"no universe is named 'nasdaq10'; did you mean 'nasdaq100'\?"):
        resolve(connection, "nasdaq100:nasdaq10")
    with pytest.raises(BadInputError, match="universe '' is not a name of"):
        resolve(connection, "nasdaq100:")


def test_symbols_are_added_once(connection: Connection) -> None:
    assert add_symbols(connection, "mine", ["B", "A", "B"], type_name="CUSTOM") == 2
    assert add_symbols(connection, "mine", ["A", "C"], type_name="CUSTOM") == 1
    assert resolve(connection, "mine") == ("A", "B", "C")
    with pytest.raises(BadInputError, match="the type 'FUND' is not one of ETF"):
        add_symbols(connection, "mine", ["A"], type_name="FUND")
    with pytest.raises(BadInputError, match="the symbol is empty"):
        add_symbols(connection, "other", ["A", ""])
    assert [name for name, *_ in list_universes(connection)] == ["mine"]
