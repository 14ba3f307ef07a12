"""Which pictures are drawn of a scene: boards, themes and widths."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from preview.answers import as_text, page_input
from preview.drawing import Job
from preview.scene import Scene

BOARDS = Path(__file__).parents[2] / "grafana" / "dashboards"
NAMES = [path.stem.removeprefix("streamworkers-") for path in sorted(BOARDS.glob("*.json"))]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Each board in each theme and width, in files of the folder `out`; `is_open`: with collapsed rows."""

    boards: Sequence[str]
    themes: Sequence[str]
    widths: Sequence[int]
    out: Path
    is_open: bool = False


def jobs_of(scene: Scene, wanted: Wanted) -> list[Job]:
    """A job for each picture; its file is named after scene, board, theme and width."""
    jobs = []
    for board in wanted.boards:
        model = json.loads((BOARDS / f"streamworkers-{board}.json").read_text(encoding="utf-8"))
        given = page_input(model, scene)
        for theme, width in product(wanted.themes, wanted.widths):
            name = f"{scene.name}-{board}-{theme}-{width}{'-open' if wanted.is_open else ''}"
            text = as_text({**given, "theme": theme, "width": width, "open": wanted.is_open, "probe": True})
            jobs.append(Job(name, text, wanted.out / f"{name}.png"))
    return jobs
