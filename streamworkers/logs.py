"""Structured logs on standard error: events with fields and without secrets, as JSON unless it is a terminal."""

import logging
import sys
from typing import Any

from streamworkers.faults import hide_secrets
from streamworkers.logger import structlog


def configure_logs(level: str, style: str, *processors: structlog.typing.Processor) -> None:
    """Set the minimum level and the format (`auto`, `console` or `json`) of all logs of this process.

    Further processors can add fields to every event.
    """
    as_json = style == "json" or (style == "auto" and not sys.stderr.isatty())
    # Formatted by rich, the parts of a URL would not stand together.
    console = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    renderers: list[Any] = (
        [structlog.processors.format_exc_info, _hide_secrets, structlog.processors.JSONRenderer()]
        if as_json
        else [_hide_secrets, lambda logger, name, event: hide_secrets(console(logger, name, event))]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *processors,
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        # Writes a line in one call: the supervisor and its workers share the stream.
        logger_factory=lambda *_: structlog.WriteLogger(getattr(sys.stderr, "behind", sys.stderr)),
        cache_logger_on_first_use=False,
    )
    # Hides a warning for every attempt to reconnect; the services log a lost database once.
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)


def _hide_secrets(_logger: object, _name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Processor: no text of an event holds a secret."""
    return {name: hide_secrets(value) if isinstance(value, str) else value for name, value in event.items()}
