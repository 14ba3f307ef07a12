"""The provider `csv`: which file it reads, whose bars it gives, what it rejects, and in which words."""

import gzip
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamworkers.config import Settings
from streamworkers.errors import UsageError
from streamworkers.loading.fetch import run_fetch
from streamworkers.loading.fetch_plan import Fetch
from streamworkers.loading.load_rules import LoadRules, Span
from streamworkers.loading.plan import Want
from streamworkers.loading.providers import csv_files
from streamworkers.loading.providers.csv_files import CsvFiles
from streamworkers.loading.providers.provider import BarsRequest, Page, SourceError, TransientError, UnsupportedError
from streamworkers.market.bars.bars import Bars
from streamworkers.market.bars.rules import Rule
from streamworkers.market.bars.text_rows import RowChunk
from streamworkers.market.calendar.timeframes import TIMEFRAMES, Timeframe
from streamworkers.market.calendar.windows import moment_of
from streamworkers.market.files.bars_file import read_bars_file

MINUTE, HOUR, DAY, WEEK, MONTH = TIMEFRAMES.values()
FIRST, LAST = date(2025, 11, 24), date(2025, 11, 28)
HEADER = "date,open,high,low,close,volume\n"
WITH_SYMBOL = "symbol,date,open,high,low,close,volume\n"


def provider(path: Path | str) -> CsvFiles:
    return CsvFiles(Settings(csv_path=str(path)))


def asked(symbol: str = "AAPL", frame: Timeframe = DAY, first: date = FIRST, last: date = LAST) -> BarsRequest:
    return BarsRequest(symbol, frame, first, last)


def page(source: CsvFiles, question: BarsRequest) -> Page:
    (found,) = source.pages(question)
    assert found.cursor is None
    return found


def moments(frame: Timeframe, bars: Bars) -> list[str]:
    return [moment_of(frame, start).isoformat() for start in bars.starts.tolist()]


def row(day: str, price: float = 10.0, symbol: str = "") -> str:
    return f"{symbol}{',' if symbol else ''}{day},{price},{price + 2},{price - 1},{price + 1},100\n"


def rejection(source: CsvFiles, question: BarsRequest, kind: type[Exception] = UnsupportedError) -> str:
    with pytest.raises(kind) as raised:
        list(source.pages(question))
    assert type(raised.value) is kind
    return str(raised.value)


def unusable(template: Path | str) -> str:
    with pytest.raises(UsageError) as raised:
        provider(template)
    return str(raised.value)


def test_a_symbolic_link_is_followed_within_the_folder_only(tmp_path: Path) -> None:
    folder = tmp_path / "bars"
    (folder / "day").mkdir(parents=True)
    (tmp_path / "secret").write_text("root:secret:1\n")
    (folder / "day" / "A.csv").write_text(HEADER + row("2025-11-24"))
    (folder / "day" / "B.csv").symlink_to("A.csv")
    (folder / "day" / "C.csv").symlink_to("../../secret")
    os.mkfifo(folder / "day" / "D.csv")
    source = provider(folder)
    assert len(page(source, asked("B")).bars) == 1
    path = folder / "day" / "C.csv"
    assert rejection(source, asked("C")) == f"{path} is a symbolic link that leads out of {folder}"
    assert "there is no file" in rejection(source, asked("D"))


def test_a_folder_holds_a_file_for_each_timeframe_and_symbol_plain_or_packed(tmp_path: Path) -> None:
    (tmp_path / "day").mkdir()
    (tmp_path / "hour").mkdir()
    (tmp_path / "day" / "AAPL.csv").write_text(HEADER + row("2025-11-24", 10) + row("2025-11-25", 11))
    packed = gzip.compress((HEADER.replace("date", "timestamp") + row("2025-11-24 09:30:00", 12)).encode())
    (tmp_path / "hour" / "AAPL.csv.gz").write_bytes(packed)
    source = provider(tmp_path)
    days, hours = page(source, asked()), page(source, asked(frame=HOUR))
    assert moments(DAY, days.bars) == ["2025-11-24", "2025-11-25"]
    assert [days.bars.open.tolist(), days.bars.high.tolist()] == [[10.0, 11.0], [12.0, 13.0]]
    assert [days.bars.low.tolist(), days.bars.close.tolist()] == [[9.0, 10.0], [11.0, 12.0]]
    assert days.bars.volume.tolist() == [100, 100]
    assert moments(HOUR, hours.bars) == ["2025-11-24T14:30:00+00:00"]


