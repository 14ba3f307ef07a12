"""The text of a message becomes a command, or an error that points at the word that is wrong.

What stands after `/alert` is the text form of alerts, as `streamworkers alerts add` takes it.
"""

import difflib
import re
import unicodedata
from collections.abc import Callable
from datetime import time
from typing import NamedTuple, TypeVar, cast

from streamworkers.alerts.alert_text import parse_alert_text
from streamworkers.alerts.duration import parse_duration
from streamworkers.errors import BadInputError
from streamworkers.market.bars.rules import require_symbol
from streamworkers.market.calendar.timeframes import timeframe_named
from streamworkers.notifications.preferences import find_zone
from streamworkers.rules.problem import RuleError, show_value
from streamworkers.rules.vocabulary import Vocabulary
from streamworkers.telegram.commands import (
    LATER_WORDS,
    WORDS,
    AlertVerb,
    Command,
    DrawChart,
    LinkChat,
    ListAlerts,
    NotInRelease,
    OneAlert,
    PlainCommand,
    PlainVerb,
    SetDigest,
    SetQuiet,
    ShowHelp,
    ShowRun,
    SilenceAlert,
    SilenceVerb,
    WriteAlert,
)

T = TypeVar("T")
_LONGEST_PROBLEM = 300
_COMMAND = re.compile(r"\s*/([A-Za-z0-9_]{1,64})(?:@([A-Za-z0-9_]{1,64}))?(?=\s|$)")
_WORD = re.compile(r"\S+")
_NUMBER = re.compile(r"#?([0-9]{1,18})")
_CODE = re.compile(r"[A-Za-z0-9_-]{1,64}")
_HOURS = re.compile(r"([0-9]{1,2}):([0-9]{2})-([0-9]{1,2}):([0-9]{2})")
_UNSEEN = ("Cf", "Cc", "Cs")  # what directs a text, control characters, and halves of a pair
_DASHES = {ord(dash): "-" for dash in "\N{EN DASH}\N{EM DASH}\N{NON-BREAKING HYPHEN}\N{FIGURE DASH}"}
_QUOTES = {ord(quote): '"' for quote in "\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}"}


class _Word(NamedTuple):
    text: str
    column: int


def plain_text(text: str) -> str:
    """The text with a space for each character that cannot be seen or stored, and the quotes of a keyboard.

    Its length stays, so that columns are those of the message.
    """
    shown = "".join(" " if unicodedata.category(char) in _UNSEEN else char for char in text)
    return shown.translate(_QUOTES)


def find_word(text: str, bot_name: str) -> str | None:
    """The word of the command, in lower case; None for a text that is none, or one for another bot."""
    found = _COMMAND.match(plain_text(text))
    if found is None or (found[2] is not None and found[2].lower() != bot_name.lower()):
        return None
    return found[1].lower()


def parse_command(text: str, vocabulary: Vocabulary) -> Command:
    """The command of a text that `find_word` has found one in. Raises RuleError with the column of what is wrong."""
    return _Reader(plain_text(text), vocabulary).command()


