"""What a real bash offers on TAB: names of what there is, and nothing, without a word, where nothing can be asked."""

import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from command_line import Run
from patience import patient
from streamworkers.cli.candidates import Candidate
from streamworkers.cli.completion import _ARGUMENTS, _OPTIONS, find_lookup, look_up
from streamworkers.cli.main import _COMMANDS, cli
from streamworkers.database import Connection
from streamworkers.market.universes.store import add_symbols

_BIN = Path(sys.executable).parent
# What bash does on TAB: the words of the line, and the function that the script has bound to the command.
_SCRIPT = """
eval "$(_STREAMWORKERS_COMPLETE=bash_source streamworkers)"
COMP_WORDS=({words}); COMP_CWORD=$(({count} - 1))
_streamworkers_completion streamworkers
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
Tab = Callable[..., list[str]]


@pytest.fixture
def tab(environment: dict[str, str], tmp_path: Path) -> Tab:
    """Press TAB at the end of a line in a bash, which must print no error; returns what is offered."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash")

    def press(*words: str, **variables: str) -> list[str]:
        line = " ".join(map(shlex.quote, ("streamworkers", *words)))
        path = {"PATH": f"{_BIN}:{os.environ['PATH']}", "_STREAMWORKERS_COMPLETE_SECONDS": f"{patient(30):g}"}
        answer = subprocess.run(
            [bash, "--norc", "-c", _SCRIPT.format(words=line, count=len(words) + 1)],
            env=environment | path | variables,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=patient(120),
            check=True,
        )
        assert answer.stderr == ""
        return [each for each in answer.stdout.splitlines() if each]

    return press


def test_commands_and_options_are_offered(tab: Tab) -> None:
    assert tab("ru") == ["rules", "running", "runs"]
    assert tab("runs", "li") == ["list"]
    assert tab("runs", "list", "--jo") == ["--job"]
    assert tab("load", "--session", "") == ["regular", "extended"]
    assert tab("runs", "list", "--nonsense", "x", "") == []
    assert tab("nonsense", "") == []


def test_names_of_what_there_is_are_offered(tab: Tab, cli: Run, connection: Connection) -> None:
    add_symbols(connection, "tech", ["AAPL", "AMZN", "MSFT"])
    add_symbols(connection, "tiny", ["ZZZ"])
    for user in ("ann", "$(touch pwned)", "bob"):
        connection.execute("INSERT INTO users (id) VALUES (%s)", (user,))
    assert cli("bars", "import", _write_bars(), "--universe", "own").code == 0
    assert cli("enqueue", "ledger_entry", "--symbols", "A").code == 0
    words = ("--job", "ledger_entry", "--symbols", "A", "--cron", "0 1 * * *")
    assert cli("schedules", "add", "nightly", *words).code == 0
    assert tab("enqueue", "ledger_e") == ["ledger_entry"]
    assert tab("jobs", "show", "ledger_e") == ["ledger_entry"]
    assert tab("runs", "show", "") == ["1"]
    assert tab("dead", "list", "--run", "") == ["1"]
    assert tab("enqueue", "ledger_entry", "--universe", "t") == ["tech", "tiny"]
    assert tab("enqueue", "ledger_entry", "--symbols", "A") == ["AAPL", "AMZN", "AXX"]
    assert tab("enqueue", "ledger_entry", "--symbols", "AAPL,A") == ["AAPL,AMZN", "AAPL,AXX"]
    assert tab("bars", "show", "AX") == ["AXX"], "it has bars, and no universe"
    assert tab("schedules", "pause", "") == ["nightly"]
    assert tab("schedules", "add", "") == []
    assert tab("users", "disable", "") == ["ann", "bob", "local"], "a name that a shell would execute is left out"
    assert tab("alerts", "list", "--user", "a") == ["ann"]
    assert "analysis" in tab("worker", "--queue", "")
    assert tab("bars", "show", "AXX", "--timeframe", "") == ["1min", "hour", "day", "week", "month"]