@pytest.mark.parametrize(
    "template", ["{symbol}.csv", "{timeframe}-{symbol}.csv", "{timeframe}.csv", "all.csv", "{symbol}/{timeframe}.csv"]
)
def test_a_path_names_the_file_by_symbol_and_timeframe_or_one_for_all(tmp_path: Path, template: str) -> None:
    path = tmp_path / template.format(symbol="BRK.B", timeframe="day")
    path.parent.mkdir(exist_ok=True)
    path.write_text(WITH_SYMBOL + row("2025-11-24", 10, "BRK.B"))
    assert moments(DAY, page(provider(tmp_path / template), asked("BRK.B")).bars) == ["2025-11-24"]


def test_only_the_asked_range_is_given_with_whole_weeks_and_months(tmp_path: Path) -> None:
    days = [FIRST + timedelta(days=number) for number in range(-40, 41)]
    (tmp_path / "AAPL.csv").write_text(HEADER + "".join(row(day.isoformat()) for day in days))
    source = provider(tmp_path / "{symbol}.csv")
    found = {
        frame.name: moments(frame, page(source, asked(frame=frame, first=LAST, last=LAST)).bars)
        for frame in (DAY, WEEK, MONTH)
    }
    assert found["day"] == ["2025-11-28"]
    assert found["week"] == ["2025-11-24"]
    assert found["month"] == ["2025-11-01"]
    assert len(page(source, asked(first=date(2020, 1, 1), last=date(2020, 2, 1))).bars) == 0


def test_a_day_of_minutes_is_that_of_new_york(tmp_path: Path) -> None:
    stamps = ["2025-11-24T04:59:00Z", "2025-11-24T05:00:00Z", "2025-11-25T04:59:00Z", "2025-11-25T05:00:00Z"]
    (tmp_path / "AAPL.csv").write_text(HEADER + "".join(map(row, stamps)))
    bars = page(provider(tmp_path / "{symbol}.csv"), asked(frame=MINUTE, last=FIRST)).bars
    assert moments(MINUTE, bars) == ["2025-11-24T05:00:00+00:00", "2025-11-25T04:59:00+00:00"]


def test_rows_are_put_in_order_and_the_last_of_several_for_one_time_counts(tmp_path: Path) -> None:
    rows = [("2025-11-26", 13), ("2025-11-24", 10), ("2025-11-26", 19), ("2025-11-25", 11)]
    (tmp_path / "AAPL.csv").write_text(HEADER + "".join(row(day, price) for day, price in rows))
    bars = page(provider(tmp_path / "{symbol}.csv"), asked()).bars
    assert moments(DAY, bars) == ["2025-11-24", "2025-11-25", "2025-11-26"]
    assert bars.open.tolist() == [10.0, 11.0, 19.0]


def test_rows_that_break_a_rule_are_rejected_with_their_line_and_the_rest_is_given(tmp_path: Path) -> None:
    bad = "2025-11-25,10,9,8,10,100\n2025-11-26,ten,11,9,10,100\n2025-11-27,10\n"
    (tmp_path / "AAPL.csv").write_text(HEADER + row("2025-11-24") + bad + row("2025-11-28"))
    found = page(provider(tmp_path / "{symbol}.csv"), asked())
    assert moments(DAY, found.bars) == ["2025-11-24", "2025-11-28"]
    assert [(one.line, one.rule, one.detail) for one in found.rejected] == [
        (3, Rule.HIGH_TOO_LOW, "high 9 is below open 10"),
        (4, Rule.BAD_NUMBER, "open 'ten' is not a number"),
        (5, Rule.FIELD_COUNT, "the row has 2 fields where the header has 6"),
    ]


def test_a_price_ten_times_its_neighbours_is_rejected_whatever_range_is_asked_for(tmp_path: Path) -> None:
    days = zip(["2025-11-24", "2025-11-25", "2025-11-26", "2025-11-28"], [10, 11, 110, 12], strict=True)
    (tmp_path / "AAPL.csv").write_text(HEADER + "".join(row(day, price) for day, price in days))
    found = page(provider(tmp_path / "{symbol}.csv"), asked(first=date(2025, 11, 26)))
    assert moments(DAY, found.bars) == ["2025-11-28"]
    assert [(one.rule, one.detail) for one in found.rejected] == [
        (
            Rule.PRICE_SPIKE,
            "AAPL at 2025-11-26: high 112 is 9.33 times its neighbours, which close at 12 and 13",
        )
    ]