class _Reader:
    """The words of one message, and the place in them."""

    def __init__(self, text: str, vocabulary: Vocabulary) -> None:
        found = _COMMAND.match(text)
        assert found is not None
        self._text, self._vocabulary = text, vocabulary
        self._command, self._start = found, found.end()
        self._words = [_Word(each[0], each.start() + 1) for each in _WORD.finditer(text, self._start)]
        self._place = 0

    def command(self) -> Command:
        """Read the whole message, from its first word to its end."""
        word = self._command[1].lower()
        if word in LATER_WORDS:
            return NotInRelease(word)
        if word not in WORDS:
            raise self._fail(self._unknown(word), self._command.start(1) + 1)
        read = _READERS[word]
        command = read(self, word)
        if self._place < len(self._words):
            extra = self._words[self._place]
            raise self._fail(f"nothing is expected after {WORDS[word].form}, found {show_value(extra.text)}", extra)
        return command

    def link(self, _: str) -> Command:
        word = self._take()
        if word is not None and not _CODE.fullmatch(word.text):
            raise self._fail(f"{show_value(word.text)} is not a code", word)
        return LinkChat(word.text if word else None)

    def alert(self, _: str) -> Command:
        word = self._require("a rule such as AAPL > 150, or the number of an alert")
        if len(self._words) == 1 and _NUMBER.fullmatch(word.text):
            return OneAlert("show", self._number(word))
        self._place = len(self._words)
        rest = self._text[self._start :]
        try:
            return WriteAlert(parse_alert_text(rest, self._vocabulary))
        except RuleError as error:
            raise self._fail(error.problem, self._start + (error.column or 1)) from None

    def alerts(self, _: str) -> Command:
        return ListAlerts(self._symbol() if self._words else None)

    def one_alert(self, word: str) -> Command:
        return OneAlert(cast(AlertVerb, word), self._number(self._require("the number of an alert")))

    def silence(self, word: str) -> Command:
        number = self._number(self._require("the number of an alert"))
        seconds, symbol = None, None
        if word == "snooze" or self._place < len(self._words):
            seconds = self._duration()
        if word == "snooze" and self._place < len(self._words):
            symbol = self._symbol()
        return SilenceAlert(cast(SilenceVerb, word), number, seconds, symbol)

    def run(self, _: str) -> Command:
        return ShowRun(self._number(self._require("the number of a run")))

    def chart(self, _: str) -> Command:
        symbol = self._symbol()
        word = self._take()
        return DrawChart(symbol, None if word is None else self._reading(word, timeframe_named).name)

    def quiet(self, _: str) -> Command:
        word = self._take()
        if word is None:
            return PlainCommand("quiet")
        if word.text.lower() == "off":
            return SetQuiet()
        starts, ends = self._hours(word)
        zone = self._require("a time zone such as America/New_York")
        self._reading(zone, find_zone)
        return SetQuiet(starts, ends, zone.text)

    def digest(self, _: str) -> Command:
        word = self._require("on or off")
        if word.text.lower() not in ("on", "off"):
            raise self._fail(f"expected on or off, found {show_value(word.text)}", word)
        return SetDigest(word.text.lower() == "on")

    def plain(self, word: str) -> Command:
        return PlainCommand(cast(PlainVerb, word))

    def help(self, _: str) -> Command:
        word = self._take()
        topic = None if word is None else word.text.lower().lstrip("/")
        if word is not None and topic not in WORDS:
            raise self._fail(self._unknown(str(topic)), word)
        return ShowHelp(topic)

    def _take(self) -> _Word | None:
        if self._place == len(self._words):
            return None
        self._place += 1
        return self._words[self._place - 1]

    def _require(self, wanted: str) -> _Word:
        word = self._take()
        if word is None:
            raise self._fail(f"expected {wanted}, found the end", len(self._text.rstrip()) + 1)
        return word

    def _number(self, word: _Word) -> int:
        found = _NUMBER.fullmatch(word.text)
        if found is None:
            raise self._fail(f"expected a number, found {show_value(word.text)}", word)
        return int(found[1])

    def _symbol(self) -> str:
        word = self._require("a symbol such as AAPL")
        return self._reading(word, require_symbol)

    def _duration(self) -> float:
        word = self._require("a time such as 5m, 2h or 1d")
        return self._reading(word, lambda text: parse_duration(text).total_seconds())

    def _hours(self, word: _Word) -> tuple[time, time]:
        found = _HOURS.fullmatch(word.text.translate(_DASHES))
        if found is None:
            raise self._fail(f"expected hours such as 22:00-07:00 or off, found {show_value(word.text)}", word)
        first, second, third, fourth = map(int, found.groups())
        if max(first, third) > 23 or max(second, fourth) > 59:
            raise self._fail(f"{show_value(word.text)} is not between 00:00 and 23:59", word)
        if (first, second) == (third, fourth):
            raise self._fail("quiet hours end when they begin", word)
        return time(first, second), time(third, fourth)

    def _reading(self, word: _Word, read: Callable[[str], T]) -> T:
        """What a function makes of a word; its error points at the word."""
        try:
            return read(word.text)
        except BadInputError as error:
            raise self._fail(str(error), word) from None

    def _unknown(self, word: str) -> str:
        near = difflib.get_close_matches(word, WORDS, n=1)
        return f"there is no command /{word}" + (f"; did you mean /{near[0]}?" if near else "; /help lists all")

    def _fail(self, problem: str, at: _Word | int) -> RuleError:
        short = problem if len(problem) <= _LONGEST_PROBLEM else f"{problem[: _LONGEST_PROBLEM - 1]}…"
        return RuleError((), short, self._text, at if isinstance(at, int) else at.column)


_READERS: dict[str, Callable[[_Reader, str], Command]] = {
    "start": _Reader.link,
    "alert": _Reader.alert,
    "alerts": _Reader.alerts,
    **dict.fromkeys(("pause", "resume", "unmute", "delete"), _Reader.one_alert),
    **dict.fromkeys(("snooze", "mute"), _Reader.silence),
    "chart": _Reader.chart,
    "quiet": _Reader.quiet,
    "digest": _Reader.digest,
    "run": _Reader.run,
    **dict.fromkeys(("runs", "schedule", "status", "health", "stop", "forget"), _Reader.plain),
    "help": _Reader.help,
}
