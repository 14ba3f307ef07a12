"""What a shell offers on TAB: names of jobs, runs, universes, schedules, symbols, queues and users, within a second.

The name of an option or an argument tells what it takes, so that every command offers the same. Loaded only when a
shell asks. A shell shows what is printed in the middle of a line: so nothing is, if a service is away or slow.
"""

import importlib
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
)

if TYPE_CHECKING:
    from streamworkers.cli.candidates import Candidate

_Lookup: TypeAlias = "Callable[[str], Iterable[Candidate]]"
_PROGRAM = "STREAMWORKERS"
_SECONDS = 1.0
_BOUND = "_STREAMWORKERS_COMPLETE_SECONDS"  # in place of it, for slow machines
_MOST = 100
# A shell reads a name again when the line is run: of one with other characters it would make something else.
_PLAIN = re.compile(r"[\w.,:/@^=+%-]+")
# The functions of `candidates`, which is imported for none but these.
_OPTIONS: dict[str, str] = {
    "--after": "list_schedule_names",
    "--channel": "list_channel_names",
    "--job": "list_jobs_to_name",
    "--provider": "list_providers",
    "--queue": "list_queues_to_name",
    "--run": "list_run_ids",
    "--schedule": "list_schedule_names",
    "--symbol": "list_symbols_to_name",
    "--symbols": "list_symbols_to_name",
    "--timeframe": "list_timeframes",
    "--timeframes": "list_timeframes",
    "--universe": "list_universes_to_name",
    "--user": "list_user_names",
    "--user-id": "list_user_names",
}
_ARGUMENTS: dict[str, str] = {
    "CHANNEL": "list_channel_names",
    "EXPRESSION": "list_universes_to_name",
    "JOB": "list_jobs_to_name",
    "QUEUE": "list_queues_to_name",
    "RUN": "list_run_ids",
    "SCHEDULE": "list_schedule_names",
    "SYMBOL": "list_symbols_to_name",
    "SYMBOLS": "list_symbols_to_name",
    "UNIVERSE": "list_universes_to_name",
    "USER": "list_user_names",
}
# Arguments of a group whose name says less; the commands that make a new thing are left out.
_OF_GROUPS: dict[tuple[str, str], str] = {("schedules", "NAME"): "list_schedule_names"}
_NEW = {"add", "at", "copy", "create"}
_LISTS = {"--symbols": ",", "--timeframes": ",", "--universe": ":", "EXPRESSION": ":", "UNIVERSE": ":"}


def answer_shell(cli: click.Command) -> None:
    """Answer the shell that has started this process for a completion, and end the process."""
    for kind in (BashComplete, ZshComplete, FishComplete):
        add_completion_class(type(kind.__name__, (_Lookups, kind), {}))
    if not os.environ.get(f"_{_PROGRAM}_COMPLETE", "").endswith("_complete"):
        return
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 2)
    with suppress(BaseException):  # a line that is not finished may be wrong in any way
        cli.main(prog_name=_PROGRAM.lower(), standalone_mode=False)
    sys.stdout.flush()
    os._exit(0)  # a lookup that still waits for a service must not hold up the prompt


class _Lookups(ShellComplete):
    """Asks the services where click knows nothing of a value."""

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
        """Return what may stand at the end of a line."""
        found = super().get_completions(args, incomplete)
        if found:
            return found
        context = click.shell_completion._resolve_context(self.cli, self.ctx_args, self.prog_name, args)
        target, incomplete = click.shell_completion._resolve_incomplete(context, args, incomplete)
        if not isinstance(target, click.Parameter) or (lookup := find_lookup(context, target)) is None:
            return []
        function = getattr(importlib.import_module("streamworkers.cli.candidates"), lookup)
        return list(_complete(function, find_separator(target), incomplete))


def find_lookup(context: click.Context, parameter: click.Parameter) -> str | None:
    """Return the function that finds the values of a parameter; None if nothing does."""
    if isinstance(parameter, click.Option):
        return next((_OPTIONS[name] for name in parameter.opts if name in _OPTIONS), None)
    name = parameter.human_readable_name.strip("[].")
    group = context.parent.info_name if context.parent is not None else None
    if name == "NAME" and context.info_name in _NEW:
        return None
    return _OF_GROUPS.get((group or "", name)) or _ARGUMENTS.get(name)


def find_separator(parameter: click.Parameter) -> str | None:
    """Return what stands between the values of a parameter that takes several in one word."""
    names = parameter.opts if isinstance(parameter, click.Option) else [parameter.human_readable_name]
    return next((_LISTS[name] for name in names if name in _LISTS), None)


def _complete(lookup: _Lookup, separator: str | None, incomplete: str) -> Iterator[CompletionItem]:
    before, last = "", incomplete
    if separator is not None and separator in incomplete:
        head, _, last = incomplete.rpartition(separator)
        before = head + separator
    given = before.split(separator) if separator is not None else []
    for found in look_up(lookup, last, float(os.environ.get(_BOUND, _SECONDS))):
        if found.name not in given:
            yield CompletionItem(before + found.name, help=found.about)


def look_up(lookup: _Lookup, prefix: str, seconds: float) -> "list[Candidate]":
    """Return at most 100 names with a prefix, which a shell takes as they are; what is found within some seconds."""
    found: dict[str, Candidate] = {}

    def collect() -> None:
        try:
            for each in lookup(prefix):
                if len(found) == _MOST:
                    return
                if each.name.startswith(prefix) and _PLAIN.fullmatch(each.name):
                    found.setdefault(each.name, each)
        except Exception:  # noqa: BLE001, S110  # whatever is wrong, nothing is offered
            pass

    thread = threading.Thread(target=collect, daemon=True)
    thread.start()
    thread.join(seconds)
    return list(found.values())
