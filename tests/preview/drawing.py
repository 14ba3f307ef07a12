"""Draws boards in one Chromium, and reads what the page says it has drawn."""

import json
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from patience import patient
from preview.programs import FOLDER, chromium
from streamworkers.errors import UsageError

_SECONDS_EACH = 60.0
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Job:
    """One picture: what is drawn, and where it is written; without a path, only the facts are wanted."""

    name: str
    given: str
    png: Path | None


@dataclass(frozen=True, slots=True)
class Drawing:
    """What a page said about a board that it had drawn."""

    name: str
    panels: list[Json]
    errors: list[str]
    has_rested: bool


def draw(jobs: Sequence[Job], folder: Path, said: Callable[[Drawing], None] = lambda _: None) -> list[Drawing]:
    """Draw all, in the order of the jobs; `said` hears of each as soon as it is done.

    Raises UsageError with the page's words when a board could not be drawn.
    """
    listed = []
    for number, job in enumerate(jobs):
        given = folder / f"input-{number}.json"
        given.write_text(job.given, encoding="utf-8")
        listed.append({"input": str(given), "png": str(job.png) if job.png else None})
    limit = round(patient(_SECONDS_EACH) * 1000)
    plan = {"chromium": chromium(), "limit": limit, "jobs": listed}
    path = folder / "jobs.json"
    path.write_text(json.dumps(plan), encoding="utf-8")
    found: dict[int, Drawing] = {}
    failures: list[str] = []
    with subprocess.Popen(
        ["node", "draw.mjs", str(path)], cwd=FOLDER, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            fact = json.loads(line)
            number = fact["number"]
            if "error" in fact:
                failures.append(f"{jobs[number].name}: {fact['error']}")
                continue
            found[number] = Drawing(jobs[number].name, fact["panels"], fact["errors"], fact["rested"])
            said(found[number])
        words = process.stderr.read()
    if failures or process.returncode != 0 or len(found) != len(jobs):
        raise UsageError(f"boards could not be drawn: {'; '.join(failures)} {words[-1000:]}".rstrip())
    return [found[number] for number in range(len(jobs))]
