"""Imports of bars into a real PostgreSQL: what is good is loaded once, what is not is named, nothing is half done."""

import csv
import gzip
import tracemalloc
from collections.abc import Iterable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import psycopg
import pytest

from streamworkers.errors import BadInputError
from streamworkers.loading.providers.sample import read_sample
from streamworkers.loading.providers.synthetic import generate_bars
from streamworkers.market.bars.incoming import DuplicatePolicy
from streamworkers.market.bars.read import read_recent, read_series
from streamworkers.market.bars.write import load_rows
from streamworkers.market.calendar.symbol_calendars import ANY, CalendarRules
from streamworkers.market.calendar.timeframes import TIMEFRAMES
from streamworkers.market.files.bars_import import ImportRules, ImportSummary, MostRejected, import_bars
from streamworkers.market.files.options import ReadOptions
from streamworkers.market.universes.csv_import import import_universes

DAY, HOUR, MINUTE = TIMEFRAMES["day"], TIMEFRAMES["hour"], TIMEFRAMES["1min"]
HEADER = "symbol,date,open,high,low,close,volume\n"

Connection = psycopg.Connection


def written(directory: Path, rows: str, name: str = "bars.csv") -> Path:
    path = directory / name
    path.write_text(HEADER + rows)
    return path


def versions(connection: Connection) -> list[tuple[object, ...]]:
    return connection.execute("SELECT symbol, date, xmin::text FROM ohlcv_daily ORDER BY 1, 2").fetchall()


def counts(summary: ImportSummary) -> tuple[int, int, int]:
    return summary.inserted, summary.updated, summary.unchanged


def test_dirt_is_rejected_with_line_and_rule_and_the_rest_is_loaded(connection: Connection, tmp_path: Path) -> None:
    bars = written(
        tmp_path,
        "NA,2024-01-02,10.10,12.00,9.5,11,100\n"
        "AAPL,2024-01-02,10,9,8,11,100\n"
        "NAN,2024-01-03,1,2,1,2,0\n"
        "IBM,2024-01-02,1,2,1,2,many\n"
        "NA,2024-01-02,1,2,1,2,7\n",
    )
    rejects = tmp_path / "rejects.csv"
    summary = import_bars(connection, [bars], DAY, rejects=rejects)
    assert (summary.rows_read, counts(summary)) == (5, (2, 0, 0))
    assert summary.rejected == {"high_too_low": 1, "bad_number": 1, "duplicate": 1}
    assert (len(summary.symbols), summary.first, summary.last) == (2, date(2024, 1, 2), date(2024, 1, 3))
    assert [(row.file, row.reject.line) for row in summary.examples] == [(bars, 3), (bars, 5), (bars, 2)]
    with rejects.open(newline="") as stream:
        assert list(csv.reader(stream)) == [
            ["file", "line", "rule", "detail", "row"],
            [str(bars), "3", "high_too_low", "high 9 is below close 11", "AAPL,2024-01-02,10,9,8,11,100"],
            [str(bars), "5", "bad_number", "volume 'many' is not a number", "IBM,2024-01-02,1,2,1,2,many"],
            [
                str(bars),
                "2",
                "duplicate",
                "duplicate in the file: NA at 2024-01-02 is again on line 6, which is kept",
                "NA,2024-01-02,10.10,12.00,9.5,11,100",
            ],
        ]
    stored = connection.execute("SELECT symbol, open::text, high::text FROM ohlcv_daily ORDER BY 1").fetchall()
    assert stored == [("NA", "1", "2"), ("NAN", "1", "2")]


def test_the_same_file_again_changes_nothing_and_a_changed_row_is_updated(
    connection: Connection, tmp_path: Path
) -> None:
    first = written(tmp_path, "A,2024-01-02,10,12,9,11,100\nA,2024-01-03,10,12,9,11,100\n")
    assert counts(import_bars(connection, [first], DAY)) == (2, 0, 0)
    before = versions(connection)
    assert counts(import_bars(connection, [first], DAY)) == (0, 0, 2)
    assert versions(connection) == before
    changed = written(
        tmp_path, "A,2024-01-02,10.0,12,9,11,100\nA,2024-01-03,10,12,9,11.5,100\nB,2024-01-03,1,1,1,1,1\n"
    )
    assert counts(import_bars(connection, [changed], DAY)) == (1, 1, 1)
    assert versions(connection)[0] == before[0]
    assert read_recent(connection, "A", DAY, 1)[0].close == Decimal("11.5")


