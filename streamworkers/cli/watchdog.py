"""`streamworkers watchdog`: notices from outside of the pool that no messages leave it, and reports that."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import click

from streamworkers.cli.session import Number, Session, json_option, parse_parameters, print_json
from streamworkers.diagnosis.watchdog import BoundedLook, Standstill, decide_report, find_standstill
from streamworkers.engine.host.signals import Signals
from streamworkers.errors import BadInputError, UsageError
from streamworkers.faults import describe
from streamworkers.logger import get_logger
from streamworkers.notifications.channels.channel import Address, MessageChannel
from streamworkers.notifications.channels.registry import load_channels
from streamworkers.notifications.content import Content
from streamworkers.notifications.direct import find_target, send_directly

log = get_logger()
_LOOK_SECONDS = 30.0


@click.command(short_help="Notice from outside that no messages leave the pool.")
@click.option("--channel", help="Report on this channel.")
@click.option("--address", help="Report to this address on it.")
@click.option("--setting", "words", multiple=True, metavar="NAME=VALUE", help="A setting of the address.")
@click.option(
    "--every",
    type=Number(1, 3600),
    default=30.0,
    show_default=True,
    help="Seconds from one look to the next.",
)
@click.option("--once", is_flag=True, help="Look once, and print what is wrong; exit code 1 if something is.")
@json_option
def watchdog(
    channel: str | None, address: str | None, words: tuple[str, ...], every: float, once: bool, as_json: bool
) -> int:
    """Look whether a scheduler and a worker live and messages leave in time, and report what is wrong.

    The report goes to an address directly, without Redis, PostgreSQL, schedulers or workers: once when two looks in a
    row have found something, every six hours while it lasts, and once when it is over. Run it on another machine than
    the pool, under something that starts it again when it ends.
    """
    session = Session.open()
    look = BoundedLook(lambda: _look(session), _LOOK_SECONDS)
    if once:
        return _print_look(look(), as_json=as_json)
    if channel is None or address is None:
        raise BadInputError("a watchdog needs --channel and --address: where it reports, without the pool")
    target = find_target(load_channels(session.settings), channel, address, parse_parameters(words))
    if (missing := target[0].find_missing_setting(target[1])) is not None:
        raise UsageError(missing)
    signals = Signals()
    signals.install()
    Watching(look, *target).run(signals.wait, every)
    return 0


def _look(session: Session) -> Sequence[str]:
    with session.database() as connection, session.streams() as streams:
        return find_standstill(connection, streams, session.settings)


def _print_look(troubles: Sequence[str], *, as_json: bool) -> int:
    if as_json:
        print_json([{"trouble": each} for each in troubles])
    else:
        for each in troubles:
            click.echo(each)
    return 1 if troubles else 0


@dataclass
class Watching:
    """Looks again and again, and reports; what could not be sent is sent at the next look."""

    look: Callable[[], Sequence[str]]
    channel: MessageChannel
    address: Address
    standing: Standstill = field(default_factory=Standstill)
    _was_wrong: bool = False
    _unsent: tuple[Content, UUID] | None = None

    def run(self, wait: Callable[[float], bool], every: float) -> None:
        """Watch until a stop is asked for; `wait` pauses, and returns True then."""
        log.info("watchdog_started", channel=self.channel.name)
        while True:
            self.turn(time.monotonic())
            if wait(every):
                return

    def turn(self, now: float) -> None:
        """Look once. One look that finds something may have met a pause of milliseconds: two in a row count."""
        troubles = list(self.look())
        log.info("watchdog_looked", troubles=troubles)
        is_certain = self._was_wrong or not troubles
        self._was_wrong = bool(troubles)
        report = decide_report(self.standing, troubles, now) if is_certain else None
        if report is not None and self._send(report.content):
            self.standing = report.after

    def _send(self, content: Content) -> bool:
        """True if the message was taken. The same one again has the same id, so that receivers can recognise it."""
        if self._unsent is None or self._unsent[0] != content:
            self._unsent = content, uuid4()
        try:
            send_directly(self.channel, self.address, *self._unsent)
        except Exception as error:  # noqa: BLE001  # whatever a channel raises, the next look tries again
            log.error("watchdog_not_sent", channel=self.channel.name, error=describe(error))
            return False
        self._unsent = None
        log.warning("watchdog_reported", channel=self.channel.name, title=content.title)
        return True
