"""Bars and results as files: whole, by symbol and time, with the digits of the database, and in again as they were."""

import csv
import gzip
import json
import tracemalloc
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from psycopg.sql import SQL

from command_line import Run
from streamworkers.database import Connection
from streamworkers.loading.providers.synthetic import generate_bars
from streamworkers.market.bars.export import bar_rows
from streamworkers.market.bars.write import load_rows
from streamworkers.market.calendar.timeframes import TIMEFRAMES
from streamworkers.market.files.export_file import ExportTarget, find_format, write_rows

DAYS = (
    "symbol,date,open,high,low,close,volume\n"
    "ABC,2024-03-04,10.10,12,9,11,500\nABC,2024-03-05,10.5,12.25,9,11,\nXYZ,2024-03-04,1,1,1,1,0\n"
)


@pytest.fixture
def stored(cli: Run, connection: Connection, tmp_path: Path) -> Connection:
    (tmp_path / "days.csv").write_text(DAYS)
    (tmp_path / "ABC.csv").write_text(
        "timestamp,open,high,low,close,volume\n2024-03-04T14:30:00Z,1,1,1,1,5\n2024-03-05T14:30:00Z,1,1,1,1,6\n"
    )
    assert cli("bars", "import", "days.csv").code == 0
    assert cli("bars", "import", "ABC.csv", "--timeframe", "1min").code == 0
    connection.execute(
        "INSERT INTO indicator_results (symbol, timeframe, indicator, bar_time, value, value_data, bars_used, run_id)"
        " VALUES ('ABC', 'day', 'rsi_14', '2024-03-04 05:00Z', 51.5, NULL, 500, 7),"
        " ('ABC', 'day', 'macd', '2024-03-05 05:00Z', 0.25, '{\"macd\": 0.25, \"macdsignal\": 0.5}', 500, 7),"
        " ('XYZ', 'hour', 'rsi_14', '2024-03-04 15:00Z', 40, NULL, 500, 7)"
    )
    connection.execute(
        "INSERT INTO daily_patterns (symbol, timeframe, pattern_name, bar_time, direction, signal, confidence, run_id)"
        " VALUES ('ABC', 'day', 'hammer', '2024-03-05 05:00Z', 'bullish', 100, 0.75, 7)"
    )
    return connection


def test_days_come_out_with_their_digits_and_in_again_unchanged(cli: Run, stored: Connection, tmp_path: Path) -> None:
    answer = cli("bars", "export", "out.csv")
    assert (answer.code, answer.err) == (0, "3 day bars written to out.csv\n")
    assert (tmp_path / "out.csv").read_text() == DAYS
    assert cli("bars", "import", "out.csv", "--json").json["unchanged"] == 3
    assert list(tmp_path.glob(".*.part")) == []
    assert cli("bars", "export", "minutes.csv", "--timeframe", "1min").code == 0
    assert cli("bars", "import", "minutes.csv", "--timeframe", "1min", "--json").json["unchanged"] == 2


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (("--symbols", "XYZ"), ["XYZ,2024-03-04,1,1,1,1,0"]),
        (("--from", "2024-03-05", "--to", "2024-03-05"), ["ABC,2024-03-05,10.5,12.25,9,11,"]),
        (("--timeframe", "1min", "--to", "2024-03-04"), ["ABC,2024-03-04 14:30:00+00,1,1,1,1,5"]),
        (("--universe", "mine"), ["XYZ,2024-03-04,1,1,1,1,0"]),
        (("--symbols", "ABC", "--from", "2030-01-02"), []),
    ],
)
def test_symbols_and_days_are_chosen(
    cli: Run, stored: Connection, tmp_path: Path, words: tuple[str, ...], lines: list[str]
) -> None:
    assert cli("universes", "import", _universe(tmp_path)).code == 0
    assert cli("bars", "export", "out.csv.gz", *words).code == 0
    with gzip.open(tmp_path / "out.csv.gz", "rt") as stream:
        assert stream.read().splitlines()[1:] == lines


def _universe(folder: Path) -> Path:
    path = folder / "universe.csv"
    path.write_text("universe,symbol\nmine,XYZ\n")
    return path


