"""A bars file is read as a stream: its columns found, its dirt named, its defects rejected."""

import gzip
from pathlib import Path

import pytest

from streamworkers.errors import BadInputError
from streamworkers.market.bars.text_rows import BarRows, Reject
from streamworkers.market.calendar.timeframes import TIMEFRAMES
from streamworkers.market.files import csv_lines
from streamworkers.market.files.bars_file import read_bars_file

DAY = TIMEFRAMES["day"]
HEADER = "symbol,date,open,high,low,close,volume\n"
ROW = "AAPL,2024-01-02,10.10,12,9,11,100\n"


def written(directory: Path, content: str | bytes, name: str = "bars.csv") -> Path:
    path = directory / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read_all(path: Path) -> tuple[list[BarRows], list[Reject]]:
    chunks = list(read_bars_file(path, DAY))
    return [chunk.rows for chunk in chunks], [reject for chunk in chunks for reject in chunk.rejects]


def test_columns_are_found_in_any_order_and_case(tmp_path: Path) -> None:
    path = written(tmp_path, "\ufeffVolume, CLOSE,low,extra,High,Open,DateTime,Symbol\r\n7,3,1,x,4,2,2024-01-02,NA\r\n")
    rows, rejects = read_all(path)
    assert rows == [BarRows([2], ["NA"], ["2024-01-02"], ["2"], ["4"], ["1"], ["3"], ["7"])]
    assert rejects == []


def test_gzip_is_unpacked_with_its_byte_order_mark(tmp_path: Path) -> None:
    path = written(tmp_path, gzip.compress(("\ufeff" + HEADER + ROW).encode()), "bars.csv.gz")
    assert read_all(path)[0][0].open == ["10.10"]


def test_rows_of_another_width_or_with_broken_quotes_spoil_only_themselves(tmp_path: Path) -> None:
    path = written(tmp_path, HEADER + '"A",2024-01-02,1,2,1,2,5\n\nA,2\n"B,2024-01-02,1,2,1,2,5\n' + ROW)
    rows, rejects = read_all(path)
    assert rows[0].symbols == ["A", "AAPL"]
    assert rows[0].lines == [2, 6]
    assert [(reject.line, reject.rule, reject.detail, reject.row) for reject in rejects] == [
        (4, "field_count", "the row has 2 fields where the header has 7", "A,2"),
        (5, "bad_quotes", "the quotes of the row do not match: one is not closed", '"B,2024-01-02,1,2,1,2,5'),
    ]


def test_lines_keep_their_numbers_over_the_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_lines, "BLOCK_BYTES", 64)
    path = written(tmp_path, HEADER + ROW * 20 + "bad\n" + ROW.rstrip())
    rows, rejects = read_all(path)
    assert [line for chunk in rows for line in chunk.lines] == [*range(2, 22), 23]
    assert [reject.line for reject in rejects] == [22]


def test_progress_counts_compressed_bytes_to_the_end(tmp_path: Path) -> None:
    path = written(tmp_path, gzip.compress((HEADER + ROW * 1000).encode()), "bars.csv.gz")
    seen: list[int] = []
    list(read_bars_file(path, DAY, seen.append))
    assert seen[-1] == path.stat().st_size


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("e.csv", b"", "{path} is empty; its first line must name the columns"),
        ("e.csv.gz", b"", "{path} is empty; its first line must name the columns"),
        (
            "m.csv",
            b"symbol,open,high,low,close\n",
            (
                "{path} has no column date; its first line must name symbol, date, open, high, low, close, volume"
                " and names 'symbol, open, high, low, close'; other names are given with --columns"
            ),
        ),
        ("d.csv", HEADER[:-1].encode() + b",open\n", "{path} has the column open more than once"),
        (
            "t.csv",
            HEADER[:-1].encode() + b",timestamp\n",
            "{path} has more than one time column: date, timestamp; keep one",
        ),
        ("q.csv", b'"symbol,date\n', "the quotes of the header of {path} do not match: one is not closed"),
        (
            "r.csv",
            b'"symbol"x,date\n',
            "the quotes of the header of {path} do not match: something stands behind a closed one",
        ),
        ("z.csv", gzip.compress(b"", mtime=0), "{path} is empty; its first line must name the columns"),
        (
            "u.csv",
            (HEADER + ROW + "Ä").encode() + b"A\xff",
            "line 3 of {path} is not UTF-8: byte 4 of the line is 0xff",
        ),
        (
            "c.csv.gz",
            gzip.compress((HEADER + ROW).encode(), mtime=0)[:-9],
            "{path} is cut off: its gzip data stops before its end mark",
        ),
        (
            "g.csv.gz",
            gzip.compress((HEADER + ROW).encode(), mtime=0) + b"garbage",
            "{path} is not a whole gzip file: Not a gzipped file (b'ga')",
        ),
        (
            "l.csv",
            HEADER.encode() + b"x" * 600_000,
            "line 2 of {path} exceeds STREAMWORKERS_IMPORT_MAX_LINE_BYTES=262144",
        ),
    ],
)
def test_a_defective_file_is_rejected_by_name(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = written(tmp_path, content, name)
    with pytest.raises(BadInputError) as raised:
        read_all(path)
    assert str(raised.value) == message.format(path=path)


def test_damaged_gzip_is_rejected_by_name(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress((HEADER + ROW).encode()))
    packed[10:40] = b"\xff" * 30
    path = written(tmp_path, bytes(packed), "bars.csv.gz")
    with pytest.raises(BadInputError, match="is damaged: its gzip data cannot be unpacked"):
        read_all(path)


def test_a_missing_file_is_rejected_by_name(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"none\.csv cannot be read: No such file or directory"):
        read_all(tmp_path / "none.csv")
