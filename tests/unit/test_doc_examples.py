"""Every block of Python in the docs, checked by `mypy --strict` as the program that its reader would write."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from patience import patient
from streamworkers.client import SubmittableJob
from streamworkers.client.stubs import write_stubs
from streamworkers.engine.registry import installed_jobs

ROOT = Path(__file__).parent.parent.parent
PAGES = ["README.md", *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))]
_BLOCK = re.compile(r"(?<=^```python\n).*?(?=^```$)", re.DOTALL | re.MULTILINE)
# What the text around the blocks of a page says is there: names of a block before, or of the reader's own program.
AROUND = {
    "docs/guides/client.md": """
from datetime import datetime
from zoneinfo import ZoneInfo
import psycopg
from streamworkers.client import Client
from around import client, run, url
""",
    "docs/guides/loading.md": """
from collections.abc import Iterator
from streamworkers import Provider
from streamworkers.loading.providers.provider import BarsRequest, Page
from streamworkers.market.bars.column_rules import validate_bars
from around import request_rows
""",
    "docs/guides/notifications.md": "from around import connection\n",
    "docs/guides/rules.md": "from around import bars\n",
}
_AROUND = """
from typing import Any
from psycopg import Connection
from streamworkers.client import Client, RunHandle
client: Client
run: RunHandle
url: str
connection: Connection
bars: Any
def request_rows(symbol: str, first: object, last: object) -> Any: ...
"""


def _blocks(page: str) -> list[str]:
    return _BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))


def _stubs() -> str:
    """What `streamworkers jobs stubs` writes of the installed jobs."""
    jobs = [
        SubmittableJob(job.name, job.queue, job.max_attempts, job.item_kind, job.parameters.model_json_schema())
        for job in installed_jobs().values()
    ]
    return write_stubs(jobs)


def _write_examples(folder: Path) -> int:
    """Write each block as a module of its own, and what they import; returns their number."""
    jobs = {
        "my_jobs/price_range.py": _blocks("docs/tutorial.md")[0],
        "my_package/last_close.py": next(block for block in _blocks("README.md") if "class LastClose" in block),
        "pool_jobs.py": _stubs(),
        "around.pyi": _AROUND,
    }
    for name, text in jobs.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).with_name("__init__.py").touch()
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "__init__.py").unlink()
    count = 0
    for page in PAGES:
        stem = re.sub(r"\W", "_", page.removesuffix(".md"))
        for number, block in enumerate(_blocks(page), 1):
            (folder / f"{stem}_{number}.py").write_text(AROUND.get(page, "") + block, encoding="utf-8")
            count += 1
    return count


def _check(folder: Path) -> list[str]:
    """The lines that mypy prints about the files of a folder."""
    # With the options of `make lint`, and so with what it has found out about the product.
    options = [f"--config-file={ROOT / 'pyproject.toml'}", f"--cache-dir={ROOT / '.mypy_cache'}"]
    words = [*options, "--strict", "--no-error-summary", "."]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *words], cwd=folder, capture_output=True, text=True, timeout=patient(300)
    )
    return [line for line in (done.stdout + done.stderr).splitlines() if ": note: " not in line]


@pytest.mark.timeout(400)
def test_every_example_of_the_docs_is_strictly_typed_and_a_wrong_type_is_an_error(tmp_path: Path) -> None:
    assert _write_examples(tmp_path) > 15
    wrong = """
from pool_jobs import ANALYSIS
from streamworkers.client import Client
Client().enqueue("analysis", key=5)
Client().enqueue(ANALYSIS, 5, symbols=["AAPL"])
"""
    (tmp_path / "wrong.py").write_text(wrong, encoding="utf-8")
    found = _check(tmp_path)
    assert [line for line in found if not line.startswith("wrong.py")] == []
    assert {line.split(":")[1] for line in found} == {"4", "5"}, found
