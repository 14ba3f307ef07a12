"""Decides which loads go first, and on whose behalf their calls to a provider are made."""

from typing import NamedTuple

from streamworkers.config import Settings
from streamworkers.engine.job import Origin

SHARE_OF_RUN = "run:"  # and its number: the share of a load that has one of its own


class Turn(NamedTuple):
    """Whether a load goes before others, and its share of the calls: `share` is empty for one of its own."""

    goes_first: bool
    share: str
    cost: int


def choose_turn(origin: Origin, items: int, settings: Settings) -> Turn:
    """Return the turn of a load: one that somebody asked for and that is small goes before large and scheduled ones.

    All requests of one requester have one share, so that nobody gets more by asking more often.
    """
    if origin.trigger == "schedule" or items > settings.load_request_items:
        return Turn(goes_first=False, share="", cost=settings.load_request_weight)
    return Turn(goes_first=True, share=f"user:{origin.requested_by}" if origin.requested_by else "", cost=1)
