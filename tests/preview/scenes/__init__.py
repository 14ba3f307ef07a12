"""The scenes that boards are drawn of, by name."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from harness import ServiceUrls
from preview.scene import Scene
from preview.scenes.busy import busy
from preview.scenes.night import NIGHT_SCENES

Open = Callable[[ServiceUrls, Path], AbstractContextManager[Scene]]

SCENES: dict[str, Open] = {"busy": busy, **NIGHT_SCENES}
