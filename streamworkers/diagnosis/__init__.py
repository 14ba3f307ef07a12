"""Checks of a running system: one table behind `doctor`, `status`, the job `health_check` and the readiness probes."""
