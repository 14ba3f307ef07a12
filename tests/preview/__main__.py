"""`python -m preview`: draws the committed boards into a folder as PNG files."""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from preview.answers import as_text, page_input
from preview.drawing import Drawing, Job, draw
from preview.findings import find_faults, share_of_cut_cells
from preview.programs import prepare
from preview.scene import Scene
from preview.scenes import SCENES
from services import running_services
from streamworkers.errors import UsageError

ROOT = Path(__file__).parents[2]
BOARDS = ROOT / "grafana" / "dashboards"
NAMES = [path.stem.removeprefix("streamworkers-") for path in sorted(BOARDS.glob("*.json"))]
THEMES, WIDTHS = ("dark", "light"), (1280, 1920)


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw what was asked for, one line for each picture; returns the exit code."""
    words = _parser().parse_args(arguments)
    try:
        prepare()
        if words.install:
            return 0
        words.out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="preview-") as folder, running_services() as urls:
            for name in words.scene or SCENES:
                own = Path(folder, name)
                own.mkdir()
                with SCENES[name](urls, own) as scene:
                    draw(_jobs(scene, words), own, _say)
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
    parser.add_argument("--out", type=Path, default=ROOT / ".preview", help="the folder of the pictures")
    return parser


def _jobs(scene: Scene, words: argparse.Namespace) -> list[Job]:
    jobs = []
    for board in words.board or NAMES:
        model = json.loads((BOARDS / f"streamworkers-{board}.json").read_text(encoding="utf-8"))
        given = page_input(model, scene)
        for theme, width in product(words.theme or THEMES, words.width or WIDTHS):
            name = f"{scene.name}-{board}-{theme}-{width}{'-open' if words.open else ''}"
            text = as_text({**given, "theme": theme, "width": width, "open": words.open, "probe": True})
            jobs.append(Job(name, text, words.out / f"{name}.png"))
    return jobs


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
