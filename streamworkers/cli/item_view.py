"""How commands name an item, and what they show of one: its attempts, arguments, results, and what to do next."""

import json
import shlex
from collections.abc import Sequence
from typing import Any

import click

from streamworkers.cli.session import cut_text, print_table
from streamworkers.database import Connection
from streamworkers.engine.ledger import Run
from streamworkers.engine.ledger.reports import read_run
from streamworkers.engine.ledger.run_events import list_changes_of_run
from streamworkers.errors import BadInputError
from streamworkers.market.calendar.moments import show_bar_time
from streamworkers.names import escape_unseen
from streamworkers.results.read import list_saved_indicators, list_saved_patterns

MOST_SAVED = 100
_MOST_EVENTS = 20
_LONGEST_ERROR = 10_000
_LONGEST_ARGUMENT = 200
_LONGEST_RESULT = 2000
_OF_RUN = (
    *("run_id", "job", "queue", "status", "target", "as_of", "timeframe", "max_attempts", "schedule"),
    *("scheduled_for", "trigger", "requested_by", "created_at", "prepared_at", "enqueued_at", "completed_at"),
)


def parse_item(text: str) -> tuple[int, int]:
    """Parse what names an item, RUN:SEQ. Raises BadInputError."""
    run, _, seq = text.partition(":")
    if not (run.isdecimal() and seq.isdecimal()):
        raise BadInputError(f"{text!r} is not an item as RUN:SEQ, such as 42:17")
    return int(run), int(seq)


def print_attempts(history: Any) -> None:
    """Print the error of each attempt that is kept, and where the newest one failed."""
    attempts = [each for each in history if isinstance(each, dict)] if isinstance(history, list) else []
    columns = {"attempt": "attempt", "at": "at", "worker": "worker", "error": "error"}
    print_table(attempts, columns, "no history", longest=_LONGEST_ERROR)
    stacks = [attempt["stack"] for attempt in attempts if isinstance(attempt.get("stack"), str)]
    if stacks:
        click.echo(f"\nThe newest attempt failed here:\n{stacks[-1].rstrip()}")


def describe_item(connection: Connection, run: Run, row: dict[str, Any]) -> dict[str, Any]:
    """Return what is known of an item: `run`, what its run has `saved`, the `events` of the run, and what is `next`."""
    of_run = read_run(connection, run.id)
    assert of_run is not None
    saved: dict[str, list[dict[str, Any]]] = {}
    if row["timeframe"] is not None:
        words = (connection, row["run_id"], row["symbol"], row["timeframe"], MOST_SAVED)
        saved = {"indicators": list_saved_indicators(*words), "patterns": list_saved_patterns(*words)}
    events = list_changes_of_run(connection, row["run_id"], _MOST_EVENTS)
    return {
        "item": f"{row['run_id']}:{row['seq']}",
        **row,
        "run": {name: of_run[name] for name in _OF_RUN} | {"parameters": run.parameters},
        "saved": saved,
        "events": [{"seq": each.seq, "kind": each.kind, "at": each.at, "data": each.data} for each in events],
        "next": _find_next(row, saved),
    }


def print_item(item: dict[str, Any]) -> None:
    """Print what `describe_item` has returned."""
    row, run = item, item["run"]
    name = " ".join(f"{row['symbol']} {row['timeframe'] or ''}".split())
    click.echo(f"{row['item']}: {escape_unseen(name)} of {run['job']} is {_word_state(row)}")
    for label, text in (*_describe_run(run), *_describe_times(row, run)):
        click.echo(f"  {label:<10} {text}")
    if row["error"] is not None and not row["history"]:
        click.echo(f"  error      {cut_text(row['error'], _LONGEST_ERROR)}")
    if row["result"] is not None:
        text = json.dumps(row["result"], ensure_ascii=False)
        click.echo(f"  result     {cut_text(text, _LONGEST_RESULT)}")
    _print_saved(item)
    if row["history"]:
        click.echo("\nAttempts that failed:")
        print_attempts(row["history"])
    if item["events"]:
        click.echo("\nEvents of the run:")
        print_table(item["events"], {"at": "at", "kind": "kind"}, "")
    click.echo(f"\nNext: {item['next']}")


def _word_state(row: dict[str, Any]) -> str:
    word = "dead" if row["status"] == "failed" else row["status"]
    times = "once" if row["generation"] == 1 else f"{row['generation']} times"
    return word + (f"; it was reopened {times}" if row["generation"] else "")


def _describe_run(run: dict[str, Any]) -> list[tuple[str, str]]:
    lines = [("run", f"{run['run_id']}, {run['status']}, about {cut_text(run['target'], _LONGEST_ARGUMENT)}")]
    if run["schedule"]:
        lines.append(("schedule", f"{run['schedule']} for {_show(run['scheduled_for'])} ({run['trigger']})"))
    if run["as_of"]:
        lines.append(("as of", show_bar_time(run["as_of"], run["timeframe"]) or str(run["as_of"])))
    for name, value in run["parameters"].items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        if value not in (None, "", [], {}):
            is_long = len(text) > _LONGEST_ARGUMENT
            lines.append(("parameter", f"{name}={f'({len(text):,} characters: --json)' if is_long else text}"))
    return lines


def _describe_times(row: dict[str, Any], run: dict[str, Any]) -> list[tuple[str, str]]:
    ended = _show(row["finished_at"])
    if row["seconds"] is not None:
        ended += f", {row['seconds']:.3f} s after the call began"
    return [
        ("enqueued", _show(run["enqueued_at"])),
        ("begun", _show(row["started_at"])),
        ("ended", ended),
        ("worker", row["worker"] or "-"),
        ("attempts", f"{row['attempt']} of {run['max_attempts']}"),
    ]


def _print_saved(item: dict[str, Any]) -> None:
    saved = item["saved"]
    if not any(saved.values()):
        return
    click.echo(f"  saved      {_count(saved['indicators'])} values, {_count(saved['patterns'])} detections")
    for row in (*saved["indicators"], *saved["patterns"]):
        row["bar"] = show_bar_time(row["bar_time"], item["timeframe"])
    print_table(saved["indicators"], {"indicator": "indicator", "bar": "bar", "value": "value"}, "")
    if saved["patterns"]:
        columns = {"pattern_name": "pattern", "bar": "bar", "direction": "direction", "confidence": "confidence"}
        print_table(saved["patterns"], columns, "")


def _find_next(row: dict[str, Any], saved: dict[str, list[dict[str, Any]]]) -> str:
    run = row["run_id"]
    if row["status"] == "failed":
        return f"streamworkers dead replay {run}:{row['seq']}   # runs it again, from attempt 1"
    if row["status"] == "cancelled":
        return f"streamworkers runs retry {run}   # runs the cancelled and dead items of the run again"
    if row["status"] != "completed":
        return f"streamworkers runs watch {run}"
    if any(saved.values()):
        return f"streamworkers results show {shlex.quote(row['symbol'])} --timeframe {row['timeframe']}"
    return f"streamworkers runs show {run}"


def _show(moment: Any) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}" if moment is not None else "-"


def _count(rows: Sequence[Any]) -> str:
    return f"{len(rows)} or more" if len(rows) == MOST_SAVED else str(len(rows))
