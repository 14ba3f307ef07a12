"""The table of layouts: a small hand-written file of each, and the bars that it gives."""

# ruff: noqa: E501, ISC004  # the lines of these files

import gzip
import io
import zipfile
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from streamworkers.market.bars.text_rows import BarRows, Reject
from streamworkers.market.calendar.timeframes import TIMEFRAMES
from streamworkers.market.files.bars_file import read_bars_file
from streamworkers.market.files.layouts import LAYOUT_NAMES
from streamworkers.market.files.notes import Notes
from streamworkers.market.files.options import ReadOptions, parse_columns, parse_name_pattern

ROOT = Path(__file__).parents[4]
Row = tuple[Any, ...]

# Layout, name of the file, text, options, and the bars: symbol, time, open, high, low, close, volume.
DAYS: list[tuple[str, str, str, dict[str, Any], list[Row]]] = [
    (
        "standard",
        "mine.csv",
        "symbol,date,open,high,low,close,volume\nABC,2024-03-04,10,12,9,11,500\n",
        {},
        [("ABC", "2024-03-04", "10", "12", "9", "11", "500")],
    ),
    (
        "yahoo",
        "ABC.csv",
        "Date,Open,High,Low,Close,Adj Close,Volume\n2024-03-04,10.0,12.0,9.0,11.0,5.5,500\n2024-03-05,null,null,null,null,null,null\n",
        {"adjusted": True},
        [("ABC", "2024-03-04", "5", "6", "4.5", "5.5", "500")],
    ),
    (
        "yahoo",
        "two.csv",
        "Price,Close,Close,High,High,Low,Low,Open,Open,Volume,Volume\nTicker,ABC,XYZ,ABC,XYZ,ABC,XYZ,ABC,XYZ,ABC,XYZ\n"
        "Date,,,,,,,,,,\n2024-03-04,11.0,21.0,12.0,22.0,9.0,19.0,10.0,20.0,500,600\n2024-03-05,11.5,,12.0,,9.0,,10.0,,700,\n",
        {},
        [
            ("ABC", "2024-03-04", "10.0", "12.0", "9.0", "11.0", "500"),
            ("ABC", "2024-03-05", "10.0", "12.0", "9.0", "11.5", "700"),
            ("XYZ", "2024-03-04", "20.0", "22.0", "19.0", "21.0", "600"),
        ],
    ),
    (
        "yahoo",
        "grouped.csv",
        "Ticker,ABC,ABC,ABC,ABC,ABC\nPrice,Open,High,Low,Close,Volume\nDate,,,,,\n2024-03-04,10,12,9,11,500\n",
        {},
        [("ABC", "2024-03-04", "10", "12", "9", "11", "500")],
    ),
    (
        "alphavantage",
        "weekly.csv",
        "timestamp,open,high,low,close,adjusted_close,volume,dividend_amount,split_coefficient\n"
        "2024-03-05,10,12,9,11,11,600,0,1\n2024-03-04,10,12,9,10,10,500,0,1\n",
        {"symbol": "ABC"},
        [
            ("ABC", "2024-03-05", "10", "12", "9", "11", "600"),
            ("ABC", "2024-03-04", "10", "12", "9", "10", "500"),
        ],
    ),
    (
        "nasdaq",
        "quotes.csv",
        "Date,Close/Last,Volume,Open,High,Low\n03/05/2024,$1011.00,1234,$1010.00,$1012.00,$1009.00\n",
        {"symbol": "ABC"},
        [("ABC", "2024-03-05", "1010.00", "1012.00", "1009.00", "1011.00", "1234")],
    ),
    (
        "investing",
        "Historical.csv",
        '"Date","Price","Open","High","Low","Vol.","Change %"\n"03/05/2024","1,103.50","1,100.00","1,110.25","1,090.00","1.30M","0.32%"\n'
        '"Mar 04, 2024","1,100.00","1,090.00","1,100.00","1,080.00","-","0.10%"\n',
        {"symbol": "ABC"},
        [
            ("ABC", "2024-03-05", "1100.00", "1110.25", "1090.00", "1103.50", "1300000"),
            ("ABC", "2024-03-04", "1090.00", "1100.00", "1080.00", "1100.00", None),
        ],
    ),
    (
        "metatrader5",
        "EURUSD_Daily_202403040000_202403050000.csv",
        "<DATE>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>\n2024.03.04\t1.1\t1.3\t1.0\t1.2\t777\t0\t2\n",
        {},
        [("EURUSD", "2024-03-04", "1.1", "1.3", "1.0", "1.2", "777")],
    ),
    (
        "metatrader4",
        "EURUSD1440.csv",
        "2024.03.04,00:00,1.1,1.3,1.0,1.2,777\n2024.03.05,00:00,1.1,1.3,1.0,1.2,778\n",
        {},
        [
            ("EURUSD", "2024-03-04", "1.1", "1.3", "1.0", "1.2", "777"),
            ("EURUSD", "2024-03-05", "1.1", "1.3", "1.0", "1.2", "778"),
        ],
    ),
    (
        "tradingview",
        "NYSE_ABC, 1D.csv",
        "time,open,high,low,close,Volume\n1709562600,10,12,9,11,500\n2024-03-05T14:30:00Z,10,12,9,11,600\n",
        {},
        [
            ("ABC", "2024-03-04", "10", "12", "9", "11", "500"),
            ("ABC", "2024-03-05", "10", "12", "9", "11", "600"),
        ],
    ),
    (
        "binance",
        "BTCUSDT-1d-2024-03.csv",
        "1709510400000,10,12,9,11,0.5,1709596799999,5,3,1,1,0\n1709596800000000,10,12,9,11,1.5,1709683199999999,5,3,1,1,0\n",
        {},
        [
            ("BTCUSDT", "2024-03-04", "10", "12", "9", "11", "0"),
            ("BTCUSDT", "2024-03-05", "10", "12", "9", "11", "2"),
        ],
    ),
    (
        "binance_futures",
        "BTCUSDT-1d-2024-03-04.csv",
        "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore\n"
        "1709510400000,10,12,9,11,77,1709596799999,5,3,1,1,0\n",
        {},
        [("BTCUSDT", "2024-03-04", "10", "12", "9", "11", "77")],
    ),
    (
        "stooq",
        "abc.us.txt",
        "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>\nABC.US,D,20240304,000000,10,12,9,11,500,0\n",
        {},
        [("ABC.US", "2024-03-04", "10", "12", "9", "11", "500")],
    ),
    (
        "interactive_brokers",
        "ABC.csv",
        ",date,open,high,low,close,volume,average,barCount\n0,20240304,10,12,9,11,500,10.5,33\n1,2024-03-05,10,12,9,11,600,10.5,33\n",
        {},
        [
            ("ABC", "2024-03-04", "10", "12", "9", "11", "500"),
            ("ABC", "2024-03-05", "10", "12", "9", "11", "600"),
        ],
    ),
    (
        "kaggle_sp500",
        "all_stocks_5yr.csv",
        "date,open,high,low,close,volume,Name\n2024-03-04,10,12,9,11,500,ABC\n",
        {},
        [("ABC", "2024-03-04", "10", "12", "9", "11", "500")],
    ),
    (
        "eodhd",
        "ABC.US.csv",
        "Date,Open,High,Low,Close,Adjusted_close,Volume\n2024-03-04,10,12,9,11,5.5,500\n",
        {},
        [("ABC.US", "2024-03-04", "10", "12", "9", "11", "500")],
    ),
    (
        "tiingo",
        "ABC.csv",
        "date,close,high,low,open,volume,adjClose,adjHigh,adjLow,adjOpen,adjVolume,divCash,splitFactor\n"
        "2024-03-04T00:00:00.000Z,11,12,9,10,500,5.5,6,4.5,5,1000,0,1\n",
        {"adjusted": True},
        [("ABC", "2024-03-04", "5", "6", "4.5", "5.5", "1000")],
    ),
    (
        "massive",
        "2024-03-04.csv",
        "ticker,volume,open,close,high,low,window_start,transactions\nTRUE,500,10,11,12,9,1709528400000000000,33\n",
        {},
        [("TRUE", "2024-03-04", "10", "12", "9", "11", "500")],
    ),
    (
        "nse_bhavcopy",
        "cm04MAR2024bhav.csv",
        "SYMBOL,SERIES,OPEN,HIGH,LOW,CLOSE,LAST,PREVCLOSE,TOTTRDQTY,TOTTRDVAL,TIMESTAMP,TOTALTRADES,ISIN,\n"
        "ABC,EQ,10,12,9,11,11,10,500,5500,04-MAR-2024,33,INE000000001,\nABC,N1,10,12,9,11,11,10,5,55,04-MAR-2024,3,INE000000002,\n",
        {},
        [("ABC", "2024-03-04", "10", "12", "9", "11", "500")],
    ),
    (
        "nse_full_bhavcopy",
        "sec_bhavdata_full_04032024.csv",
        "SYMBOL, SERIES, DATE1, PREV_CLOSE, OPEN_PRICE, HIGH_PRICE, LOW_PRICE, LAST_PRICE, CLOSE_PRICE, AVG_PRICE, TTL_TRD_QNTY\n"
        "ABC, EQ, 04-Mar-2024, 10, 10, 12, 9, 11, 11, 10.5, 500\n",
        {},
        [("ABC", "2024-03-04", "10", "12", "9", "11", "500")],
    ),
    (
        "nse_udiff",
        "BhavCopy_NSE_CM_0_0_0_20240304_F_0000.csv",
        "TradDt,BizDt,Sgmt,Src,FinInstrmTp,FinInstrmId,ISIN,TckrSymb,SctySrs,OpnPric,HghPric,LwPric,ClsPric,TtlTradgVol\n"
        "2024-03-04,2024-03-04,CM,NSE,STK,1,INE000000001,ABC,EQ,10,12,9,11,500\n"
        "2024-03-04,2024-03-04,CM,NSE,STK,2,INE000000002,ABC,GB,10,12,9,11,5\n",
        {},
        [("ABC", "2024-03-04", "10", "12", "9", "11", "500")],
    ),
    (
        "bse_bhavcopy",
        "EQ040324.CSV",
        "SC_CODE,SC_NAME,SC_GROUP,SC_TYPE,OPEN,HIGH,LOW,CLOSE,LAST,PREVCLOSE,NO_TRADES,NO_OF_SHRS,NET_TURNOV,TDCLOINDI\n"
        "500000,ABC LTD,A,Q,10,12,9,11,11,10,33,500,5500,\n",
        {},
        [("500000", "2024-03-04", "10", "12", "9", "11", "500")],
    ),
    (
        "dukascopy",
        "EURUSD_Candlestick_1_D_BID_04.03.2024-05.03.2024.csv",
        "Gmt time,Open,High,Low,Close,Volume\n04.03.2024 00:00:00.000,1.1,1.3,1.0,1.2,54321.75\n",
        {},
        [("EURUSD", "2024-03-04", "1.1", "1.3", "1.0", "1.2", "54322")],
    ),
    (
        "dukascopy_utc",
        "EURUSD_Candlestick_1_D_BID.csv",
        "Time (UTC),Open,High,Low,Close,Volume\n2024.03.04 00:00:00,1.1,1.3,1.0,1.2,5\n",
        {},
        [("EURUSD", "2024-03-04", "1.1", "1.3", "1.0", "1.2", "5")],
    ),
    (
        "dukascopy_local",
        "EURUSD_Candlestick_1_D_BID.csv",
        "Local time,Open,High,Low,Close,Volume\n04.03.2024 00:00:00.000 GMT+0100,1.1,1.3,1.0,1.2,5\n",
        {},
        [("EURUSD", "2024-03-04", "1.1", "1.3", "1.0", "1.2", "5")],
    ),
    (
        "excel_european",
        "kurse.csv",
        "Datum;Eröffnung;Hoch;Tief;Schlusskurs;Volumen\n04.03.2024;1.010,50;1.012,00;1.009,00;1.011,25;1.234.567\n",
        {"layout": "excel_european", "symbol": "SAP"},
        [("SAP", "2024-03-04", "1010.50", "1012.00", "1009.00", "1011.25", "1234567")],
    ),
]