def test_the_provider_takes_the_layouts_of_an_import(tmp_path: Path) -> None:
    (tmp_path / "AAPL.csv").write_text(
        "Date,Close/Last,Volume,Open,High,Low\n11/25/2025,$11.00,N/A,$10.00,$12.00,$9.00\n"
    )
    found = page(provider(tmp_path / "{symbol}.csv"), asked())
    assert (moments(DAY, found.bars), found.bars.close.tolist(), found.bars.volume.tolist()) == (
        ["2025-11-25"],
        [11.0],
        [-1],
    )


def test_of_a_file_of_many_symbols_each_gets_its_own_rows_and_rejections(tmp_path: Path) -> None:
    path = tmp_path / "all.csv"
    days = ["2025-11-24", "2025-11-25", "2025-11-26"]
    lines = [row(day, 10 + number, symbol) for number, day in enumerate(days) for symbol in ("AAPL", "MSFT", "NA")]
    path.write_text(WITH_SYMBOL + "".join(lines) + "MSFT,2025-11-28,10,9,8,10,100\n")
    source = provider(path)
    found = {symbol: page(source, asked(symbol)) for symbol in ("AAPL", "MSFT", "NA", "IBM")}
    assert {symbol: len(one.bars) for symbol, one in found.items()} == {"AAPL": 3, "MSFT": 3, "NA": 3, "IBM": 0}
    assert found["NA"].bars.open.tolist() == [10.0, 11.0, 12.0]
    assert {symbol: [reject.line for reject in one.rejected] for symbol, one in found.items()} == {
        "AAPL": [],
        "MSFT": [11],
        "NA": [],
        "IBM": [],
    }
    source.close()


def test_one_file_read_for_two_timeframes_is_judged_by_each(tmp_path: Path) -> None:
    path = tmp_path / "all.csv"
    path.write_text(WITH_SYMBOL + row("2025-11-24", 10, "AAPL"))
    source = provider(path)
    assert len(page(source, asked()).bars) == 1
    minutes = page(source, asked(frame=MINUTE))
    assert len(minutes.bars) == 0
    assert [(one.rule, one.detail) for one in minutes.rejected] == [
        (Rule.BAD_TIME, "'2025-11-24' is a date; an intraday bar needs a time of day")
    ]
    assert len(page(source, asked()).bars) == 1


def test_a_file_of_many_symbols_is_read_again_once_it_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "all.csv"
    path.write_text(WITH_SYMBOL + row("2025-11-24", 10, "AAPL"))
    source = provider(path)
    assert len(page(source, asked()).bars) == 1
    path.write_text(WITH_SYMBOL + row("2025-11-24", 10, "AAPL") + row("2025-11-25", 10, "AAPL"))
    assert len(page(source, asked()).bars) == 2


def test_threads_that_ask_at_once_get_each_their_symbol(tmp_path: Path) -> None:
    path = tmp_path / "all.csv"
    symbols = [f"S{number:03d}" for number in range(60)]
    days = [(FIRST + timedelta(days=number)).isoformat() for number in range(5)]
    path.write_text(
        WITH_SYMBOL + "".join(row(day, 10 + place, symbol) for day in days for place, symbol in enumerate(symbols))
    )
    source = provider(path)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda symbol: page(source, asked(symbol)).bars, symbols))
    assert [set(bars.open.tolist()) for bars in found] == [{10.0 + place} for place in range(60)]
    assert {len(bars) for bars in found} == {5}


@settings(max_examples=40)
@given(st.lists(st.tuples(st.sampled_from("ABC"), st.integers(0, 30)), min_size=1, max_size=60))
def test_every_symbol_gets_what_its_own_file_would_give(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, int]]
) -> None:
    folder = tmp_path_factory.mktemp("csv")
    days = [(symbol, (FIRST + timedelta(days=day)).isoformat(), 10 + n) for n, (symbol, day) in enumerate(rows)]
    (folder / "all.csv").write_text(WITH_SYMBOL + "".join(row(day, price, symbol) for symbol, day, price in days))
    for symbol in "ABC":
        own = "".join(row(day, price) for other, day, price in days if other == symbol)
        (folder / f"{symbol}.csv").write_text(HEADER + own)
    together, apart = provider(folder / "all.csv"), provider(folder / "{symbol}.csv")
    for symbol in "ABC":
        question = asked(symbol, last=date(2025, 12, 31))
        left, right = page(together, question).bars, page(apart, question).bars
        assert left.pack() == right.pack()


