"""`python -m grafana` writes the boards; `--check` lists the committed ones that differ and exits 1 if any does."""

import argparse
import sys
from pathlib import Path

from grafana.boards import all_boards

FOLDER = Path(__file__).parent / "dashboards"


def differing(folder: Path) -> list[str]:
    """Names of files that are missing, out of date, or belong to no board."""
    wanted = {f"{board.uid}.json": board.text() for board in all_boards()}
    there = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.json")}
    return sorted(name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name))


def write(folder: Path) -> list[str]:
    """Write files that differ, remove files of no board, and return the names of both."""
    folder.mkdir(parents=True, exist_ok=True)
    changed = differing(folder)
    wanted = {f"{board.uid}.json": board.text() for board in all_boards()}
    for name in changed:
        if name in wanted:
            (folder / name).write_text(wanted[name], encoding="utf-8")
        else:
            (folder / name).unlink()
    return changed


def main(arguments: list[str] | None = None) -> int:
    """Write or check the boards; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m grafana", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a file differs")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    options = parser.parse_args(arguments)
    names = differing(options.folder) if options.check else write(options.folder)
    for name in names:
        sys.stdout.write(f"{name} {'differs: run `python -m grafana`' if options.check else 'written'}\n")
    return 1 if options.check and names else 0


if __name__ == "__main__":
    sys.exit(main())
