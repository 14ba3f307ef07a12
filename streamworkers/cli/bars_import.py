"""`streamworkers bars import`: its options, and what it prints."""

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from streamworkers.cli.bars_import_view import print_import, print_mixed, print_trial, summary_values
from streamworkers.cli.main import EXIT_FAILED
from streamworkers.cli.session import Session, json_option, messages, print_json
from streamworkers.config import Settings
from streamworkers.errors import BadInputError
from streamworkers.loading.listings import forget_ends
from streamworkers.loading.provenance import read_stored
from streamworkers.market.bars.text_rows import Reject
from streamworkers.market.bars.time_text import EPOCH_UNITS
from streamworkers.market.calendar.sessions import require_calendar
from streamworkers.market.calendar.symbol_calendars import ANY, CalendarRules, read_calendar_rules
from streamworkers.market.calendar.timeframes import Timeframe, timeframe_named
from streamworkers.market.files.bars_file import read_bars_file
from streamworkers.market.files.bars_import import ImportRules, ImportSummary, MostRejected, import_bars
from streamworkers.market.files.layouts import LAYOUT_NAMES
from streamworkers.market.files.limits import FileLimits
from streamworkers.market.files.notes import Notes
from streamworkers.market.files.options import ReadOptions, parse_columns, parse_delimiter, parse_name_pattern
from streamworkers.market.universes.store import add_symbols, require_universe_name

F = TypeVar("F", bound=Callable[..., Any])

_ROWS_SHOWN = 5
_ENCODINGS = {"utf-8": "utf-8", "windows-1252": "cp1252", "latin-1": "latin-1"}


def _checked(function: Callable[[str], Any]) -> Callable[[click.Context, click.Parameter, str | None], Any]:
    # Options are parsed by callbacks, so that a bad value is rejected before anything is read.
    return lambda _context, _parameter, value: None if value is None else function(value)


def _parse_zone(text: str) -> ZoneInfo:
    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise BadInputError(f"the zone {text!r} is not a name such as UTC or America/New_York") from None


def _parse_most_rejected(text: str) -> MostRejected:
    number = text.strip().removesuffix("%").strip()
    is_share = text.strip().endswith("%")
    try:
        if is_share and 0 <= float(number) <= 100:
            return MostRejected(share=float(number) / 100)
        if not is_share and int(number) >= 0:
            return MostRejected(count=int(number))
    except ValueError:
        pass
    raise BadInputError(f"{text!r} is not a number of rows, nor a percentage such as 5%")


universe_option: Callable[[F], F] = click.option(
    "--universe", callback=_checked(require_universe_name), help="Also add the symbols to this universe."
)

_FILE_OPTIONS = (
    click.option(
        "--layout",
        type=click.Choice(LAYOUT_NAMES),
        metavar="NAME",
        help="Layout of the files.  [default: by their header]",
    ),
    click.option("--symbol", help="Symbol of all rows, in a file without a column of symbols."),
    click.option(
        "--symbol-from-name",
        "symbol_in_name",
        metavar="PATTERN",
        callback=_checked(parse_name_pattern),
        help="Take the symbol from the file's name, as in '{symbol}_daily'; * stands for anything.",
    ),
    click.option(
        "--columns",
        metavar="FIELD=COLUMN,…",
        callback=_checked(parse_columns),
        help="Columns by name or number: symbol, date, time, open, high, low, close, volume, adjusted.",
    ),
    click.option("--delimiter", callback=_checked(parse_delimiter), help="Delimiter: one character, or tab."),
    click.option("--decimal", type=click.Choice([".", ","]), help="Decimal mark of numbers.  [default: .]"),
    click.option("--date-format", help="Format of times, as in DD.MM.YYYY HH:MM or %d.%m.%Y."),
    click.option("--time-unit", type=click.Choice(list(EPOCH_UNITS)), help="Unit of times that count from 1970."),
    click.option(
        "--timezone",
        "zone",
        callback=_checked(_parse_zone),
        help="Zone of times without one.  [default: the exchange's]",
    ),
    click.option(
        "--calendar",
        callback=_checked(require_calendar),
        help="Exchange whose sessions bars must be in, or 24/7.  [default: by the symbol's ending, or XNYS]",
    ),
    click.option("--adjusted", is_flag=True, help="Store adjusted prices, where the file has a column of them."),
    click.option("--week-label", type=click.Choice(["start", "end"]), help="What a Sunday says of a week."),
    click.option("--encoding", type=click.Choice(list(_ENCODINGS)), help="Encoding.  [default: by the text]"),
)
_LOAD_OPTIONS = (
    click.option(
        "--duplicates",
        type=click.Choice(["last", "first", "reject"]),
        default="last",
        show_default=True,
        help="Which of several rows for one symbol and time is kept; reject keeps none.",
    ),
    click.option(
        "--max-rejected",
        "--max-refused",
        "most_rejected",
        metavar="NUMBER|PERCENT%",
        callback=_checked(_parse_most_rejected),
        help="Load nothing of a file of which more rows are rejected.",
    ),
    click.option(
        "--rejects", type=click.Path(dir_okay=False, path_type=Path), help="Write rejected rows to this CSV file."
    ),
    click.option("--dry-run", is_flag=True, help="Load nothing; show the first bars and what is assumed."),
)