MINUTES: list[tuple[str, str, str, dict[str, Any], list[str]]] = [
    (
        "eodhd_intraday",
        "ABC.csv",
        "Timestamp,Gmtoffset,Datetime,Open,High,Low,Close,Volume\n1709562600,0,2024-03-04 14:30:00,10,12,9,11,500\n",
        {},
        ["2024-03-04T14:30:00+00:00"],
    ),
    (
        "metatrader5",
        "EURUSD_M1_202403040000_202403050000.csv",
        "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>\n2024.03.04\t14:30:00\t1.1\t1.3\t1.0\t1.2\t7\t0\t2\n",
        {"zone": ZoneInfo("Europe/Athens")},
        ["2024-03-04T12:30:00+00:00"],
    ),
    (
        "interactive_brokers",
        "ABC.csv",
        ",date,open,high,low,close,volume,average,barCount\n"
        "0,20240304  09:30:00,10,12,9,11,500,10.5,33\n1,20240304 09:31:00 US/Eastern,10,12,9,11,500,10.5,33\n"
        "2,2024-03-04 09:32:00-05:00,10,12,9,11,500,10.5,33\n",
        {},
        ["2024-03-04T14:30:00+00:00", "2024-03-04T14:31:00+00:00", "2024-03-04T14:32:00+00:00"],
    ),
    (
        "massive",
        "2024-03-04.csv",
        "ticker,volume,open,close,high,low,window_start,transactions\nABC,5,10,11,12,9,1709562600000000000,3\n",
        {},
        ["2024-03-04T14:30:00+00:00"],
    ),
    (
        "standard",
        "ABC.csv",
        "date,time,open,high,low,close,volume\n03/04/2024,09:30,10,12,9,11,5\n03/14/2024,0931,10,12,9,11,5\n",
        {},
        ["2024-03-04T14:30:00+00:00", "2024-03-14T13:31:00+00:00"],
    ),
    (
        "tradingview",
        "ABC.csv",
        "time,open,high,low,close\n34200,10,12,9,11\n1709562600,10,12,9,11\n",
        {},
        ["1970-01-01T09:30:00+00:00", "2024-03-04T14:30:00+00:00"],
    ),
]


