"""What click finds wrong with a command line is worded as all other errors: what it is about, the value, the rule."""

import shlex
from pathlib import Path
from typing import Any

import click
import pytest

from streamworkers.cli.main import cli, main
from streamworkers.cli.usage_errors import word_usage_error

_WRONG = [
    ("--nonsense", "no option is named '--nonsense'; its help lists them"),
    ("-x", "no option is named '-x'; its help lists them"),
    ("runs lst", "no command of `streamworkers runs` is named 'lst'; did you mean 'list'?"),
    (
        "runs nonsense",
        (
            "no command of `streamworkers runs` is named 'nonsense'; known: cancel, list, retry, retry-webhook, show,"
            " stats, watch"
        ),
    ),
    ("runs LIST", "no command of `streamworkers runs` is named 'LIST'; did you mean 'list'?"),
    ("runs list --limit 0", "--limit '0' is not a whole number from 1 to 100000"),
    ("runs list --limit abc", "--limit 'abc' is not a whole number from 1 to 100000"),
    ("runs list --limit 1.5", "--limit '1.5' is not a whole number from 1 to 100000"),
    ('runs list --limit "it\'s"', '--limit "it\'s" is not a whole number from 1 to 100000'),
    ("runs list --limit ''", "--limit '' is not a whole number from 1 to 100000"),
    ("runs list --limit", "--limit needs a value"),
    (
        "runs list --status DONE",
        "--status 'DONE' is not one of PENDING, RUNNING, COMPLETED, COMPLETED_WITH_ERRORS, FAILED, CANCELLED",
    ),
    (
        "runs list --jbo x",
        "no option of `streamworkers runs list` is named '--jbo'; did you mean '--job' or '--json'?",
    ),
    ("runs list extra words", "'extra words' is too much: `streamworkers runs list` takes no arguments"),
    ("runs show", "the argument RUN is missing"),
    ("runs show x", "RUN 'x' is not a whole number, at least 1"),
    ("runs show 0", "RUN '0' is not a whole number, at least 1"),
    ("runs show 1 2", "'2' is too much: `streamworkers runs show` takes only RUN"),
    ("runs watch 1 --timeout 0", "--timeout '0' is not a number of seconds, more than 0"),
    ("runs watch 1 --timeout nan", "--timeout 'nan' is not a number of seconds, more than 0"),
    ("runs watch 1 --timeout soon", "--timeout 'soon' is not a number of seconds, more than 0"),
    ("enqueue a --max-attempts many", "--max-attempts 'many' is not a whole number from 1 to 100"),
    ("enqueue a --wait=yes", "--wait takes no value"),
    ("load --years 0", "--years '0' is not a number, more than 0, at most 100"),
    ("load --years nan", "--years 'nan' is not a number, more than 0, at most 100"),
    ("load --from 2025-13-01", "--from '2025-13-01' is not a date YYYY-MM-DD"),
    ("load --session overnight", "--session 'overnight' is not one of regular, extended"),
    ("load --session Regular", "--session 'Regular' is not one of regular, extended; did you mean 'regular'?"),
    ("schedules windows add --from 1", "the option --until is missing"),
    ("schedules import nowhere.yaml", "FILE 'nowhere.yaml' does not exist"),
    ("bars import", "the argument FILES is missing"),
    ("bars import /", "FILES '/' is a directory"),
    ("worker --max-memory-mb 1", "--max-memory-mb '1' is not a number, at least 32"),
    ("notifications show 12", "NOTIFICATION '12' is not a UUID"),
    ("preferences set", "the argument MODE is missing: it is one of instant, digest, off, default"),
    ("preferences set loud", "MODE 'loud' is not one of instant, digest, off, default"),
    ("telegram links remove ann x", "CHAT 'x' is not a whole number"),
]


@pytest.mark.parametrize(("line", "message"), _WRONG, ids=[line for line, _ in _WRONG])
def test_a_wrong_command_line_is_met_with_value_and_rule(
    line: str, message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(shlex.split(line))
    captured = capsys.readouterr()
    assert (ended.value.code, captured.out) == (2, "")
    assert captured.err.splitlines()[-1] == f"Error: {message}"


def test_the_usage_and_the_way_to_the_help_are_shown_before_the_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["runs", "show", "x"])
    assert capsys.readouterr().err == (
        "Usage: streamworkers runs show [OPTIONS] RUN\n"
        "Try 'streamworkers runs show --help' for help.\n\n"
        "Error: RUN 'x' is not a whole number, at least 1\n"
    )


def test_a_group_without_a_command_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["runs"])
    assert ended.value.code == 2
    captured = capsys.readouterr()
    assert (captured.out + captured.err).startswith("Usage: streamworkers runs [OPTIONS] COMMAND")


_OF_CLICK = (
    "Invalid value",
    "is not a valid",
    "in the range",
    "No such",
    "Missing ",
    "Got unexpected",
    "does not match",
)


def _list_parameters(command: click.Command, path: str = "") -> list[Any]:
    context = click.Context(command, info_name=path)
    if isinstance(command, click.Group):
        found = [(name, command.get_command(context, name)) for name in command.list_commands(context)]
        return [each for name, sub in found if sub for each in _list_parameters(sub, f"{path} {name}")]
    return [(f"{path} {each.name}", context, each) for each in command.params]


def test_no_option_or_argument_of_any_command_has_a_message_of_click() -> None:
    seen = 0
    for name, context, parameter in _list_parameters(cli):
        for value in ("\x01?", "-1.5", "nan", "nowhere/at/all"):
            try:
                parameter.type_cast_value(context, (value,) if parameter.multiple or parameter.nargs != 1 else value)
            except click.BadParameter as error:
                error.param, error.ctx = parameter, context
                message = word_usage_error(error).message
                assert not any(words in message for words in _OF_CLICK), (name, message)
                assert not message.endswith("."), (name, message)
                seen += 1
    assert seen > 100


def test_a_message_in_unknown_words_is_shown_as_it_is() -> None:
    assert word_usage_error(click.UsageError("Something else.")).message == "Something else"
    assert word_usage_error(click.BadParameter("odd", param_hint="--x")).message == "--x: odd"
    assert word_usage_error(click.BadOptionUsage("--x", "Option '--x' requires 2 arguments.")).message == (
        "Option '--x' requires 2 arguments"
    )
