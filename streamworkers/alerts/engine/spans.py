"""Which version of an alert decides which bars: pure functions over versions and closes of bars."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from streamworkers.alerts.store.work import LiveAlert, VersionHead


@dataclass(frozen=True, slots=True)
class Segment:
    """The places of bars, from `first` up to but not `end`, that one version decides."""

    version: VersionHead
    first: int
    end: int


@dataclass(frozen=True, slots=True)
class Epoch:
    """The bars that share a state: those that close after `start`."""

    number: int
    start: datetime
    segments: tuple[Segment, ...]


def plan_epochs(live: LiveAlert, closes: Sequence[datetime], offset: int = 0) -> list[Epoch]:
    """The epochs of an alert about a symbol, oldest first, over bars that close at `closes`, the first at `offset`.

    A bar belongs to the version in force at its close; those of a pause belong to none.
    """
    epochs: list[Epoch] = []
    for place, version in enumerate(live.versions):
        if not version.is_active:
            continue
        begin = max(version.effective_from, live.since)
        first = offset + bisect_right(closes, begin)
        end = offset + len(closes)
        if place + 1 < len(live.versions):
            end = offset + bisect_right(closes, live.versions[place + 1].effective_from)
        segment = Segment(version, first, max(first, end))
        if epochs and epochs[-1].number == version.epoch:
            epochs[-1] = Epoch(version.epoch, epochs[-1].start, (*epochs[-1].segments, segment))
        else:
            epochs.append(Epoch(version.epoch, begin, (segment,)))
    return epochs


def first_needed(live: LiveAlert) -> datetime | None:
    """The close after which an alert has undecided bars, if that is not up to its series; None where it is."""
    newest = live.versions[-1]
    if live.decided == (newest.epoch, live.since):
        return None
    # What is left of the epoch that is decided already is behind the mark of its series.
    after = live.decided[0] if live.decided is not None and live.decided[1] == live.since else 0
    begins = [each.effective_from for each in live.versions if each.is_active and each.epoch > after]
    return max(min(begins), live.since) if begins else None