def read(
    path: Path, frame: str, options: ReadOptions, symbol: str | None = None
) -> tuple[list[Row], list[Reject], dict[str, str]]:
    notes = Notes()
    chunks = list(read_bars_file(path, TIMEFRAMES[frame], symbol=symbol, options=options, notes=notes))
    rows = [row for chunk in chunks for row in rows_of(chunk.rows)]
    return rows, [reject for chunk in chunks for reject in chunk.rejects], notes.by_subject


def rows_of(rows: BarRows) -> list[Row]:
    volumes = [None if volume == r"\N" else volume for volume in rows.volume]
    return list(zip(rows.symbols, rows.times, rows.open, rows.high, rows.low, rows.close, volumes, strict=True))


@pytest.mark.parametrize(
    ("layout", "name", "text", "options", "bars"), DAYS, ids=[f"{row[0]}-{row[1]}" for row in DAYS]
)
def test_a_file_of_each_layout_gives_its_days(
    tmp_path: Path, layout: str, name: str, text: str, options: dict[str, Any], bars: list[Row]
) -> None:
    (tmp_path / name).write_text(text)
    found, rejects, notes = read(tmp_path / name, "day", ReadOptions(**options))
    assert found == bars
    assert {reject.rule for reject in rejects} <= {"no_prices", "other_series"}
    if layout != "standard":
        assert notes["layout"].startswith((f"{layout} ", "yfinance"))
    named = ReadOptions(**{**options, "layout": layout})
    assert read(tmp_path / name, "day", named)[0] == bars


