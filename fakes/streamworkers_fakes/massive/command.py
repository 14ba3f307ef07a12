"""`streamworkers fake-massive`."""

from datetime import datetime
from pathlib import Path
from typing import Any

import click

from streamworkers.cli.session import Seconds
from streamworkers.errors import BadInputError
from streamworkers_fakes.massive.api import DEFAULT_KEY, FakeMassive
from streamworkers_fakes.massive.listings import (
    FakeListings,
    parse_correction,
    parse_days,
    parse_rename,
    parse_shares,
)
from streamworkers_fakes.massive.misbehaviour import KINDS, parse_misbehaviour
from streamworkers_fakes.massive.plans import PLANS, parse_plan
from streamworkers_fakes.massive.server import running_fake_massive
from streamworkers_fakes.massive.splits import parse_split
from streamworkers_fakes.massive.symbols import DEFAULT_SYMBOLS
from streamworkers_fakes.serving import stop_signal


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
@click.option("--delisted-after", multiple=True, metavar="SYMBOL:DATE", help="Last day with bars of a symbol.")
@click.option(
    "--thin", multiple=True, metavar="SYMBOL:SHARE", help="Share of days and minutes in which a symbol trades."
)
@click.option(
    "--rename", "renames", multiple=True, metavar="OLD:NEW:DATE", help="A symbol under a new name from a day on."
)
@click.option("--always-open", multiple=True, metavar="SYMBOL", help="A symbol that trades at all hours of all days.")
@click.option(
    "--correct",
    "corrections",
    multiple=True,
    metavar="SYMBOL:DATE:FACTOR:MOMENT",
    help="Another close of a day, known from a moment on.",
)
@click.option("--fillers", type=click.IntRange(0, 99_999), default=0, show_default=True, help="More symbols in lists.")
@click.option("--fractional", is_flag=True, help="Volumes with parts of shares.")
@click.option(
    "--plan",
    default="unlimited",
    show_default=True,
    metavar="NAME[,…]",
    help=f"Plan of the keys: {', '.join(PLANS)}; ,clipped ,years=N ,calls=N and ,without=ENDPOINT change it.",
)
@click.option("--as-real", is_flag=True, help="Do not say in a header of each answer that the bars are invented.")
@click.option("--base-path", default="", metavar="PATH", help="Path before all others, such as /gateway.")
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
        listings=_listings(words),
        fillers=words["fillers"],
        fractional=words["fractional"],
        plan=parse_plan(words["plan"]),
        base_path=words["base_path"].rstrip("/"),
        confesses=not words["as_real"],
        extended_share=words["extended_share"],
        now=_moment(words["now"]),
        api_keys=words["api_keys"] or (DEFAULT_KEY,),
        latency=words["latency_ms"] / 1000,
        calls_per_minute=words["calls_per_minute"],
        misbehaviours=[parse_misbehaviour(text) for text in misbehaviours],
        log_file=log_file,
    )
    stop = stop_signal()
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


def _listings(words: dict[str, Any]) -> FakeListings:
    return FakeListings(
        listed_from=parse_days("--listed-from", words["listed_from"]),
        delisted_after=parse_days("--delisted-after", words["delisted_after"]),
        thin=parse_shares(words["thin"]),
        renames=tuple(map(parse_rename, words["renames"])),
        always_open=frozenset(words["always_open"]),
        corrections=tuple(map(parse_correction, words["corrections"])),
    )


def _moment(text: str | None) -> datetime | None:
    try:
        return None if text is None else datetime.fromisoformat(text)
    except ValueError:
        raise BadInputError(f"--now {text!r} is not a moment, as 2025-11-28T12:00-05:00") from None
