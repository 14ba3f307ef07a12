"""Files that are no bars, or not as they are read: each error names the real cause and the way out."""

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest

from streamworkers.errors import BadInputError
from streamworkers.market.calendar.timeframes import TIMEFRAMES
from streamworkers.market.files.bars_file import read_bars_file
from streamworkers.market.files.limits import FileLimits
from streamworkers.market.files.options import ReadOptions, parse_columns, parse_delimiter, parse_name_pattern

HEADER = "date,open,high,low,close,volume\n"
ROW = "2024-03-04,10,12,9,11,500\n"
SEMICOLONS = (HEADER + ROW).replace(",", ";")


def zipped(names: list[str]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in names:
            archive.writestr(zipfile.ZipInfo(name), "" if name.endswith("/") else HEADER + ROW)
    return packed.getvalue()


def error_of(path: Path, content: str | bytes, options: ReadOptions) -> str:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(BadInputError) as raised:
        list(read_bars_file(path, TIMEFRAMES["day"], options=options))
    return str(raised.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<!DOCTYPE html><html>", "{path} is a web page, not CSV: the download may have asked for a login or failed"),
        ('{"error": "limit"}', "{path} is JSON, not CSV"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "{path} is an Excel workbook (.xls), not CSV; save it as CSV"),
        (b"PAR1\x15\x04", "{path} is a Parquet file, not CSV"),
        (b"%PDF-1.7", "{path} is a PDF, not CSV"),
        (b"\x00\x01\x02\x03binary", "{path} is binary, not text: it holds bytes of 0"),
        (b"\xff\xfe" + (HEADER + ROW).encode("utf-16-le") + b"x", "{path} is not whole UTF-16: truncated data"),
        (b"PK\x03\x04broken", "{path} is not a zip file that can be unpacked: File is not a zip file"),
        (zipped(["empty/"]), "{path} is a zip of 0 files; unpack it and name those to import"),
        (
            zipped(["[Content_Types].xml", "xl/workbook.xml"]),
            "{path} is an Excel workbook or another office document, not CSV; save it as CSV",
        ),
        (zipped(["a.csv", "b.csv"]), "{path} is a zip of 2 files: a.csv, b.csv; unpack it and name those to import"),
        ("\n\n", "{path} has no header; its first line must name the columns"),
        (
            SEMICOLONS,
            (
                "the columns of {path} are separated by ';', not by ','; add --delimiter ';', and --decimal , if its"
                " numbers have a decimal comma (or --layout excel_european)"
            ),
        ),
        (
            "Datum;Erster;Hoch;Tief;Schluss\n04.03.2024;10;12;9;11\n",
            (
                "the columns of {path} are separated by ';', not by ','; add --delimiter ';', and name them with"
                " --columns or in the first line"
            ),
        ),
        (
            ROW,
            (
                "{path} has no column date, open, high, low, close; its first line must name symbol, date, open, high,"
                " low, close, volume and names '2024-03-04, 10, 12, 9, 11, 500'; it has no header: name its layout with"
                " --layout, or its columns with --columns date=1,open=2,…"
            ),
        ),
        (
            "Price,Open,High,Low,Volume\nTicker,ABC,ABC,ABC,ABC\nDate,,,,\n",
            "{path} has no column close of ABC",
        ),
        (
            "sc_code,open,high,low,close,no_of_shrs\n1,10,12,9,11,5\n",
            "{path} has no column of dates, and its name has no date, as in EQ241126.CSV",
        ),
    ],
)
def test_what_is_no_csv_of_bars_is_named(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = tmp_path / "ABC.csv"
    assert error_of(path, content, ReadOptions()) == message.format(path=path)


@pytest.mark.parametrize(
    ("name", "options", "content", "message"),
    [
        (
            "data.csv",
            {},
            HEADER + ROW,
            (
                "{path} has no column symbol, and its name is no symbol; add --symbol, or --symbol-from-name with a"
                " pattern such as '{{symbol}}_*'"
            ),
        ),
        ("A.csv", {"symbol": "A B"}, HEADER + ROW, "'A B' in {path} is not a symbol"),
        (
            "A.csv",
            {"symbol": "B"},
            "symbol," + HEADER + "A," + ROW,
            "{path} has a column 'symbol' of symbols; --symbol is for files without",
        ),
        (
            "A.csv",
            {"symbol_in_name": parse_name_pattern("{symbol}_day")},
            HEADER + ROW,
            "the name 'A' of {path} does not fit --symbol-from-name",
        ),
        (
            "A.csv",
            {"columns": {"open": "first"}},
            HEADER + ROW,
            "{path} has no column 'first'; it has 'date, open, high, low, close, volume'",
        ),
        (
            "A.csv",
            {"adjusted": True},
            HEADER + ROW,
            "{path} has no column of adjusted prices, such as Adj Close; leave out --adjusted",
        ),
        (
            "A.csv",
            {"limits": FileLimits(columns=5)},
            HEADER + ROW,
            "{path} has 6 columns, which exceeds STREAMWORKERS_IMPORT_MAX_COLUMNS=5",
        ),
        (
            "A.csv",
            {"limits": FileLimits(line_bytes=40)},
            HEADER + ROW + "x" * 300_000,
            "line 3 of {path} exceeds STREAMWORKERS_IMPORT_MAX_LINE_BYTES=40",
        ),
        (
            "A.csv",
            {"encoding": "utf-8"},
            (HEADER + ROW).encode() + b"\xe9",
            "line 3 of {path} is not UTF-8: byte 1 of the line is 0xe9",
        ),
    ],
)
def test_what_the_options_do_not_allow_is_named(
    tmp_path: Path, name: str, options: dict[str, Any], content: str | bytes, message: str
) -> None:
    path = tmp_path / name
    assert error_of(path, content, ReadOptions(**options)) == message.format(path=path)


def test_what_unpacks_to_more_than_the_limit_is_rejected(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.csv", HEADER + ROW * 100_000)
    path = tmp_path / "A.zip"
    assert error_of(path, packed.getvalue(), ReadOptions(limits=FileLimits(unpacked_bytes=1 << 20))) == (
        f"the unpacked data of {path} exceeds STREAMWORKERS_IMPORT_MAX_UNPACKED_MB=1"
    )
    assert sum(len(chunk.rows) for chunk in read_bars_file(path, TIMEFRAMES["day"])) == 100_000


def test_a_zip_with_a_password_is_named(tmp_path: Path) -> None:
    packed = bytearray(zipped(["a.csv"]))
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        packed[packed.index(signature) + place] |= 1
    path = tmp_path / "A.zip"
    assert error_of(path, bytes(packed), ReadOptions()) == f"{path} is a zip with a password; unpack it first"


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (
            parse_columns,
            "date",
            (
                "the column 'date' is not FIELD=COLUMN with a field of symbol, date, time, open, high, low, close,"
                " volume, adjusted"
            ),
        ),
        (parse_columns, "x=1", "the column 'x=1' is not FIELD=COLUMN with a field of symbol, date, time"),
        (parse_delimiter, "ab", "the delimiter 'ab' is not one character, nor one of tab, comma, semicolon, pipe"),
        (parse_delimiter, "5", "the delimiter '5' is not one character"),
        (parse_name_pattern, "day", "the pattern 'day' of a file's name does not have {symbol} in it, once"),
    ],
)
def test_an_option_that_breaks_a_rule_is_named(parse: Any, text: str, message: str) -> None:
    with pytest.raises(BadInputError) as raised:
        parse(text)
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize(("text", "delimiter"), [("tab", "\t"), ("\\t", "\t"), (";", ";"), ("pipe", "|")])
def test_a_delimiter_can_be_named(text: str, delimiter: str) -> None:
    assert parse_delimiter(text) == delimiter