def _with_options(function: F) -> F:
    for option in reversed((*_FILE_OPTIONS, *_LOAD_OPTIONS)):
        function = option(function)
    return function


@click.command("import", short_help="Import files of bars: CSV in many layouts, plain, gzip or zip.")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--timeframe", default="day", show_default=True, help="Timeframe: 1min, hour, day, week or month.")
@_with_options
@universe_option
@json_option
def import_files(files: tuple[Path, ...], timeframe: str, universe: str | None, as_json: bool, **given: Any) -> int:
    """Import bars from FILES: CSV in many layouts, plain, gzip or zip.

    The header names the columns symbol, date (or timestamp), open, high, low, close and volume, in any order, or is
    that of a known layout. Rows that break a rule are rejected and counted by rule, and --rejects writes them to a
    file with their line numbers. All other rows are loaded. What had to be assumed is printed. The exit code is 1 if
    no row was loaded.
    """
    frame = timeframe_named(timeframe)
    rejects: Path | None = given.pop("rejects")
    if rejects is not None and rejects.exists() and any(rejects.samefile(file) for file in files):
        raise BadInputError(
            f"--rejects {str(rejects)!r} is one of the files to import; it would be overwritten. Name another file"
        )
    is_dry = given.pop("dry_run")
    duplicates, most_rejected = given.pop("duplicates"), given.pop("most_rejected") or MostRejected()
    session = Session.open()
    rules = ImportRules(_read_options(given, session.settings), duplicates, most_rejected)
    if is_dry:
        return _try_files(files, frame, rules.read, as_json)
    summary, adjusted = _import(session, files, frame, rules, rejects=rejects, universe=universe)
    if as_json:
        print_json({**summary_values(summary), "adjusted_before": adjusted})
    else:
        print_import(summary, frame.name, rejects)
        print_mixed(adjusted)
    return 0 if summary.loaded else EXIT_FAILED


def _read_options(given: dict[str, Any], settings: Settings) -> ReadOptions:
    encoding = given.pop("encoding")
    return ReadOptions(
        **{**given, "columns": given["columns"] or {}},
        encoding=None if encoding is None else _ENCODINGS[encoding],
        calendar_rules=CalendarRules({ANY: settings.calendar}),
        limits=FileLimits.of(settings),
    )


def _import(
    session: Session,
    files: tuple[Path, ...],
    frame: Timeframe,
    rules: ImportRules,
    *,
    rejects: Path | None,
    universe: str | None,
) -> tuple[ImportSummary, list[str]]:
    """Import the files; returns the symbols, too, whose series was loaded with adjusted prices before."""
    columns = (TextColumn("importing"), BarColumn(), DownloadColumn(), TextColumn("ETA"), TimeRemainingColumn())
    with (
        session.database() as connection,
        Progress(*columns, console=messages, transient=True) as progress,
    ):
        known = read_calendar_rules(connection, session.settings.calendar)
        rules = replace(rules, read=replace(rules.read, calendar_rules=known))
        bar = progress.add_task("import", total=None)
        summary = import_bars(
            connection,
            files,
            frame,
            rules=rules,
            rejects=rejects,
            progress=lambda done, total: progress.update(bar, completed=done, total=total),
        )
        if universe:
            add_symbols(connection, universe, summary.symbols)
        if known_ends := forget_ends(connection, frame, summary.symbols):
            messages.print(f"bars after the delisting of {', '.join(known_ends)} are stored: it is forgotten")
        stored = {} if rules.read.adjusted else read_stored(connection, frame, sorted(summary.symbols))
    return summary, [symbol for symbol, series in stored.items() if series.kind is not None and series.kind.adjusted]


def _try_files(files: tuple[Path, ...], frame: Timeframe, options: ReadOptions, as_json: bool) -> int:
    """Read the files without a database, and print the first bars of each, the assumptions and the rejected rows.

    Calendars that the database has for symbols are not known then.
    """
    results = [_try_file(path, frame, options) for path in files]
    if as_json:
        print_json(results)
    else:
        for result in results:
            print_trial(result, frame.name)
    return 0 if any(result["valid"] for result in results) else EXIT_FAILED


def _try_file(path: Path, frame: Timeframe, options: ReadOptions) -> dict[str, Any]:
    notes = Notes()
    shown: list[dict[str, Any]] = []
    rejects: list[Reject] = []
    valid = rejected = 0
    for chunk in read_bars_file(path, frame, options=options, notes=notes):
        rows = chunk.rows
        columns = zip(
            rows.lines, rows.symbols, rows.times, rows.open, rows.high, rows.low, rows.close, rows.volume, strict=True
        )
        names = ("line", "symbol", "time", "open", "high", "low", "close", "volume")
        shown += [dict(zip(names, row, strict=True)) for row in islice(columns, _ROWS_SHOWN - len(shown))]
        rejects += chunk.rejects[: _ROWS_SHOWN - len(rejects)]
        valid, rejected = valid + len(rows), rejected + len(chunk.rejects)
    return {
        "file": str(path),
        "valid": valid,
        "rejected": rejected,
        "assumptions": notes.by_subject,
        "bars": [{**row, "volume": None if row["volume"] == r"\N" else row["volume"]} for row in shown],
        "examples": [{"line": each.line, "rule": str(each.rule), "detail": each.detail} for each in rejects],
    }