@pytest.mark.parametrize(("layout", "name", "text", "options", "times"), MINUTES, ids=[row[0] for row in MINUTES])
def test_a_file_of_each_layout_gives_its_minutes(
    tmp_path: Path, layout: str, name: str, text: str, options: dict[str, Any], times: list[str]
) -> None:
    (tmp_path / name).write_text(text)
    found, rejects, _ = read(tmp_path / name, "1min", ReadOptions(**options))
    assert ([row[1] for row in found], rejects) == (times, [])
    assert layout in LAYOUT_NAMES


def test_every_layout_has_a_sample_and_a_row_in_the_guide() -> None:
    assert {row[0] for row in (*DAYS, *MINUTES)} == set(LAYOUT_NAMES)
    guide = (ROOT / "docs" / "guides" / "importing.md").read_text(encoding="utf-8")
    assert [name for name in LAYOUT_NAMES if f"| `{name}` |" not in guide] == []


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_any_encoding_and_line_ends_come_in(tmp_path: Path, encoding: str, ends: str) -> None:
    text = ends.join(["sep=;", "Datum;Eröffnung;Hoch;Tief;Schluss;Stück", "04.03.2024;10,5;12;9;11;500", ""])
    (tmp_path / "kurse.csv").write_bytes(text.encode(encoding))
    found, rejects, _ = read(tmp_path / "kurse.csv", "day", ReadOptions(layout="excel_european", symbol="SAP"))
    assert (found, rejects) == ([("SAP", "2024-03-04", "10.5", "12", "9", "11", "500")], [])