def test_without_rejected_rows_the_rejects_file_holds_its_header(connection: Connection, tmp_path: Path) -> None:
    rejects = tmp_path / "rejects.csv"
    import_bars(connection, [written(tmp_path, "A,2024-01-02,1,1,1,1,1\n")], DAY, rejects=rejects)
    assert rejects.read_text() == "file,line,rule,detail,row\n"


def test_a_rejects_file_that_cannot_be_made_is_rejected(connection: Connection, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"for rejected rows .* cannot be written: No such file or directory"):
        import_bars(connection, [], DAY, rejects=tmp_path / "none" / "rejects.csv")


def test_a_missing_file_is_rejected_before_anything_is_loaded(connection: Connection, tmp_path: Path) -> None:
    good = written(tmp_path, "A,2024-01-02,1,1,1,1,1\n")
    with pytest.raises(BadInputError, match=r"none\.csv cannot be read: No such file or directory"):
        import_bars(connection, [good, tmp_path / "none.csv"], DAY)
    assert versions(connection) == []


def test_a_cut_off_file_loads_nothing_and_the_file_before_it_stays(connection: Connection, tmp_path: Path) -> None:
    good = written(tmp_path, "A,2024-01-02,1,1,1,1,1\n")
    cut = tmp_path / "cut.csv.gz"
    cut.write_bytes(gzip.compress((HEADER + "B,2024-01-02,1,1,1,1,1\n").encode())[:-8])
    with pytest.raises(BadInputError, match="is cut off"):
        import_bars(connection, [good, cut], DAY)
    assert [symbol for symbol, *_ in versions(connection)] == ["A"]
    assert counts(import_bars(connection, [good], DAY)) == (0, 0, 1)


def test_minute_bars_make_the_partitions_of_their_months(connection: Connection, tmp_path: Path) -> None:
    bars = written(tmp_path, "A,2024-01-31 18:59:00,1,1,1,1,1\nA,2024-01-31 19:00:00,1,1,1,1,1\n")
    summary = import_bars(connection, [bars], MINUTE)
    assert counts(summary) == (2, 0, 0)
    assert summary.last == datetime(2024, 2, 1, tzinfo=UTC)
    partitions = connection.execute(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'ohlcv_1min'::regclass ORDER BY 1"
    )
    assert [name for (name,) in partitions] == ["ohlcv_1min_202401", "ohlcv_1min_202402"]
    assert counts(import_bars(connection, [bars], MINUTE)) == (0, 0, 2)


def test_one_moment_in_two_zones_is_one_hourly_bar(connection: Connection, tmp_path: Path) -> None:
    bars = written(tmp_path, "A,2024-01-31T15:00:00Z,1,1,1,1,1\nA,2024-01-31 10:00:00,2,2,2,2,2\n")
    assert import_bars(connection, [bars], HOUR).rejected == {"duplicate": 1}
    assert [bar.open for bar in read_recent(connection, "A", HOUR, 5)] == [Decimal(2)]


