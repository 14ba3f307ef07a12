"""Checks of the bars: are the newest sessions there?"""

from collections.abc import Iterator
from datetime import date

from streamworkers.diagnosis.finding import Finding
from streamworkers.diagnosis.snapshot import Snapshot


def find_stale_bars(snapshot: Snapshot) -> Iterator[Finding]:
    """The newest daily bar is too old, or there is none."""
    age = age_of_newest_day(snapshot)
    if age is None:
        yield Finding("data", "there are no daily bars")
    elif age > snapshot.thresholds.data_days:
        yield Finding("data", f"the newest daily bar is of {snapshot.newest_bars['day']}, {age} days ago")


def find_blind_alerts(snapshot: Snapshot) -> Iterator[Finding]:
    """Series whose missing bars alerts wait for."""
    for each in snapshot.blind_series:
        alerts = "1 alert is" if each.alerts == 1 else f"{each.alerts} alerts are"
        yield Finding(f"{each.symbol} {each.timeframe}", f"{alerts} blind since {each.since:%Y-%m-%d %H:%M} UTC")


def find_undecided_alerts(snapshot: Snapshot) -> Iterator[Finding]:
    """Series whose runs of `alerts` have all failed."""
    for each in snapshot.undecided_series:
        yield Finding(f"{each.symbol} {each.timeframe}", f"its alerts are not decided; the newest run was {each.run}")


def age_of_newest_day(snapshot: Snapshot) -> int | None:
    """The age of the newest daily bar in calendar days, or None."""
    last = snapshot.newest_bars["day"]
    if last is None:
        return None
    assert isinstance(last, date)
    return (snapshot.now.date() - last).days
