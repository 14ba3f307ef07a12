"""Every command explains itself, and unknown ones are met with a suggestion."""

from collections.abc import Iterator

import click
import pytest

from streamworkers import __version__
from streamworkers.cli.main import _COMMANDS, cli, main


def _paths(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from _paths(found, (*path, name))


COMMANDS = list(_paths(cli))


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=[" ".join(path) or "-" for path, _ in COMMANDS])
def test_every_command_and_option_has_a_help_text(
    path: tuple[str, ...], command: click.Command, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*path, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"Usage: {' '.join(('streamworkers', *path))}")
    assert command.help
    without = [option.name for option in command.params if isinstance(option, click.Option) and not option.help]
    assert without == []


def test_help_fits_into_80_columns(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for path, _ in COMMANDS:
        with pytest.raises(SystemExit):
            main([*path, "--help"])
        text = capsys.readouterr().out
        assert [line for line in text.splitlines() if len(line) > 80] == []
        _, _, commands = text.partition("\nCommands:\n")
        assert [line for line in commands.splitlines() if line.endswith("...")] == []


@pytest.mark.parametrize("name", _COMMANDS)
def test_the_short_help_in_the_table_is_that_of_the_command(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.get_short_help_str(limit=200) == _COMMANDS[name]


@pytest.mark.parametrize("word", ["version", "--version"])
def test_version(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([word])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"streamworkers {__version__} (Python 3.")


def test_an_unknown_command_is_a_usage_error_with_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["versoin"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == "Error: no command is named 'versoin'; did you mean 'version'?\n"


@pytest.mark.parametrize(
    "words",
    [("--nonsense",), ("runs", "nonsense"), ("runs", "list", "--limit", "0"), ("runs", "show"), ("runs", "show", "x")],
)
def test_what_click_rejects_is_exit_code_2(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    assert ended.value.code == 2
    assert "Error: " in capsys.readouterr().err
