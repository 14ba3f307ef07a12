"""The producer: turns ticks of schedules and messages of other programs into runs, exactly once each."""

# Proves that this package is imported, not another one of the same name; see engine/host/scheduler_package.py.
DISTRIBUTION = "streamworkers"
