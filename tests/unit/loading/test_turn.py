"""Which loads go before others, and who shares calls with whom."""

import pytest

from streamworkers.config import Settings
from streamworkers.engine.job import Origin
from streamworkers.loading.turn import Turn, choose_turn

SETTINGS = Settings(load_request_items=100, load_request_weight=7)
OTHER = Turn(goes_first=False, share="", cost=7)


@pytest.mark.parametrize(
    ("origin", "items", "turn"),
    [
        (Origin(requested_by="anna"), 100, Turn(goes_first=True, share="user:anna", cost=1)),
        (Origin("event", requested_by="anna"), 1, Turn(goes_first=True, share="user:anna", cost=1)),
        (Origin("event"), 1, Turn(goes_first=True, share="", cost=1)),
        (Origin(requested_by="anna"), 101, OTHER),
        (Origin("schedule", 1, "nightly"), 1, OTHER),
    ],
)
def test_a_small_load_that_somebody_asked_for_goes_first(origin: Origin, items: int, turn: Turn) -> None:
    assert choose_turn(origin, items, SETTINGS) == turn
