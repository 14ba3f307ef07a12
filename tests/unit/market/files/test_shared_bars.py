"""The small files of ../shared/cases/bars: each gives what its page says. `test_layouts` has files of our own."""

from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from streamworkers.errors import BadInputError
from streamworkers.market.bars.text_rows import BarRows, Reject
from streamworkers.market.calendar.timeframes import TIMEFRAMES
from streamworkers.market.files.bars_file import read_bars_file
from streamworkers.market.files.notes import Notes
from streamworkers.market.files.options import ReadOptions

CASES = Path(__file__).parents[5] / "shared" / "cases" / "bars"

pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="../shared/cases/bars is not here")


def read(
    name: str, options: ReadOptions | None = None, frame: str = "day"
) -> tuple[list[tuple[str, ...]], list[Reject], dict[str, str]]:
    notes = Notes()
    path = CASES / f"{name}.csv"
    chunks = list(read_bars_file(path, TIMEFRAMES[frame], options=options or ReadOptions(), notes=notes))
    rows = [row for chunk in chunks for row in rows_of(chunk.rows)]
    return rows, [reject for chunk in chunks for reject in chunk.rejects], notes.by_subject


def rows_of(rows: BarRows) -> list[tuple[str, ...]]:
    return list(zip(rows.symbols, rows.times, rows.close, rows.volume, strict=True))


def test_yahoo() -> None:
    rows, rejects, notes = read("01_yahoo_download", ReadOptions(symbol="Y"))
    assert rows == [("Y", "2026-11-23", "102.00", "1200000"), ("Y", "2026-11-24", "103.50", "1300000")]
    assert [(reject.line, reject.rule) for reject in rejects] == [(4, "no_prices")]
    assert notes["prices"] == "as they stand, not adjusted by the column 'adj close' (--adjusted does that)"
    adjusted, _, notes = read("01_yahoo_download", ReadOptions(symbol="Y", adjusted=True))
    assert [row[2] for row in adjusted] == ["51.00", "51.75"]
    assert notes["prices"] == "adjusted, by the column 'adj close'"


@pytest.mark.parametrize(
    ("name", "options", "bars"),
    [
        ("02_yfinance_multiheader", ReadOptions(), [("AAPL", "2026-11-23", "102.0"), ("AAPL", "2026-11-24", "103.5")]),
        (
            "06_alphavantage",
            ReadOptions(symbol="A"),
            [("A", "2026-11-24", "103.5000"), ("A", "2026-11-23", "102.0000")],
        ),
        ("07_nasdaq_com", ReadOptions(symbol="A"), [("A", "2026-11-24", "103.50"), ("A", "2026-11-23", "102.00")]),
        ("10_tradingview_unix", ReadOptions(), [("TVX", "2026-11-24", "102"), ("TVX", "2026-11-25", "103.5")]),
        (
            "11_binance_klines",
            ReadOptions(layout="binance", symbol="B"),
            [("B", "2026-11-23", "87500.4"), ("B", "2026-11-24", "88000.4")],
        ),
        ("16_polygon_flat_day", ReadOptions(), [("AAPL", "2026-11-23", "102"), ("TRUE", "2026-11-23", "1.6")]),
        (
            "19_excel_de",
            ReadOptions(delimiter=";", decimal=",", date_format="DD.MM.YYYY"),
            [("SAP", "2026-11-24", "102.00")],
        ),
        ("30_asia_utc", ReadOptions(), [("7203.T", "2024-01-05", "102")]),
    ],
)
def test_files_that_load_whole(name: str, options: ReadOptions, bars: list[tuple[str, ...]]) -> None:
    rows, rejects, _ = read(name, options)
    assert ([row[:3] for row in rows], rejects) == (bars, [])


def test_metatrader_says_which_volume_was_taken() -> None:
    rows, _, notes = read("09_mt5", ReadOptions(symbol="EURUSD"))
    assert rows == [("EURUSD", "2026-11-23", "1.1050", "52000")]
    assert notes["volume"] == "the column 'tickvol', because vol is 0"


def test_an_excel_file_without_options_names_its_separator() -> None:
    with pytest.raises(BadInputError, match=r"are separated by ';', not by ','; add --delimiter ';'"):
        read("19_excel_de")


def test_years_that_cannot_be_are_rejected_and_1970_is_one() -> None:
    rows, rejects, _ = read("31_future_1970")
    assert [row[1] for row in rows] == ["1970-01-01"]
    assert [(reject.line, reject.rule) for reject in rejects] == [(2, "bad_year"), (3, "bad_year")]


def test_a_file_without_volume_loads() -> None:
    assert read("33_fx_novol")[0] == [("EURUSD", "2026-11-23", "1.10", r"\N")]


def test_days_without_a_session_are_rejected_but_for_a_market_that_never_closes() -> None:
    assert [reject.rule for reject in read("38_offsession")[1]] == ["off_session"] * 3
    assert len(read("38_offsession", ReadOptions(calendar="24/7"))[0]) == 3


def test_the_zone_of_times_without_one_is_said() -> None:
    assert read("41_1min_naive_utc", frame="1min")[2]["zone"] == (
        "times without one are in America/New_York (--timezone)"
    )
    rows, _, notes = read("41_1min_naive_utc", ReadOptions(zone=ZoneInfo("UTC")), "1min")
    assert (rows[0][1], "zone" in notes) == ("2026-11-24T14:30:00+00:00", False)


def test_months_are_labelled_with_their_first_day() -> None:
    rows, rejects, _ = read("51_monthly_labels", frame="month")
    months = {symbol: sorted(row[1] for row in rows if row[0] == symbol) for symbol in ("MOEND", "MOBEG")}
    assert (months["MOEND"], rejects) == (months["MOBEG"], [])
    assert {month[-2:] for month in months["MOEND"]} == {"01"}


def test_eight_hundred_days_in_seconds_are_eight_hundred_days() -> None:
    rows, rejects, _ = read("52_unix_times_800_days")
    assert (len(rows), rejects) == (800, [])
    assert {row[1][:4] for row in rows} <= {"2023", "2024", "2025", "2026"}
