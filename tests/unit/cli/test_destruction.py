"""What deletes more than its words name asks first, or needs `--yes`; so does `make clean`."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from patience import patient
from streamworkers.cli.confirming import ask_first
from streamworkers.cli.main import cli
from streamworkers.errors import UsageError

ROOT = Path(__file__).parent.parent.parent.parent
_DELETES = re.compile(r"\b(delete|remove|purge|drop|forget|cancel|revoke|unlink)s?\b", re.IGNORECASE)
# These delete, cancel or end one thing, which their words name, or only say `remove` of something else.
NAMES_IT = {
    "alerts remove": "an alert",
    "alerts unmute": "a mute",
    "calendars unset": "the calendar of symbols",
    "endpoints remove": "an endpoint",
    "listings unset": "the listing of a symbol",
    "runs cancel": "a run",
    "schedules remove": "a schedule",
    "schedules windows remove": "a maintenance window",
    "telegram links remove": "a link",
    "tokens revoke": "a token",
}


def _commands(group: click.Command = cli, path: str = "") -> Iterator[tuple[str, click.Command]]:
    if not isinstance(group, click.Group):
        yield path.strip(), group
        return
    context = click.Context(group)
    for name in group.list_commands(context):
        if (command := group.get_command(context, name)) is not None and not command.hidden:
            yield from _commands(command, f"{path} {name}")


def test_every_command_that_deletes_asks_or_names_what_it_deletes() -> None:
    deleting = {path: each for path, each in _commands() if _DELETES.match(each.get_short_help_str(200))}
    asking = {path for path, each in deleting.items() if any(word.name == "yes" for word in each.params)}
    assert asking == {"cleanup", "dead purge", "rejected purge"}
    assert deleting.keys() - asking <= NAMES_IT.keys()


def test_without_a_terminal_yes_has_to_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    ask_first("delete all", yes=True)
    with Path("/dev/null").open(encoding="utf-8") as nobody:
        monkeypatch.setattr(sys, "stdin", nobody)
        with pytest.raises(UsageError, match="this would delete all, and there is no terminal to ask at: add --yes"):
            ask_first("delete all", yes=False)


@pytest.mark.parametrize(("answer", "goes_on"), [("y\n", True), ("n\n", False), ("\n", False)])
def test_at_a_terminal_it_asks(answer: str, goes_on: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def purge() -> None:
        monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
        ask_first("delete all", yes=False)
        click.echo("gone")

    from click.testing import CliRunner

    said = CliRunner().invoke(purge, input=answer)
    assert ("gone" in said.output) is goes_on
    assert "Delete all? [y/N]" in said.output


def test_make_clean_keeps_the_data_unless_it_is_told_otherwise(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    data, built = tmp_path / ".streamworkers", tmp_path / "build"
    data.mkdir()
    built.mkdir()

    def clean(*words: str) -> "subprocess.CompletedProcess[str]":
        command = ["make", "-C", str(tmp_path), "clean", *words]
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=patient(60), check=False
        )

    done = clean()
    assert done.returncode != 0
    assert "nothing is removed: make clean YES=1 removes .streamworkers too" in done.stderr
    assert data.is_dir()
    assert built.is_dir()
    assert clean("YES=1").returncode == 0
    assert not data.exists()
    assert not built.exists()
    assert clean().returncode == 0, "there is no data to ask about"