def test_weeks_are_made_of_the_days_of_a_file_and_days_without_a_session_are_left_out(tmp_path: Path) -> None:
    days = [FIRST + timedelta(days=number) for number in range(7)]
    (tmp_path / "AAPL.csv").write_text(
        HEADER + "".join(row(day.isoformat(), 10 + number) for number, day in enumerate(days))
    )
    wants = tuple(Want(number, "AAPL", frame, Span(FIRST, LAST)) for number, frame in enumerate((DAY, WEEK)))
    fetch = Fetch(asked(last=date(2025, 11, 30)), wants)
    rules = LoadRules(datetime(2025, 12, 1, tzinfo=UTC))
    day, week = run_fetch(fetch, provider(tmp_path / "{symbol}.csv"), rules, (), lambda: False, lambda pages: None)
    assert (day.spool.count, day.off_session, day.missing, day.rejected) == (4, 3, 0, Counter())
    (bars,) = (part for part in week.spool if len(part))
    assert (moments(WEEK, bars), bars.open.tolist(), bars.close.tolist()) == (["2025-11-24"], [10.0], [15.0])
    assert bars.volume.tolist() == [400]


def test_without_a_path_the_provider_says_what_it_needs() -> None:
    with pytest.raises(UsageError) as raised:
        CsvFiles(Settings())
    assert str(raised.value) == "the provider csv needs a folder, a file or a path in STREAMWORKERS_CSV_PATH"


@pytest.mark.parametrize("symbol", ["../../etc/passwd", "A/B", ".hidden", ".."])
def test_a_symbol_never_leads_out_of_the_folder(tmp_path: Path, symbol: str) -> None:
    assert rejection(provider(tmp_path), asked(symbol)) == f"the symbol {symbol!r} is not a file name"


@pytest.mark.parametrize(
    "template", ["{name}.csv", "{}.csv", "{symbol.csv", "{symbol.x}.csv", "{symbol[x]}.csv", "{timeframe:d}.csv"]
)
def test_other_braces_in_the_path_are_rejected(template: str) -> None:
    assert unusable(template) == (
        f"STREAMWORKERS_CSV_PATH={template!r}: only {{symbol}} and {{timeframe}} are allowed in braces"
    )


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert rejection(provider(tmp_path), asked()) == f"there is no folder {tmp_path}/day"
    (tmp_path / "day").mkdir()
    assert rejection(provider(tmp_path), asked()) == f"there is no file {tmp_path}/day/AAPL.csv or AAPL.csv.gz"
    long = "A" * 300
    text = rejection(provider(tmp_path), asked(long))
    assert text.startswith(f"{tmp_path}/{{timeframe}}/{{symbol}}.csv cannot be read: [Errno 36] File name too long: ")


def test_a_path_at_which_no_symbol_has_bars_is_rejected_as_a_whole(tmp_path: Path) -> None:
    gone = tmp_path / "none" / "{symbol}.csv"
    assert unusable(gone) == f"STREAMWORKERS_CSV_PATH={str(gone)!r}: there is no folder {tmp_path}/none"
    assert rejection(provider(tmp_path / "{symbol}.csv"), asked()).startswith("there is no file ")
    gone = tmp_path / "all.csv"
    assert unusable(gone) == f"STREAMWORKERS_CSV_PATH={str(gone)!r}: there is no file {gone} or all.csv.gz"


def test_the_file_of_one_symbol_may_hold_no_other(tmp_path: Path) -> None:
    (tmp_path / "AAPL.csv").write_text(WITH_SYMBOL + row("2025-11-24", 10, "AAPL") + row("2025-11-24", 10, "IBM"))
    message = f"{tmp_path}/AAPL.csv holds bars of 'IBM', not only of 'AAPL'"
    assert rejection(provider(tmp_path / "{symbol}.csv"), asked()) == message


