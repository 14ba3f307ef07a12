"""What draws the boards: node with Grafana's packages, the page made of them, and Chromium."""

import hashlib
import os
import re
import shutil
from pathlib import Path

from debian_packages import locked, output_of
from streamworkers.errors import UsageError

FOLDER = Path(__file__).parents[2] / "grafana" / "preview"
LEAST_NODE = 20
_NPM_SECONDS = 900.0
_APT_SECONDS = 900.0
_BUILD_SECONDS = 120.0
_SOURCES = ("package-lock.json", "build.mjs", "page/**/*.ts", "page/**/*.tsx", "page/*.html")


def missing() -> str | None:
    """What this machine lacks to draw at once, with nothing installed; None if nothing."""
    if shutil.which("node") is None:
        return "node is not installed"
    if shutil.which("chromium") is None:
        return "chromium is not installed"
    if not _modules_are_there():
        return "Grafana's packages are not installed: `make dashboards-preview` does it"
    return None


def prepare() -> None:
    """Install what is missing and make the page. Raises UsageError that says what to install."""
    with locked(FOLDER / "preview.lock"):
        _require_node()
        _require_chromium()
        if not _modules_are_there():
            output_of(["npm", "ci", "--ignore-scripts"], FOLDER, _NPM_SECONDS)
            (FOLDER / "node_modules" / ".lock-sum").write_text(_sum_of("package-lock.json"), encoding="utf-8")
        built, wanted = FOLDER / "dist" / ".sum", _sum_of(*_SOURCES)
        if not built.is_file() or built.read_text(encoding="utf-8") != wanted:
            output_of(["node", "build.mjs"], FOLDER, _BUILD_SECONDS)
            built.write_text(wanted, encoding="utf-8")


def chromium() -> str:
    """The browser's program. Raises UsageError where there is none."""
    found = shutil.which("chromium")
    if found is None:
        raise UsageError("chromium is not installed: `apt-get install chromium`")
    return found


def _require_node() -> None:
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise UsageError(
            f"node {LEAST_NODE} or newer and npm, which draw the boards, are not on the PATH: install them, from"
            " nodejs.org or your system's packages"
        )
    version = output_of(["node", "--version"], FOLDER, 60).strip()
    if int(re.sub(r"^v(\d+).*", r"\1", version)) < LEAST_NODE:
        raise UsageError(f"node {version} is too old to draw the boards: install version {LEAST_NODE} or newer")


def _require_chromium() -> None:
    if shutil.which("chromium") is not None:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise UsageError(
            "chromium, which draws the boards, is not on the PATH, and only root on a Debian can install it here:"
            " `sudo apt-get install chromium`, or your system's package of this name"
        )
    output_of(["apt-get", "--quiet", "update"], FOLDER, _APT_SECONDS)
    output_of(["apt-get", "--quiet", "--yes", "--no-install-recommends", "install", "chromium"], FOLDER, _APT_SECONDS)


def _modules_are_there() -> bool:
    sum_of_installed = FOLDER / "node_modules" / ".lock-sum"
    return sum_of_installed.is_file() and sum_of_installed.read_text(encoding="utf-8") == _sum_of("package-lock.json")


def _sum_of(*patterns: str) -> str:
    total = hashlib.sha256()
    for pattern in patterns:
        for path in sorted(FOLDER.glob(pattern)):
            total.update(path.read_bytes())
    return total.hexdigest()
