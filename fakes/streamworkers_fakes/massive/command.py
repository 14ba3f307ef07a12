"""`streamworkers fake-massive`."""

import signal
import threading
from datetime import date, datetime
from pathlib import Path
from typing import Any

import click

from streamworkers.cli.session import Seconds
from streamworkers.errors import BadInputError
from streamworkers_fakes.massive.api import DEFAULT_KEY, FakeMassive
from streamworkers_fakes.massive.market import DEFAULT_SYMBOLS, parse_split
from streamworkers_fakes.massive.misbehaviour import KINDS, parse_misbehaviour
from streamworkers_fakes.massive.server import running_fake_massive


class _WithMisbehaviours(click.Command):
    """A command whose help lists the misbehaviours below the options."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [
            (name, kind.meaning if kind.default is None else f"{kind.meaning}  [default: {_shown(kind.default)}]")
            for name, kind in KINDS.items()
        ]
        with formatter.section("Misbehaviours"):
            formatter.write_dl(rows)


@click.command(cls=_WithMisbehaviours, short_help="Serve synthetic bars as the Massive API would.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="Port; 0 picks a free one.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Seed of the market.")
@click.option("--api-key", "api_keys", multiple=True, help=f"An accepted API key.  [default: {DEFAULT_KEY}]")
@click.option("--symbols", metavar="A,B,…", help="Symbols in lists of tickers and grouped bars; others have bars too.")
@click.option("--unknown", multiple=True, metavar="SYMBOL", help="A symbol without bars.")
@click.option("--listed-from", multiple=True, metavar="SYMBOL:DATE", help="First day with bars of a symbol.")
@click.option(
    "--split", "splits", multiple=True, metavar="SYMBOL:DATE:FROM:TO", help="A split, as AAPL:2025-06-10:1:4."
)
@click.option(
    "--extended-share",
    type=click.FloatRange(0, 1),
    default=0.6,
    show_default=True,
    help="Share of pre- and post-market minutes with a bar.",
)
@click.option("--now", metavar="ISO", help="Stop the clock at this time, such as 2025-11-28T12:00-05:00.")
@click.option(
    "--latency-ms", type=Seconds(0), default=0, show_default=True, help="Delay before each answer, in milliseconds."
)
@click.option("--calls-per-minute", type=click.IntRange(1), help="Rate limit; further calls are answered with 429.")
@click.option(
    "--misbehave",
    "misbehaviours",
    multiple=True,
    metavar="NAME[=VALUE]",
    help="Misbehave; ,ticker=T ,calls=N ,share=S and ,path=P restrict it to some calls.",
)
@click.option("--log", "log_file", type=click.Path(dir_okay=False, path_type=Path), help="Append calls as JSON lines.")
def fake_massive(host: str, port: int, log_file: Path | None, misbehaviours: tuple[str, ...], **words: Any) -> None:
    """Serve synthetic bars as the Massive API would, until SIGTERM or Ctrl-C.

    Standard output is one line, the base URL. The same seed gives the same bars.
    """
    fake = FakeMassive(
        seed=words["seed"],
        symbols=_symbols(words["symbols"]),
        splits=[parse_split(text) for text in words["splits"]],
        unknown=words["unknown"],
        listed_from=dict(_listing(text) for text in words["listed_from"]),
        extended_share=words["extended_share"],
        now=_moment(words["now"]),
        api_keys=words["api_keys"] or (DEFAULT_KEY,),
        latency=words["latency_ms"] / 1000,
        calls_per_minute=words["calls_per_minute"],
        misbehaviours=[parse_misbehaviour(text) for text in misbehaviours],
        log_file=log_file,
    )
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with running_fake_massive(fake, host=host, port=port) as server:
        click.echo(server.url)
        stop.wait()


def _shown(default: float | str) -> str:
    return default if isinstance(default, str) else f"{default:g}"


def _symbols(text: str | None) -> tuple[str, ...]:
    if text is None:
        return DEFAULT_SYMBOLS
    symbols = tuple(word.strip() for word in text.split(",") if word.strip())
    if not symbols:
        raise BadInputError(f"--symbols {text!r} names no symbol")
    return symbols


def _listing(text: str) -> tuple[str, date]:
    symbol, _, day = text.rpartition(":")
    try:
        if symbol:
            return symbol, date.fromisoformat(day)
    except ValueError:
        pass
    raise BadInputError(f"--listed-from {text!r} is not SYMBOL:YYYY-MM-DD")


def _moment(text: str | None) -> datetime | None:
    try:
        return None if text is None else datetime.fromisoformat(text)
    except ValueError:
        raise BadInputError(f"--now {text!r} is not a moment, as 2025-11-28T12:00-05:00") from None
