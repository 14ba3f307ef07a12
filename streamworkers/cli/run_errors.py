"""What `streamworkers runs show` says of failures: distinct errors with a stack, and items without a decision."""

from collections.abc import Collection, Sequence
from typing import Any

import click
import msgspec

from streamworkers.engine.redis.heartbeats import SupervisorStatus

MOST_ERRORS = 10
_STACKS_SHOWN = 3


def list_undecided(heartbeats: Collection[SupervisorStatus] | None, run_id: int) -> list[dict[str, Any]] | None:
    """Return the items of a run that workers execute again and again; None without heartbeats, which name them."""
    if heartbeats is None:
        return None
    return [
        {**msgspec.to_builtins(item), "worker": worker.consumer}
        for heartbeat in heartbeats
        for worker in heartbeat.workers
        for item in worker.undecided
        if item.run_id == run_id
    ]


def print_errors(errors: Sequence[dict[str, Any]]) -> None:
    """Print distinct errors, the most frequent first, and where the newest item of each failed."""
    if not errors:
        return
    click.echo(f"  errors     {errors[0]['distinct']} distinct")
    for number, row in enumerate(errors):
        click.echo(f"    {row['items']} items, the newest {row['item']} {row['symbol']}: {row['error']}")
        if row["stack"] and number < _STACKS_SHOWN:
            click.echo("".join(f"      {line}\n" for line in row["stack"].splitlines()), nl=False)
    if (rest := errors[0]["distinct"] - len(errors)) > 0:
        click.echo(f"    and {rest} more")


def print_undecided(undecided: Sequence[dict[str, Any]] | None) -> None:
    """Print the items without a decision, or that they are not known."""
    if undecided is None:
        click.echo("  undecided  not known: Redis does not answer")
    for item in undecided or ():
        times = f"{item['run_id']}:{item['seq']} {item['symbol']} executed {item['times']} times without a decision"
        click.echo(f"  undecided  {times}: {item['error']}")