def test_progress_runs_to_the_sum_of_the_files(connection: Connection, tmp_path: Path) -> None:
    files = [written(tmp_path, f"{name},2024-01-02,1,1,1,1,1\n", f"{name}.csv") for name in "AB"]
    seen: list[tuple[int, int]] = []
    import_bars(connection, files, DAY, progress=lambda done, total: seen.append((done, total)))
    total = sum(path.stat().st_size for path in files)
    assert seen == [(total // 2, total), (total, total)]


def test_two_loads_fit_into_one_longer_transaction(connection: Connection) -> None:
    with connection.transaction():
        first = load_rows(connection, DAY, generate_bars(1, 5, 1, date(2024, 3, 1)))
        again = load_rows(connection, DAY, generate_bars(2, 5, 1, date(2024, 3, 1)))
    assert (first.inserted, again.inserted, again.unchanged) == (5, 5, 5)


def test_the_sample_loads_five_symbols(connection: Connection) -> None:
    counted = load_rows(connection, DAY, read_sample())
    assert len(counted.symbols) == 5
    assert counted.inserted == connection.execute("SELECT count(*) FROM ohlcv_daily").fetchone()[0]  # type: ignore[index]


@pytest.mark.parametrize(
    ("policy", "kept", "lines"),
    [("last", ["3"], [2, 3]), ("first", ["1"], [3, 4]), ("reject", [], [2, 3, 4])],
)
def test_of_duplicates_the_one_that_the_policy_says_is_kept(
    connection: Connection, tmp_path: Path, policy: DuplicatePolicy, kept: list[str], lines: list[int]
) -> None:
    rows = "".join(f"A,2024-01-02,1,{high},1,1,1\n" for high in (1, 2, 3)) + "A,2024-01-03,1,1,1,1,1\n"
    summary = import_bars(connection, [written(tmp_path, rows)], DAY, rules=ImportRules(duplicates=policy))
    stored = connection.execute("SELECT high::text FROM ohlcv_daily WHERE date = '2024-01-02'").fetchall()
    assert [high for (high,) in stored] == kept
    assert [row.reject.line for row in summary.examples] == lines
    assert (summary.loaded, summary.rows_read) == (4 - len(lines), 4)
    if policy == "reject":
        assert summary.examples[0].reject.detail == (
            "duplicate in the file: A at 2024-01-02 is on line 4 as well; none is kept"
        )


@pytest.mark.parametrize("order", ["by symbol", "by day", "newest first"])
def test_a_spike_is_rejected_and_a_split_marked_in_any_order_of_rows(
    connection: Connection, tmp_path: Path, order: str
) -> None:
    days = [date(2024, 1, day) for day in (2, 3, 4, 5, 8)]
    closes = {"SPIKE": (100, 101, 1020, 102, 103), "SPLIT": (400, 401, 100, 101, 102), "QUIET": (10, 11, 10, 11, 10)}
    rows = [(symbol, day, close) for symbol, series in closes.items() for day, close in zip(days, series, strict=True)]
    if order != "by symbol":
        rows.sort(key=lambda row: row[1], reverse=order == "newest first")
    text = "".join(f"{symbol},{day},{close},{close},{close},{close},5\n" for symbol, day, close in rows)
    summary = import_bars(connection, [written(tmp_path, text)], DAY)
    assert (summary.rejected, summary.marked, summary.loaded) == ({"price_spike": 1}, {"price_jump": 1}, 14)
    assert [(row.reject.rule, row.reject.detail) for row in summary.examples] == [
        ("price_spike", "SPIKE: high 1020 is 10.1 times its neighbours, which close at 101 and 102"),
        ("price_jump", "SPLIT: open 100 is 1/4.01 of the close 401 before it, as after a split"),
    ]
    spike = rows.index(("SPIKE", date(2024, 1, 4), 1020))
    assert summary.examples[0].reject.line == spike + 2
    assert connection.execute("SELECT max(high) FROM ohlcv_daily WHERE symbol = 'SPIKE'").fetchone() == (Decimal(103),)


@pytest.mark.parametrize(
    ("rows", "rejected", "marked"),
    [
        (("2024-01-09,1030", "2024-01-10,104"), {"price_spike": 1}, {}),  # between the file's bars and the stored ones
        (("2024-01-09,1030",), {"price_spike": 1}, {}),
        (("2024-01-04,10.2",), {"price_spike": 1}, {}),  # instead of a stored one
        (("2024-01-06,1020",), {"price_spike": 1}, {}),
        (("2023-12-29,1000",), {"price_spike": 1}, {}),
        (("2024-01-09,51.5", "2024-01-10,52"), {}, {"price_jump": 1}),
        (("2024-01-09,104", "2024-01-10,105"), {}, {}),
        (("2024-01-04,1000", "2024-01-05,1001"), {}, {"price_jump": 1}),
    ],
)
def test_a_bar_is_judged_by_the_stored_bars_beside_it(
    connection: Connection, tmp_path: Path, rows: tuple[str, ...], rejected: dict[str, int], marked: dict[str, int]
) -> None:
    def text(rows: Iterable[str]) -> str:
        return "".join(
            f"A,{day},{close},{close},{close},{close},5\n" for day, close in (row.split(",") for row in rows)
        )

    options = ImportRules(read=ReadOptions(judges_sessions=False))
    days = [f"2024-01-0{day},{100 + number}" for number, day in enumerate((2, 3, 4, 5, 8))]
    import_bars(connection, [written(tmp_path, text(days))], DAY, rules=options)
    stored = connection.execute("SELECT * FROM ohlcv_daily WHERE symbol = 'A'").fetchall()
    summary = import_bars(connection, [written(tmp_path, text(rows))], DAY, rules=options)
    assert (summary.rejected, summary.marked) == (rejected, marked)
    if rejected and len(rows) == 1:
        assert connection.execute("SELECT * FROM ohlcv_daily WHERE symbol = 'A'").fetchall() == stored


@pytest.mark.parametrize(
    ("most", "words"),
    [(MostRejected(share=0.24), "more than 0.24 of them"), (MostRejected(count=0), "more than 0")],
)
def test_of_a_file_with_too_many_rejected_rows_nothing_is_loaded(
    connection: Connection, tmp_path: Path, most: MostRejected, words: str
) -> None:
    rows = "A,2024-01-02,1,1,1,1,1\nA,2024-01-03,1,1,1,1,1\nA,2024-01-04,1,1,1,1,1\nA,2024-01-05,1,1,1,1,-1\n"
    path = written(tmp_path, rows)
    with pytest.raises(BadInputError) as raised:
        import_bars(connection, [path], DAY, rules=ImportRules(most_rejected=most))
    assert str(raised.value) == f"1 of 4 rows of {path} are rejected, {words}: nothing of it is loaded"
    assert versions(connection) == []
    enough = ImportRules(most_rejected=MostRejected(share=0.25, count=1))
    assert import_bars(connection, [path], DAY, rules=enough).loaded == 3


def test_a_volume_that_is_not_known_is_null_and_a_fraction_is_rounded(connection: Connection, tmp_path: Path) -> None:
    rows = "A,2024-01-02,1,1,1,1,\nA,2024-01-03,1,1,1,1,N/A\nA,2024-01-04,1,1,1,1,2.5\nA,2024-01-05,1,1,1,1,3.5\n"
    summary = import_bars(connection, [written(tmp_path, rows)], DAY)
    assert (summary.loaded, summary.rounded) == (4, 2)
    assert [bar.volume for bar in read_recent(connection, "A", DAY, 9)] == [None, None, 2, 4]
    assert counts(import_bars(connection, [written(tmp_path, rows)], DAY)) == (0, 0, 4)
    volume = read_series(connection, ["A"], DAY, date(2024, 1, 5), 9)["A"].volume
    assert np.isnan(volume).tolist() == [True, True, False, False]


def test_a_calendar_of_the_table_judges_its_symbols(connection: Connection, tmp_path: Path) -> None:
    rows = "BTC-USD,2024-01-06,1,1,1,1,1\nABC,2024-01-06,1,1,1,1,1\n"
    rules = CalendarRules({ANY: "XNYS", "*-USD": "24/7"})
    summary = import_bars(
        connection, [written(tmp_path, rows)], DAY, rules=ImportRules(ReadOptions(calendar_rules=rules))
    )
    assert (summary.loaded, summary.rejected) == (1, {"off_session": 1})


def test_memory_does_not_grow_with_the_file(connection: Connection, tmp_path: Path) -> None:
    def peak_of(rows: int) -> int:
        path = tmp_path / f"{rows}.csv"
        with path.open("w") as stream:
            stream.write(HEADER)
            for row in range(rows):
                stream.write(f"S{row // 1000},{date.fromordinal(730_000 + row % 1000)},10,12,9,11,{row}\n")
        tracemalloc.start()
        try:
            import_bars(connection, [path], DAY, rules=ImportRules(ReadOptions(calendar="24/7")))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    small = peak_of(10_000)
    assert peak_of(150_000) < 1.5 * small


@pytest.mark.market_data
def test_five_years_of_real_bars_load_except_for_five_rows(connection: Connection, market_data: Path) -> None:
    bars = market_data / "sp500_daily_2016_2021.csv.gz"
    summary = import_bars(connection, [bars], DAY)
    assert (summary.rows_read, counts(summary)) == (578_223, (578_218, 0, 0))
    assert summary.rejected == {"high_too_low": 4, "low_too_high": 1}
    assert (len(summary.symbols), summary.first, summary.last) == (470, date(2016, 5, 16), date(2021, 5, 14))
    assert counts(import_bars(connection, [bars], DAY)) == (0, 0, 578_218)
    universes = import_universes(connection, market_data / "universes.csv")
    assert universes.universes == ("dow30", "nasdaq100", "sp500")
    assert not universes.rejected