def zipped(**files: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name.replace("_csv", ".csv")), text)
    return packed.getvalue()


STANDARD = "date,open,high,low,close,volume\n2024-03-04,10,12,9,11,500\n"


@pytest.mark.parametrize("packed", [gzip.compress(STANDARD.encode(), mtime=0), zipped(a_csv=STANDARD)])
@pytest.mark.parametrize("name", ["ABC.csv", "ABC.csv.gz", "ABC.zip"])
def test_packed_files_are_known_by_their_content(tmp_path: Path, packed: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(packed)
    assert read(tmp_path / name, "day", ReadOptions())[0] == [("ABC", "2024-03-04", "10", "12", "9", "11", "500")]


def test_columns_can_be_named_by_the_user_or_numbered_without_a_header(tmp_path: Path) -> None:
    (tmp_path / "ABC.csv").write_text("Day,First,Top,Bottom,Last\n2024-03-04,10,12,9,11\n")
    named = ReadOptions(columns=parse_columns("date=Day,open=First,high=Top,low=Bottom,close=Last"))
    assert read(tmp_path / "ABC.csv", "day", named)[0] == [("ABC", "2024-03-04", "10", "12", "9", "11", None)]
    (tmp_path / "XYZ.csv").write_text("20240304|10|12|9|11|500\n")
    numbered = ReadOptions(columns=parse_columns("date=1,open=2,high=3,low=4,close=5,volume=6"), delimiter="|")
    assert read(tmp_path / "XYZ.csv", "day", numbered)[0] == [("XYZ", "2024-03-04", "10", "12", "9", "11", "500")]


def test_the_symbol_is_taken_from_the_name_by_a_pattern(tmp_path: Path) -> None:
    (tmp_path / "abc_us_d.csv").write_text(STANDARD)
    options = ReadOptions(symbol_in_name=parse_name_pattern("{symbol}_us_*"))
    assert read(tmp_path / "abc_us_d.csv", "day", options)[0][0][0] == "abc"
    assert read(tmp_path / "abc_us_d.csv", "day", ReadOptions(), symbol="ABC")[0][0][0] == "ABC"


def test_titles_above_the_header_are_no_rows_and_lines_keep_their_numbers(tmp_path: Path) -> None:
    (tmp_path / "ABC.csv").write_text("Prices of ABC\n\n" + STANDARD + "2024-03-05,10,9,9,11,500\n")
    found, rejects, _ = read(tmp_path / "ABC.csv", "day", ReadOptions())
    assert [row[1] for row in found] == ["2024-03-04"]
    assert [(reject.line, reject.rule) for reject in rejects] == [(5, "high_too_low")]


def test_symbols_of_several_exchanges_are_judged_by_their_own(tmp_path: Path) -> None:
    lines = ["7203.T,2024-01-04T15:00:00Z", "VOD.L,2024-07-04", "ABC,2024-07-04", "ABC,2024-07-05"]
    (tmp_path / "all.csv").write_text(
        "symbol,date,open,high,low,close\n" + "".join(f"{line},10,12,9,11\n" for line in lines)
    )
    found, rejects, _ = read(tmp_path / "all.csv", "day", ReadOptions())
    assert sorted(row[:2] for row in found) == [
        ("7203.T", "2024-01-05"),
        ("ABC", "2024-07-05"),
        ("VOD.L", "2024-07-04"),
    ]
    assert [(reject.line, reject.rule) for reject in rejects] == [(4, "off_session")]
