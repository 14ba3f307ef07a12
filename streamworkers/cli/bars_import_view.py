"""What `streamworkers bars import` prints: assumptions, counts, and rejected rows."""

from pathlib import Path
from typing import Any

import click

from streamworkers.market.files.bars_import import ImportSummary
from streamworkers.names import escape_unseen

_SYMBOLS_SHOWN = 5


def print_trial(result: dict[str, Any], timeframe: str) -> None:
    """Print the result of reading a file without loading it."""
    click.echo(
        f"{result['file']}: {result['valid']:,} {timeframe} bars, {result['rejected']:,} rows rejected; not loaded"
    )
    _print_assumptions({Path(result["file"]): result["assumptions"]})
    for row in result["bars"]:
        volume = "not known" if row["volume"] is None else row["volume"]
        click.echo(
            f"  line {row['line']}: {row['symbol']} {row['time']} open {row['open']} high {row['high']}"
            f" low {row['low']} close {row['close']} volume {volume}"
        )
    for each in result["examples"]:
        click.echo(f"  line {each['line']} rejected, {each['rule']}: {each['detail']}")


def summary_values(summary: ImportSummary) -> dict[str, Any]:
    """Return a summary for `--json`."""
    return {
        "rows_read": summary.rows_read,
        "loaded": summary.loaded,
        "inserted": summary.inserted,
        "updated": summary.updated,
        "unchanged": summary.unchanged,
        "rejected": summary.rejected,
        "marked": summary.marked,
        "rounded_volumes": summary.rounded,
        "symbols": len(summary.symbols),
        "replaced": sorted(summary.replaced),
        "first": summary.first,
        "last": summary.last,
        "assumptions": {str(path): notes for path, notes in summary.assumptions.items() if notes},
        "examples": [
            {"file": str(row.file), "line": row.reject.line, "rule": str(row.reject.rule), "detail": row.reject.detail}
            for row in summary.examples
        ],
    }


def print_import(summary: ImportSummary, timeframe: str, rejects: Path | None) -> None:
    """Print a summary; `rejects` is the file that has all rejected rows."""
    click.echo(
        f"{summary.loaded:,} of {summary.rows_read:,} {timeframe} bars loaded: {len(summary.symbols)} symbols", nl=False
    )
    click.echo(f", {summary.first} to {summary.last}" if summary.loaded else "")
    click.echo(f"  {summary.inserted:,} new, {summary.updated:,} changed, {summary.unchanged:,} unchanged")
    _print_assumptions(summary.assumptions)
    if summary.replaced:
        click.echo(f"  all invented and sample bars of {_join(sorted(summary.replaced))} were deleted before")
    if summary.rounded:
        click.echo(f"  {summary.rounded:,} volumes rounded to whole shares")
    _print_counts("rejected", summary.rejected)
    _print_counts("loaded, but marked", summary.marked)
    for row in summary.examples:
        click.echo(f"    {escape_unseen(row.file.name)} line {row.reject.line}: {row.reject.detail}")
    if summary.rejected:
        click.echo(
            f"  all rejected rows: {rejects}" if rejects else "  to write all rejected rows to a file: --rejects FILE"
        )


def print_mixed(symbols: list[str]) -> None:
    """Warn of symbols whose stored bars are adjusted, and of which now are some that may not be."""
    if symbols:
        click.echo(
            f"  warning: a load stored adjusted prices of {len(symbols):,} of these symbols ({_join(symbols)}); those"
            " of the files are stored as they stand"
        )


def _join(symbols: list[str]) -> str:
    return ", ".join(symbols[:_SYMBOLS_SHOWN]) + (", …" if len(symbols) > _SYMBOLS_SHOWN else "")


def _print_counts(title: str, counts: dict[str, int]) -> None:
    if counts:
        click.echo(f"  {sum(counts.values()):,} {title}:")
    for rule, count in sorted(counts.items()):
        click.echo(f"    {count:,} {rule}")


def _print_assumptions(assumptions: dict[Path, dict[str, str]]) -> None:
    """Print what was assumed, once for all files of which it is true."""
    files: dict[tuple[str, str], list[Path]] = {}
    for path, notes in assumptions.items():
        for note in notes.items():
            files.setdefault(note, []).append(path)
    for (subject, text), paths in files.items():
        more = " …" if len(paths) > 1 else ""
        where = "" if len(paths) == len(assumptions) else f" ({escape_unseen(paths[0].name)}{more})"
        click.echo(f"  assumed, {subject}: {text}{where}")
