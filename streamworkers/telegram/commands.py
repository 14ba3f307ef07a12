"""What a message can ask for: one class for each form of command, and the words that people write."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import time
from typing import Literal, TypeAlias

from streamworkers.alerts.document import Alert

AlertVerb = Literal["show", "pause", "resume", "unmute", "delete"]
SilenceVerb = Literal["snooze", "mute"]
PlainVerb = Literal["runs", "schedule", "status", "health", "quiet", "stop", "forget"]


@dataclass(frozen=True, slots=True)
class LinkChat:
    """`/start CODE`: link this chat with the user who made the code; without a code, a greeting."""

    code: str | None = None


@dataclass(frozen=True, slots=True)
class WriteAlert:
    """`/alert RULE`: add an alert."""

    alert: Alert


@dataclass(frozen=True, slots=True)
class ListAlerts:
    """`/alerts [SYMBOL]`: the alerts of the user, or those about a symbol."""

    symbol: str | None = None


@dataclass(frozen=True, slots=True)
class OneAlert:
    """`/alert 12`, `/pause 12`, `/resume 12`, `/unmute 12`, `/delete 12`."""

    verb: AlertVerb
    number: int


@dataclass(frozen=True, slots=True)
class SilenceAlert:
    """`/snooze 12 2h [SYMBOL]` and `/mute 12 [2h]`. A mute without `seconds` has no end."""

    verb: SilenceVerb
    number: int
    seconds: float | None = None
    symbol: str | None = None


@dataclass(frozen=True, slots=True)
class ShowRun:
    """`/run 42`: one run with its counts."""

    number: int


@dataclass(frozen=True, slots=True)
class DrawChart:
    """`/chart AAPL [1d]`: a picture of prices, with the levels and indicators of the user's alerts."""

    symbol: str
    timeframe: str | None = None


@dataclass(frozen=True, slots=True)
class SetQuiet:
    """`/quiet 22:00-07:00 America/New_York`, or `/quiet off`: then all three are None."""

    starts: time | None = None
    ends: time | None = None
    zone: str | None = None


@dataclass(frozen=True, slots=True)
class SetDigest:
    """`/digest on|off`: collect messages of this chat, or send each at once."""

    is_on: bool


@dataclass(frozen=True, slots=True)
class PlainCommand:
    """A command that is a word alone: `/runs`, `/status`, `/stop`, …"""

    verb: PlainVerb


@dataclass(frozen=True, slots=True)
class ShowHelp:
    """`/help [COMMAND]`: all commands, or one."""

    topic: str | None = None


@dataclass(frozen=True, slots=True)
class NotInRelease:
    """A command of a part that this release does not have."""

    word: str


Command: TypeAlias = (
    LinkChat
    | WriteAlert
    | ListAlerts
    | OneAlert
    | SilenceAlert
    | ShowRun
    | DrawChart
    | SetQuiet
    | SetDigest
    | PlainCommand
    | ShowHelp
    | NotInRelease
)


@dataclass(frozen=True, slots=True)
class CommandWord:
    """A word after the slash: how it is written, what it does, and the scope that it needs."""

    form: str
    help: str
    scope: str | None = None


WORDS: dict[str, CommandWord] = {
    "start": CommandWord("/start CODE", "link this chat with your user"),
    "alert": CommandWord("/alert AAPL > 150 [1h] [once]", "add an alert; with a number, show one"),
    "alerts": CommandWord("/alerts [SYMBOL]", "list your alerts"),
    "pause": CommandWord("/pause 12", "stop deciding an alert"),
    "resume": CommandWord("/resume 12", "decide it again"),
    "snooze": CommandWord("/snooze 12 2h [SYMBOL]", "keep one symbol of an alert quiet for a time"),
    "mute": CommandWord("/mute 12 [2h]", "keep an alert quiet, for a time or until /unmute"),
    "unmute": CommandWord("/unmute 12", "end that"),
    "delete": CommandWord("/delete 12", "delete an alert, after a question"),
    "chart": CommandWord("/chart AAPL [1d]", "draw prices, with the levels and indicators of your alerts"),
    "quiet": CommandWord("/quiet 22:00-07:00 America/New_York", "hours without messages; /quiet off"),
    "digest": CommandWord("/digest on|off", "collect the messages of this chat, or send each at once"),
    "runs": CommandWord("/runs", "the newest runs", "ops"),
    "run": CommandWord("/run 42", "one run", "ops"),
    "schedule": CommandWord("/schedule", "what runs when", "ops"),
    "status": CommandWord("/status", "queues and processes", "ops"),
    "health": CommandWord("/health", "what is wrong", "ops"),
    "stop": CommandWord("/stop", "no more messages to this chat; no bot and no job stops"),
    "forget": CommandWord("/forget", "delete what is stored about this chat, after a question"),
    "help": CommandWord("/help [COMMAND]", "this list"),
}


def find_missing_scope(word: str | None, scopes: Sequence[str]) -> str | None:
    """The scope that a command needs and that is not among these."""
    scope = WORDS[word].scope if word in WORDS else None
    return None if scope in scopes else scope


def changes_something(command: Command) -> bool:
    """True for a command that is not executed when its message is old."""
    match command:
        case OneAlert(verb):
            return verb != "show"
        case PlainCommand(verb):
            return verb in ("stop", "forget")
        case WriteAlert() | SilenceAlert() | SetQuiet() | SetDigest() | LinkChat():
            return True
    return False


# Words of parts that do not exist yet.
LATER_WORDS = frozenset(
    ("screen", "screens", "report", "bots", "bot", "startbot", "stopbot", "positions", "trades", "profit")
)
