"""The log lines of user code in a worker: whatever it logs or prints carries the run, the job and the item.

A call of a handler or of `save` is about a run. Which item it is at is known while it iterates over its items, and
where it has only one. A thread that user code starts knows the run, and the item of a call that has only one.
"""

import logging
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TextIO, TypeVar, cast

from streamworkers.engine.outcome import Item
from streamworkers.logger import get_logger, structlog

T = TypeVar("T")
_LONGEST_LINE = 8192
_LEVELS = (logging.CRITICAL, logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG)
# They log each request at `info`, with its URL, which can hold a token.
_NOISY = ("httpx", "httpcore", "urllib3")


@dataclass(slots=True)
class _Call:
    """The call that this process is in, its only item if it has one, and the item that its thread is at.

    Plain attributes, and no context variables: threads of user code see them, and they cost nothing for each item.
    """

    run_id: int
    job: str
    thread: int
    only: Item | None
    at: Item | None = None


_call: _Call | None = None


@contextmanager
def logging_call(run_id: int, job: str, items: Sequence[Item]) -> Iterator[None]:
    """Let every log line within carry the run and the job, and the item if there is only one."""
    global _call  # one call at a time: a worker has one thread for them
    _call = _Call(run_id, job, threading.get_ident(), items[0] if len(items) == 1 else None)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, PrintedLines):
                stream.end_line()
        _call = None


class WatchedList(list[T]):
    """A list, and which item somebody who iterates over it is at."""

    def __init__(self, elements: Iterable[T], item_of: Callable[[T], Item]) -> None:
        super().__init__(elements)
        self._item_of = item_of

    def __iter__(self) -> Iterator[T]:
        call, item_of = _call, self._item_of
        if call is None or call.thread != threading.get_ident():
            yield from super().__iter__()
            return
        try:
            for element in super().__iter__():
                call.at = item_of(element)
                yield element
        finally:
            call.at = None


def add_call_fields(_logger: object, _name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Processor: add the run, the job and the item that user code is at; what the line says itself stays."""
    for name, value in _fields(_current_item()).items():
        event.setdefault(name, value)
    return event


def _current_item() -> Item | None:
    if _call is None:
        return None
    return _call.only or (_call.at if _call.thread == threading.get_ident() else None)


def _fields(item: Item | None) -> dict[str, Any]:
    if _call is None:
        return {}
    fields: dict[str, Any] = {"run": _call.run_id, "job": _call.job}
    if item is not None:
        fields |= {"item": item.seq, "symbol": item.symbol, "attempt": item.attempt}
        if item.timeframe is not None:
            fields["timeframe"] = item.timeframe
    return fields


def take_over_output(level: str) -> None:
    """Make events of what user code prints, warns of, or logs with `logging`, from a level on."""
    sys.stdout = cast("TextIO", PrintedLines(sys.stdout, "info"))
    sys.stderr = cast("TextIO", PrintedLines(sys.stderr, "warning"))
    root = logging.getLogger()
    root.addHandler(_EventHandler())
    root.setLevel(level.upper())
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(True)


class _EventHandler(logging.Handler):
    """Makes an event of a record of `logging`."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record's message, with the name of its logger and its error."""
        try:
            level = next((each for each in _LEVELS if each <= record.levelno), logging.DEBUG)
            fields = {"exc_info": record.exc_info} if record.exc_info else {}
            get_logger().log(level, record.getMessage(), logger=record.name, **fields)
        except Exception:  # noqa: BLE001  # as each handler does: a line that cannot be formatted fails no item
            self.handleError(record)


class _BegunLine(threading.local):
    """What a thread has printed without an end of line, and the item that it was about."""

    text: str = ""
    item: Item | None = None


class PrintedLines:
    """A standard stream of a worker: each line that user code prints is an event; other lines are written through."""

    def __init__(self, behind: TextIO, level: str) -> None:
        self.behind = behind
        self._level = level
        self._begun = _BegunLine()

    def write(self, text: str) -> int:
        """Log each line that ends in the text; what follows waits for its end."""
        if _call is None:
            return self.behind.write(text)
        *lines, rest = text.split("\n")
        for line in lines:
            self._add(line)
            self.end_line()
        self._add(rest)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each of the texts."""
        for line in lines:
            self.write(line)

    def end_line(self) -> None:
        """Log what was printed without an end of line, in several events if it is very long."""
        text, self._begun.text = self._begun.text, ""
        for start in range(0, len(text), _LONGEST_LINE):
            part = text[start : start + _LONGEST_LINE]
            getattr(get_logger(), self._level)("printed", text=part, **_fields(self._begun.item))

    def _add(self, text: str) -> None:
        if not self._begun.text:
            self._begun.item = _current_item()
        self._begun.text += text
        if len(self._begun.text) >= _LONGEST_LINE:
            self.end_line()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.behind, name)
