"""`streamworkers top`."""

import select
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.live import Live

from streamworkers.cli.dashboard_view import EVERYTHING, Overview, gather, open_snapshots, render
from streamworkers.cli.session import Session, console, print_whole
from streamworkers.diagnosis.snapshot import Snapshot

REFRESH_SECONDS = 0.5
# A rate over less than this is mostly noise.
_RATE_SECONDS = 2.0


@click.command(short_help="Watch queues, workers and runs in the terminal.")
@click.option("--once", is_flag=True, help="Print one screen, with rates over half a second, and exit.")
def top(once: bool) -> None:
    """Watch queues, workers, runs with their progress and rate, and recent failures. Press q or Ctrl-C to exit."""
    session = Session.open()
    with open_snapshots(session) as look:
        if once or not console.is_terminal:
            before = gather(look())
            time.sleep(REFRESH_SECONDS)
            is_pipe = not console.is_terminal
            print_whole(render(gather(look()), before, EVERYTHING if is_pipe else console.height, is_whole=is_pipe))
            return
        _show_live(look)


def _show_live(look: Callable[[], Snapshot]) -> None:
    seen: list[Overview] = [gather(look())]
    with _unbuffered_keys(), Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            now = gather(look())
            live.update(render(now, seen[0], console.height), refresh=True)
            seen.append(now)
            while len(seen) > 1 and now.monotonic - seen[1].monotonic > _RATE_SECONDS:
                seen.pop(0)
            if _is_q_pressed(REFRESH_SECONDS):
                return


@contextmanager
def _unbuffered_keys() -> Iterator[None]:
    """Read keys as they are pressed, if standard input is a terminal."""
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
