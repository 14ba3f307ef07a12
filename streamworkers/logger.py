"""The loggers of all modules: structlog's, imported without rich.

structlog imports rich to show tracebacks in colours, which `configure_logs` does not want: a sixth of what a worker
imports, at each start.
"""

from typing import Any

from streamworkers.lean_imports import import_without

import_without("structlog", ("rich",))

import structlog  # noqa: E402

__all__ = ["get_logger", "structlog"]


def get_logger() -> Any:
    """Return a logger that takes events with fields, and finds out at each event how logs are configured."""
    return structlog.get_logger()