@pytest.mark.parametrize(
    ("template", "kind"),
    [("{symbol}.csv", UnsupportedError), ("AAPL.csv", SourceError), ("{timeframe}.csv", UnsupportedError)],
)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "{path} is empty; its first line must name the columns"),
        (b"\x1f\x8b", "{path} is cut off: its gzip data stops before its end mark"),
        (WITH_SYMBOL.encode() + b"\x81\n", "line 2 of {path} is not UTF-8 or Windows-1252: byte 1 of the line is 0x81"),
    ],
)
def test_a_file_that_cannot_be_read_says_why_and_concerns_those_it_is_for(
    tmp_path: Path, template: str, kind: type[Exception], content: bytes, message: str
) -> None:
    path = tmp_path / template.format(symbol="AAPL", timeframe="day")
    path.write_bytes(content)
    assert rejection(provider(tmp_path / template), asked(), kind) == message.format(path=path)


@pytest.mark.parametrize(("template", "kind"), [("all.csv", SourceError), ("{timeframe}.csv", UnsupportedError)])
def test_a_broken_file_of_many_symbols_is_read_once_until_it_changes(
    tmp_path: Path, template: str, kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / template.format(timeframe="day")
    path.write_text("a,b\n1,2\n")
    source = provider(tmp_path / template)
    reads: list[Path] = []

    def counted(path: Path, *words: Any, **options: Any) -> Iterator[RowChunk]:
        reads.append(path)
        yield from read_bars_file(path, *words, **options)

    monkeypatch.setattr(csv_files, "read_bars_file", counted)
    assert len({rejection(source, asked(f"S{number}"), kind) for number in range(5)}) == 1
    assert len(reads) == 1
    path.write_text(WITH_SYMBOL + row("2025-11-24", 10, "AAPL"))
    assert len(page(source, asked()).bars) == 1
    assert len(page(source, asked("IBM")).bars) == 0
    assert len(reads) == 2


@pytest.mark.parametrize("template", ["{symbol}.csv", "{timeframe}/{symbol}.csv", "all.csv"])
def test_a_folder_that_is_gone_while_a_run_goes_on_concerns_all_of_it(tmp_path: Path, template: str) -> None:
    folder = tmp_path / "bars"
    folder.mkdir()
    (folder / "all.csv").write_text(WITH_SYMBOL)
    source = provider(folder / template)
    folder.rename(tmp_path / "elsewhere")
    message = f"there is no folder {folder} any more, which STREAMWORKERS_CSV_PATH names"
    assert rejection(source, asked(), SourceError) == message


def test_a_file_of_all_symbols_that_is_gone_while_a_run_goes_on_concerns_all_of_it(tmp_path: Path) -> None:
    path = tmp_path / "all.csv"
    path.write_text(WITH_SYMBOL)
    source = provider(path)
    path.unlink()
    assert rejection(source, asked(), SourceError) == f"there is no file {path} or all.csv.gz"


def test_a_folder_that_may_not_be_entered_concerns_all_of_the_run(tmp_path: Path) -> None:
    folder = tmp_path / "bars"
    folder.mkdir()
    source = provider(folder / "{symbol}.csv")
    user = os.geteuid()
    folder.chmod(0)
    try:
        if user == 0:
            os.seteuid(65534)
        text = rejection(source, asked(), SourceError)
        rejected = unusable(folder / "all.csv")
    finally:
        os.seteuid(user)
        folder.chmod(0o700)
    assert text == (f"{folder}/{{symbol}}.csv cannot be read: [Errno 13] Permission denied: '{folder}/AAPL.csv'")
    assert rejected == f"STREAMWORKERS_CSV_PATH='{folder}/all.csv' cannot be read: Permission denied"


@pytest.mark.skipif(not Path("/proc/self/mem").is_file(), reason="needs a file whose reading fails")
@pytest.mark.parametrize("template", ["{symbol}.csv", "AAPL.csv"])
def test_a_disk_that_cannot_be_read_now_may_be_read_later(
    tmp_path: Path, template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_files, "_require_inside", lambda path, folder: None)
    path = tmp_path / "AAPL.csv"
    path.symlink_to("/proc/self/mem")  # the first page of a process is not mapped, so the read fails as on a bad disk
    source = provider(tmp_path / template)
    assert rejection(source, asked(), TransientError) == f"{path} cannot be read: Input/output error"
    path.unlink()
    path.write_text(WITH_SYMBOL + row("2025-11-24", 10, "AAPL"))
    assert len(page(source, asked()).bars) == 1


def test_a_file_of_many_symbols_needs_a_column_for_them(tmp_path: Path) -> None:
    (tmp_path / "all.csv").write_text(HEADER + row("2025-11-24"))
    text = rejection(provider(tmp_path / "all.csv"), asked(), SourceError)
    assert text.startswith(f"{tmp_path}/all.csv has no column symbol,")