def test_bars_become_parquet_with_types(cli: Run, stored: Connection, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    assert cli("bars", "export", "out.parquet").code == 0
    assert parquet.read_table(tmp_path / "out.parquet").to_pylist() == [
        {"symbol": "ABC", "date": date(2024, 3, 4), "open": 10.1, "high": 12, "low": 9, "close": 11, "volume": 500},
        {"symbol": "ABC", "date": date(2024, 3, 5), "open": 10.5, "high": 12.25, "low": 9, "close": 11, "volume": None},
        {"symbol": "XYZ", "date": date(2024, 3, 4), "open": 1, "high": 1, "low": 1, "close": 1, "volume": 0},
    ]
    assert cli("bars", "export", "minutes.parquet", "--timeframe", "1min").code == 0
    found = parquet.read_table(tmp_path / "minutes.parquet").to_pylist()
    assert found[0]["timestamp"] == datetime(2024, 3, 4, 14, 30, tzinfo=UTC)


def test_results_come_out_as_csv_and_parquet(cli: Run, stored: Connection, tmp_path: Path) -> None:
    answer = cli("results", "export", "values.csv")
    assert (answer.code, answer.err) == (0, "2 values written to values.csv\n")
    with (tmp_path / "values.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["symbol"], row["indicator"], row["time"], row["value"]) for row in rows] == [
        ("ABC", "macd", "2024-03-05 05:00:00+00", "0.25"),
        ("ABC", "rsi_14", "2024-03-04 05:00:00+00", "51.5"),
    ]
    assert json.loads(rows[0]["outputs"]) == {"macd": 0.25, "macdsignal": 0.5}
    assert cli("results", "export", "some.csv", "--names", "rsi_14", "--from", "2024-03-05").code == 0
    assert len((tmp_path / "some.csv").read_text().splitlines()) == 1
    assert cli("results", "export", "patterns.csv", "--patterns").err == "1 detections written to patterns.csv\n"
    parquet = pytest.importorskip("pyarrow.parquet")
    assert cli("results", "export", "values.parquet").code == 0
    found = parquet.read_table(tmp_path / "values.parquet").to_pylist()
    assert [(row["indicator"], row["value"], row["outputs"]) for row in found] == [
        ("macd", 0.25, '{"macd": 0.25, "macdsignal": 0.5}'),
        ("rsi_14", 51.5, None),
    ]


def test_a_symbol_is_still_shown_without_the_word_show(cli: Run, stored: Connection) -> None:
    assert cli("results", "ABC", "--json").json == cli("results", "show", "ABC", "--json").json
    assert cli("results", "--json", "ABC").json["symbol"] == "ABC"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("bars", "export", "out.txt"), "'out.txt' ends neither in .csv, .csv.gz nor .parquet; add --format"),
        (("bars", "export", "days.csv"), "days.csv exists; name another file or add --overwrite"),
        (("bars", "export", "no/out.csv"), "out.csv cannot be written: No such file or directory"),
        (("bars", "export", "o.csv", "--from", "2024-03-05", "--to", "2024-03-04"), "--to 2024-03-04 is before --from"),
        (("bars", "export", "o.csv", "--symbols", "A B"), "the symbol 'A B' is not letters"),
        (("bars", "export", "o.csv", "--universe", "none"), "no universe is named 'none'"),
        (("results", "export", "o.csv", "--timeframe", "x"), "timeframe 'x' is not one of"),
    ],
)
def test_what_cannot_be_exported_is_named(
    cli: Run, stored: Connection, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    answer = cli(*words)
    assert answer.code == 2
    assert message in answer.err
    assert (tmp_path / "days.csv").read_text() == DAYS


def test_an_existing_file_is_replaced_when_that_is_wanted(cli: Run, stored: Connection, tmp_path: Path) -> None:
    assert cli("bars", "export", "days.csv", "--symbols", "XYZ", "--overwrite").code == 0
    assert len((tmp_path / "days.csv").read_text().splitlines()) == 2


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_memory_does_not_grow_with_the_rows(connection: Connection, tmp_path: Path, kind: str) -> None:
    if kind == "parquet":
        pytest.importorskip("pyarrow.parquet")
    day = TIMEFRAMES["day"]
    load_rows(connection, day, generate_bars(120, 1000, 1, date(2024, 3, 1)))

    def peak_of(symbols: int) -> int:
        names = [f"SYN{number:03d}" for number in range(1, symbols + 1)]
        target = ExportTarget(tmp_path / f"{symbols}.{kind}", "csv" if kind == "csv" else "parquet")
        tracemalloc.start()
        try:
            query = bar_rows(day, names, date(1990, 1, 1), date(2030, 1, 1))
            assert write_rows(connection, *query, target) == 1000 * symbols
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak_of(1)
    small = peak_of(40)
    # The rows of eighty more symbols are 4 MB of text.
    assert peak_of(120) < 1.5 * small + 500_000


def test_a_csv_file_holds_no_formula_and_a_parquet_file_what_is_stored(connection: Connection, tmp_path: Path) -> None:
    query = SQL("SELECT '=1+1' AS symbol, -0.5 AS value, '{{\"a\": 1}}'::jsonb AS more, '-x'::text AS b").format()
    for name in ("out.csv", "out.parquet"):
        write_rows(connection, query, (), ExportTarget(tmp_path / name, find_format(tmp_path / name, None)))
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [["symbol", "value", "more", "b"], ["'=1+1", "-0.5", '{"a": 1}', "'-x"]]
    table = pytest.importorskip("pyarrow.parquet").read_table(tmp_path / "out.parquet")
    assert table.to_pylist() == [{"symbol": "=1+1", "value": -0.5, "more": '{"a": 1}', "b": "-x"}]
