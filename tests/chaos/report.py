"""Prints the verdict of a chaos run, and updates the table of docs/reliability.md."""

import re
import statistics
from collections.abc import Mapping
from pathlib import Path

from chaos.plan import Plan
from chaos.verdict import Verdict

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "reliability.md"
_TABLE = re.compile(r"(<!-- chaos table -->\n)(.*?)(<!-- end of chaos table -->)", re.DOTALL)


def print_verdict(plan: Plan, verdict: Verdict) -> None:
    """Print the figures, and every broken guarantee with the histories of its items."""
    print(f"seed {plan.seed}, {plan.supervisors} supervisors of {plan.processes} workers")
    for name, value in rows(plan, verdict).items():
        print(f"{name:<84} {value}")
    for line in (*verdict.histories, *verdict.violations):
        print(line)
    print("clean" if verdict.is_clean else "NOT CLEAN")


def rows(plan: Plan, verdict: Verdict) -> dict[str, str]:
    """The cells of a run in the table, by the text of the first column."""
    figures = {"seconds of faults": f"{plan.seconds:g}"} | {name: str(text) for name, text in verdict.figures.items()}
    recoveries = {f"recovery after `{kind}`": _recovery(times) for kind, times in sorted(verdict.faults.items())}
    return figures | recoveries | {"verdict": "clean" if verdict.is_clean else "**not clean**"}


def _recovery(times: list[float]) -> str:
    """Median and maximum time to the next completed item, and the number of faults that met open work."""
    if not times:
        return "no open work"
    return f"{statistics.median(times):.2f} s, max {max(times):.2f} s ({len(times)})"


def write_report(plan: Plan, verdict: Verdict) -> None:
    """Put a run into the table, in the column of its seed."""
    text = DOCUMENT.read_text(encoding="utf-8")
    found = _TABLE.search(text)
    assert found is not None, f"{DOCUMENT} has no place for the table"
    table = with_column(found[2], f"seed {plan.seed}", rows(plan, verdict))
    DOCUMENT.write_text(text[: found.start(2)] + table + text[found.end(2) :], encoding="utf-8")


def with_column(table: str, title: str, column: Mapping[str, str]) -> str:
    """A Markdown table with a column added, or replaced if it has one of that title."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line]
    titles = lines[0][1:] if lines else []
    known = {line[0]: dict(zip(titles, line[1:], strict=True)) for line in lines[2:]}
    titles = sorted({*titles, title}, key=lambda name: (len(name), name))
    written = [["", *titles], ["---"] * (len(titles) + 1)]
    for name in [*column, *(name for name in known if name not in column)]:
        cells = known.get(name, {}) | {title: column.get(name, "")}
        written.append([name, *(cells.get(other, "") for other in titles)])
    return "".join(f"| {' | '.join(cells)} |\n" for cells in written)
