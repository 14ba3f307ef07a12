"""`streamworkers top`: what happens, as it happens."""

import select
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager

import click
from rich.live import Live

from streamworkers.cli.dashboard_view import Overview, gather, render
from streamworkers.cli.session import Session, console
from streamworkers.database import Connection
from streamworkers.engine.redis.streams import Streams

REFRESH_SECONDS = 0.5
# A rate over less than this is mostly noise.
_RATE_SECONDS = 2.0


@click.command(short_help="Queues, workers and runs, live in the terminal.")
@click.option("--once", is_flag=True, help="Print it once, with rates over half a second, and return.")
def top(once: bool) -> None:
    """Queues, workers, running runs with their progress and rate, recent failures; q or Ctrl-C ends it."""
    session = Session.open()
    with session.database() as connection, session.streams() as streams:
        if once or not console.is_terminal:
            before = gather(connection, streams)
            time.sleep(REFRESH_SECONDS)
            console.print(render(gather(connection, streams), before, console.height))
            return
        _live(connection, streams)


def _live(connection: Connection, streams: Streams) -> None:
    seen: list[Overview] = [gather(connection, streams)]
    with _keys(), Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            now = gather(connection, streams)
            live.update(render(now, seen[0], console.height), refresh=True)
            seen.append(now)
            while len(seen) > 1 and now.monotonic - seen[1].monotonic > _RATE_SECONDS:
                seen.pop(0)
            if _is_q_pressed(REFRESH_SECONDS):
                return


@contextmanager
def _keys() -> Iterator[None]:
    """Keys arrive as they are pressed, where standard input is a terminal."""
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _is_q_pressed(seconds: float) -> bool:
    if not sys.stdin.isatty():
        time.sleep(seconds)
        return False
    readable, _, _ = select.select([sys.stdin], [], [], seconds)
    return bool(readable) and sys.stdin.read(1) in ("q", "Q")
