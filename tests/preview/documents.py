"""The pictures of docs/guides/boards.md: each board on a normal evening, and Tonight on five nights."""

from pathlib import Path

from harness import ServiceUrls
from preview.drawing import draw
from preview.pictures import NAMES, Wanted, jobs_of
from preview.scenes.night import NIGHT_SCENES
from preview.sheet import Sheet, Tile, write_sheets

IMAGES = Path(__file__).parents[2] / "docs" / "images"
# Each night of `preview/evening`, in the words of the guide.
NIGHTS = {
    "evening": "in the middle of a normal evening",
    "quiet": "when all is done",
    "late": "when all takes five times as long",
    "provider": "when the provider of bars is dead",
    "first": "on the first evening of a new installation",
}
_NORMAL = "evening"
_WIDTH, _WIDTH_OF_NIGHTS = 920, 1280
# The tile, the runs that matter and the alerts: what is looked at first.
_HEIGHT_OF_NIGHTS = 272


def draw_documents(urls: ServiceUrls, folder: Path) -> list[Path]:
    """Draw and write all of them; returns their paths."""
    boards = [name for name in NAMES if name != "runbook"]
    for night in NIGHTS:
        own = folder / night
        own.mkdir()
        wanted = Wanted(boards if night == _NORMAL else ["tonight"], ["dark"], [1280], folder)
        with NIGHT_SCENES[night](urls, own) as scene:
            draw(jobs_of(scene, wanted), own)
    drawn = {(night, name): str(folder / f"{night}-{name}-dark-1280.png") for night in NIGHTS for name in boards}
    sheets = [Sheet(IMAGES / f"board-{name}.webp", [Tile(drawn[_NORMAL, name])], _WIDTH) for name in boards]
    tiles = [Tile(drawn[night, "tonight"], f"Tonight, {words}") for night, words in NIGHTS.items()]
    sheets.append(Sheet(IMAGES / "tonight-nights.webp", tiles, _WIDTH_OF_NIGHTS, 2, _HEIGHT_OF_NIGHTS))
    write_sheets(sheets, folder)
    return [sheet.webp for sheet in sheets]