def _write_bars() -> str:
    Path("bars.csv").write_text("symbol,date,open,high,low,close,volume\nAXX,2025-11-03,10,11,9,10.5,1000\n")
    return "bars.csv"


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port on which connections are taken, and nothing is ever answered."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_service_that_never_answers_is_waited_for_a_second(tab: Tab, silent_port: int) -> None:
    url = f"postgresql://ann@127.0.0.1:{silent_port}/x"
    assert tab("runs", "show", "", STREAMWORKERS_DATABASE_URL=url, _STREAMWORKERS_COMPLETE_SECONDS="1") == []
    assert tab("enqueue", "ledger_e", STREAMWORKERS_DATABASE_URL=url) == ["ledger_entry"], "it needs no service"


@pytest.mark.parametrize(
    "variables",
    [
        {"STREAMWORKERS_DATABASE_URL": "postgresql://ann@127.0.0.1:1/x"},
        {"STREAMWORKERS_DATABASE_URL": "nonsense"},
        {"STREAMWORKERS_LEASE_SECONDS": "soon", "STREAMWORKERS_LEASE_SECODS": "3"},
    ],
)
def test_a_service_that_cannot_be_used_is_no_error_at_the_prompt(tab: Tab, variables: dict[str, str]) -> None:
    assert tab("universes", "show", "", **variables) == []


def test_a_lookup_ends_in_time_with_what_it_has_found_and_is_bounded() -> None:
    def hang(prefix: str) -> Iterator[Candidate]:
        yield Candidate(f"{prefix}one")
        time.sleep(patient(600))  # in a thread that ends with the process

    began = time.monotonic()
    assert look_up(hang, "a", 0.2) == [Candidate("aone")]
    assert time.monotonic() - began < patient(10)
    many = [Candidate(f"a{number}") for number in range(1000)]
    assert len(look_up(lambda _: many, "a", patient(10))) == 100
    odd = [Candidate(name) for name in ("a b", "a;b", "a`b`", "a'b", "a$b", "a\nb", "a\\b", "aé", "a:b")]
    assert [each.name for each in look_up(lambda _: odd, "a", patient(10))] == ["aé", "a:b"]


def test_offering_commands_loads_nothing_heavy() -> None:
    code = (
        "import os, sys; os.dup2 = lambda *_: None\n"
        "os._exit = lambda code: sys.exit(str(sorted({'numpy', 'pydantic', 'psycopg'} & set(sys.modules))))\n"
        "from streamworkers.cli.main import main; main()"
    )
    variables = {"_STREAMWORKERS_COMPLETE": "bash_complete", "COMP_WORDS": "streamworkers ", "COMP_CWORD": "1"}
    answer = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | variables, capture_output=True, text=True, timeout=patient(60)
    )
    assert answer.stderr == "[]\n"
    assert {f"plain,{name}" for name in _COMMANDS} <= set(answer.stdout.split())


def _list_parameters(command: click.Command, context: click.Context) -> Iterator[tuple[click.Context, click.Parameter]]:
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from _list_parameters(found, click.Context(found, info_name=name, parent=context))
    yield from ((context, each) for each in command.params)


def test_every_name_in_the_tables_is_that_of_a_parameter() -> None:
    found = list(_list_parameters(cli, click.Context(cli, info_name="streamworkers")))
    options = {name for _, each in found if isinstance(each, click.Option) for name in each.opts}
    assert _OPTIONS.keys() <= options
    arguments = {each.human_readable_name.strip("[].") for _, each in found if isinstance(each, click.Argument)}
    assert _ARGUMENTS.keys() - arguments <= {"QUEUE", "SCHEDULE", "UNIVERSE"}, "those of commands to come"
    completed = [f"{context.command_path} {each.name}" for context, each in found if find_lookup(context, each)]
    for name in ("runs show run_id", "schedules trigger name", "dead list job", "worker queues", "notify user"):
        assert f"streamworkers {name}" in completed
