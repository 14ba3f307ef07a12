"""Puts drawn boards side by side into WebP files, scaled, by the browser that drew them."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from patience import patient
from preview.programs import FOLDER, chromium
from streamworkers.errors import UsageError

_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Tile:
    """One picture, and the words above it."""

    png: str
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Sheet:
    """A file of tiles in columns; `height` is what is shown of a tile, from its top, in pixels of the sheet."""

    webp: Path
    tiles: Sequence[Tile]
    width: int
    columns: int = 1
    height: int | None = None


def write_sheets(sheets: Sequence[Sheet], folder: Path) -> None:
    """Write all; raises UsageError with the browser's words when one could not be written."""
    plan = {
        "chromium": chromium(),
        "limit": round(patient(_SECONDS) * 1000),
        "sheets": [{**asdict(sheet), "webp": str(sheet.webp)} for sheet in sheets],
    }
    path = folder / "sheets.json"
    path.write_text(json.dumps(plan), encoding="utf-8")
    done = subprocess.run(
        ["node", "sheet.mjs", str(path)],
        cwd=FOLDER,
        capture_output=True,
        text=True,
        timeout=patient(_SECONDS),
        check=False,
    )
    if done.returncode != 0:
        raise UsageError(f"pictures could not be put side by side: {done.stderr[-1000:].rstrip()}")
