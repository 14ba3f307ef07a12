"""Compares the clocks of the services with that of this machine."""

import time
from collections.abc import Iterator

from streamworkers.diagnosis.finding import Finding
from streamworkers.diagnosis.snapshot import Snapshot


def find_clock_difference(where: str, its_seconds: float, snapshot: Snapshot) -> Iterator[Finding]:
    """Compare a clock that was read just now, in Unix seconds, with this machine's."""
    ahead = its_seconds - time.time()
    if abs(ahead) > snapshot.thresholds.clock_seconds:
        direction = "ahead of" if ahead > 0 else "behind"
        yield Finding(where, f"its clock is {abs(ahead):.0f} s {direction} that of this machine")
