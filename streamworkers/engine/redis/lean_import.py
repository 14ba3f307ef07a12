"""Imports redis-py without OpenTelemetry's metrics.

Where OpenTelemetry is installed, redis-py imports it at each start, to report metrics that nobody here asks it for: a
tenth of a second, also while tracing is off. A program that has imported them itself keeps them.
"""

import sys
from importlib import import_module

_METRICS = ("opentelemetry.metrics", "opentelemetry.sdk.metrics")


def import_redis() -> None:
    """Import redis-py, unless that has happened, while what it would import of OpenTelemetry cannot be imported."""
    hidden = () if "redis" in sys.modules else [name for name in _METRICS if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        import_module("redis")
    finally:
        for name in hidden:
            del sys.modules[name]


import_redis()
