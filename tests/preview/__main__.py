"""`python -m preview`: draws the committed boards into a folder as PNG files."""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from preview.documents import draw_documents
from preview.drawing import Drawing, draw
from preview.findings import find_faults, share_of_cut_cells
from preview.pictures import NAMES, Wanted, jobs_of
from preview.programs import prepare
from preview.scenes import SCENES
from services import running_services
from streamworkers.errors import UsageError

ROOT = Path(__file__).parents[2]
THEMES, WIDTHS = ("dark", "light"), (1280, 1920)


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw what was asked for, one line for each picture; returns the exit code."""
    words = _parser().parse_args(arguments)
    try:
        prepare()
        if words.install:
            return 0
        words.out.mkdir(parents=True, exist_ok=True)
        wanted = Wanted(words.board or NAMES, words.theme or THEMES, words.width or WIDTHS, words.out, words.open)
        with tempfile.TemporaryDirectory(prefix="preview-") as folder, running_services() as urls:
            if words.documents:
                written = draw_documents(urls, Path(folder))
                sys.stdout.write("".join(f"{path.stat().st_size // 1024:4} KiB  {path}\n" for path in written))
                return 0
            for name in words.scene or SCENES:
                own = Path(folder, name)
                own.mkdir()
                with SCENES[name](urls, own) as scene:
                    draw(jobs_of(scene, wanted), own, _say)
    except UsageError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"the pictures are in {words.out}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m preview", description=__doc__)
    parser.add_argument("--scene", action="append", choices=list(SCENES), help="may be repeated; without it, all")
    parser.add_argument("--board", action="append", choices=NAMES, help="may be repeated; without it, all")
    parser.add_argument("--theme", action="append", choices=THEMES, help="without it, both")
    parser.add_argument("--width", action="append", type=int, metavar="PIXELS", help="without it, 1280 and 1920")
    parser.add_argument("--open", action="store_true", help="with the panels of collapsed rows")
    parser.add_argument("--install", action="store_true", help="only install what draws the boards")
    parser.add_argument("--documents", action="store_true", help="only the pictures of docs/guides/boards.md")
    parser.add_argument("--out", type=Path, default=ROOT / ".preview", help="the folder of the pictures")
    return parser


def _say(drawing: Drawing) -> None:
    sys.stdout.write(
        f"{drawing.name}: {len(drawing.panels)} panels, {share_of_cut_cells(drawing.panels):.0%} cells cut\n"
    )
    board = f"streamworkers-{drawing.name.split('-')[1]}"
    for fault in find_faults(board, drawing):
        sys.stdout.write(f"  {fault.panel or 'the board'}: {fault.text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
