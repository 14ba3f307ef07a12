"""Finds out what a corrected bar would have made different: a replay by the same function, compared with what fired."""

from datetime import datetime

from streamworkers.alerts.decide_bars import AlertProgress
from streamworkers.alerts.engine.deciding import decide_places
from streamworkers.alerts.engine.reading import MOST_REPLAYED, SymbolWork, place_after
from streamworkers.alerts.engine.spans import plan_epochs
from streamworkers.alerts.store.decisions import Correction
from streamworkers.alerts.store.work import LiveAlert


def check_corrections(work: SymbolWork) -> list[Correction]:
    """The differences for all alerts whose state is of their newest epoch; nothing is rewound."""
    if work.corrected is None or work.columns is None:
        return []
    return [each for live in work.alerts for each in _check_alert(work, live, *work.corrected)]


def _check_alert(work: SymbolWork, live: LiveAlert, first: datetime, change: int) -> list[Correction]:
    decided = work.mark.evaluated_through
    epochs = plan_epochs(live, work.closes, work.offset)
    if decided is None or not epochs or live.decided != (epochs[-1].number, live.since):
        return []
    epoch, fired = epochs[-1], work.fired.get(live.alert_id, [])
    start, progress = epoch.segments[0].first, None
    before: tuple[datetime, AlertProgress] | None = next((each for each in reversed(fired) if each[0] < first), None)
    if before is not None:
        start, progress = place_after(work, before[0]), before[1]
    end = place_after(work, decided)
    is_cut = start < work.offset or (before is None and start == work.offset and work.is_cut)
    if is_cut or end - start > MOST_REPLAYED or _is_forgotten(work, live, start):
        return [Correction(live.alert_id, work.symbol, first, change, "not_checked")]
    _, bars = decide_places(work, live, epoch, (start, end), progress)
    replayed = {work.starts[each.place - work.offset] for each in bars if each.step.fired}
    recorded = {bar for bar, _ in fired if bar >= first}
    found = [
        *((bar, "would_have_fired") for bar in replayed - recorded if bar >= first),
        *((bar, "would_not_have_fired") for bar in recorded - replayed),
    ]
    return [Correction(live.alert_id, work.symbol, bar, change, kind) for bar, kind in sorted(found)]


def _is_forgotten(work: SymbolWork, live: LiveAlert, start: int) -> bool:
    """True if firings at the bars from `start` on were deleted by their retention."""
    place = start - work.offset
    return (
        live.forgotten_through is not None
        and place < len(work.starts)
        and (work.starts[place] <= live.forgotten_through)
    )
