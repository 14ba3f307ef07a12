"""The tutorial, followed: its files are written, and each of its commands runs as it stands, in an empty folder.

Only what would install packages from an index is replaced: the folder's environment has those of this one.
"""

import os
import re
import site
import subprocess
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness import wait_until
from leftovers import end_leftovers
from patience import patient

pytestmark = pytest.mark.timeout(900)
PAGE = Path(__file__).parents[3] / "docs" / "tutorial.md"
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
# What needs an index: the environment is made by this test. The editable installation below it is real.
_INSTALLS = ("python3 -m venv", "pip install 'CLONE[")
# Its crash test takes a minute, and is that of tests/integration/testing/test_crash_between.py.
_SHORTENED = {"pytest": "pytest -k 'not each_range_is_saved_once'"}
_SERVES = ("streamworkers worker", "streamworkers scheduler")
# How commands end that are to fail.
_FAILS = {"streamworkers status": 1, "--param dayz=5": 2, "--symbols AAPL,ZZZZ": 1}
_SCRIPTS = {"streamworkers": "-m streamworkers", "pytest": "-m pytest -p no:cacheprovider", "pip": "-m pip"}


def _files(text: str) -> dict[str, str]:
    """The files of the tutorial, by their names, which stand before their blocks."""
    found = {"my_jobs/__init__.py": ""}
    for block in _FENCE.finditer(text):
        named = re.findall(r"`([\w/.]+\.(?:toml|sql|py))`", text[: block.start()].rsplit("```", 1)[-1])
        if block[1] != "console" and named:
            found[named[0]] = block[2]
    found["zzzz.csv"] = re.search(r"^\$ cat zzzz.csv\n(.*?)^\$", text, re.DOTALL | re.MULTILINE)[1]  # type: ignore[index]
    return found


def _commands(text: str) -> list[tuple[str, str]]:
    """Each command and what the tutorial shows of its output."""
    found = []
    for block in _FENCE.finditer(text):
        if block[1] == "console":
            parts = re.split(r"^\$ ", block[2], flags=re.MULTILINE)[1:]
            found += [(part.partition("\n")[0], part.partition("\n")[2]) for part in parts]
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """The folder that the tutorial makes, with an environment in which what it installs is there."""
    made = tmp_path / "my-jobs"
    made.mkdir()
    venv.create(made / ".venv", symlinks=True)
    [packages] = (made / ".venv").glob("lib/python*/site-packages")
    (packages / "installed.pth").write_text(f"import site; site.addsitedir({site.getsitepackages()[0]!r})\n")
    for name, words in _SCRIPTS.items():
        script = made / ".venv" / "bin" / name
        script.write_text(f'#!/bin/sh\nexec "{made}/.venv/bin/python" {words} "$@"\n')
        script.chmod(0o755)
    yield made
    end_leftovers(made / ".streamworkers")


class Terminal:
    """A shell in the folder that keeps its variables from one command to the next."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._variables = folder, folder.parent / "variables"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("STREAMWORKERS_", "PYTEST_"))}
        self.environment = kept | {"PATH": f"{folder}/.venv/bin:{kept['PATH']}", "COLUMNS": "200"}
        self._variables.touch()

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run one command of the tutorial."""
        script = f". {self._variables}; {command}\ncode=$?; export -p > {self._variables}; exit $code"
        return subprocess.run(
            ["bash", "-c", script],
            cwd=self._folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=patient(300),
        )

    @contextmanager
    def serving(self, command: str) -> Iterator[None]:
        """Run a command of the second and third terminal until the block ends, and then what Ctrl-C does."""
        with (self._folder.parent / "served.log").open("a") as log:
            served = subprocess.Popen(
                ["bash", "-c", f"exec {command}"], cwd=self._folder, env=self.environment, stderr=log
            )
        try:
            yield
        finally:
            served.terminate()
            assert served.wait(patient(60)) == 0


def test_every_command_of_the_tutorial_does_what_the_tutorial_shows(folder: Path) -> None:
    text = PAGE.read_text(encoding="utf-8")
    for name, content in _files(text).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    assert (folder / "my_jobs" / "migrations" / "0001_price_range.sql").exists()
    terminal, served = Terminal(folder), []
    for command, shown in _commands(text):
        if command.startswith(_INSTALLS) or command.startswith("mkdir "):
            continue
        if command.startswith(_SERVES):
            service = terminal.serving(re.sub(r"--metrics-port \d+", "--metrics-port 0", command))
            service.__enter__()
            served.append(service)
            continue
        if command.startswith("curl "):
            continue  # of a fixed port, which this machine may need for others
        if command == "streamworkers embedded stop":
            for service in served:
                service.__exit__(None, None, None)
        _follow(terminal, command, shown)
    assert not (folder / ".streamworkers" / "redis" / "redis.sock").exists()


def _follow(terminal: Terminal, command: str, shown: str) -> None:
    """Run a command until it prints what the tutorial shows, where that takes a moment."""
    code = next((code for words, code in _FAILS.items() if words in command), 0)
    done = terminal.run(_SHORTENED.get(command, command))
    if command == "streamworkers schedules history each_minute":
        wait_until(lambda: "started" in terminal.run(command).stdout, 90, "the next full minute")
        return
    assert done.returncode == code, (command, done.stdout, done.stderr)
    for line in filter(None, map(_expected, shown.splitlines())):
        assert re.search(line, done.stdout + done.stderr), (command, line, done.stdout, done.stderr)


def _expected(line: str) -> str | None:
    """A pattern for the lines that say what came of it: their numbers of rows, results and states."""
    if re.search(
        r"COMPLETED|\"range\"|'range'|ZZZZ|rejected|replayed|schedule \w+ (?:added|removed)|universe mine", line
    ):
        if "_minute" in line or re.search(r"\d\d:\d\d:\d\d", line):
            return None
        line = re.sub(r" in [\d.]+ ?s=*$", " in ", line.strip().strip("= "))
        return re.escape(line.split(" in ")[0].split("; its next")[0]).replace(r"\ ", r"\s+")
    return None
