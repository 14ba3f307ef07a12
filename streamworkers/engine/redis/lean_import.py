"""Imports redis-py without OpenTelemetry's metrics.

Where OpenTelemetry is installed, redis-py imports it at each start, to report metrics that nobody here asks it for: a
tenth of a second, also while tracing is off.
"""

from streamworkers.lean_imports import import_without

import_without("redis", ("opentelemetry.metrics", "opentelemetry.sdk.metrics"))
