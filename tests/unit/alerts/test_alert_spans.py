"""A bar belongs to the version in force at its close, and to no other."""

from datetime import UTC, datetime

import pytest

from streamworkers.alerts.engine.spans import Segment, first_needed, plan_epochs
from streamworkers.alerts.store.work import LiveAlert, VersionHead


def _at(hour: int) -> datetime:
    return datetime(2026, 1, 5, hour, tzinfo=UTC)


CLOSES = [_at(hour) for hour in (10, 11, 12, 13, 14, 15)]


def _version(number: int, epoch: int, hour: int, *, is_active: bool = True) -> VersionHead:
    return VersionHead(number, epoch, _at(hour), _at(hour), is_active)


def _live(*versions: VersionHead, since: int = 1, decided: tuple[int, datetime] | None = None) -> LiveAlert:
    return LiveAlert(1, _at(since), decided, list(versions))


def _planned(live: LiveAlert, offset: int = 0) -> list[tuple[int, list[tuple[int, int, int]]]]:
    return [
        (epoch.number, [(each.version.version, each.first, each.end) for each in epoch.segments])
        for epoch in plan_epochs(live, CLOSES, offset)
    ]


@pytest.mark.parametrize(("hour", "first"), [(9, 0), (10, 1), (12, 3), (15, 6), (16, 6)])
def test_the_first_bar_is_the_first_that_closes_after_the_version(hour: int, first: int) -> None:
    """One that closes at the moment of the change is that of the version before."""
    assert _planned(_live(_version(1, 1, hour))) == [(1, [(1, first, 6)])]


def test_a_symbol_that_came_later_begins_later() -> None:
    assert _planned(_live(_version(1, 1, 9), since=12)) == [(1, [(1, 3, 6)])]


def test_versions_of_an_epoch_share_it_without_gap_or_overlap() -> None:
    live = _live(_version(1, 1, 9), _version(2, 1, 11), _version(3, 2, 13))
    assert _planned(live) == [(1, [(1, 0, 2), (2, 2, 4)]), (2, [(3, 4, 6)])]
    assert [epoch.start for epoch in plan_epochs(live, CLOSES)] == [_at(9), _at(13)]


def test_bars_of_a_pause_belong_to_no_version() -> None:
    live = _live(_version(1, 1, 9), _version(2, 1, 11, is_active=False), _version(3, 2, 13))
    assert _planned(live) == [(1, [(1, 0, 2)]), (2, [(3, 4, 6)])]


def test_a_version_that_was_replaced_before_a_bar_closed_has_none() -> None:
    """Also where the symbol came after it: its segment is empty, not negative."""
    head = _version(1, 1, 9)
    assert _planned(_live(head, _version(2, 2, 9))) == [(1, [(1, 0, 0)]), (2, [(2, 0, 6)])]
    late = plan_epochs(_live(head, _version(2, 1, 10), since=12), CLOSES)
    assert late[0].segments[0] == Segment(head, 3, 3)


def test_places_are_counted_from_the_offset() -> None:
    assert _planned(_live(_version(1, 1, 10), _version(2, 1, 12)), 100) == [(1, [(1, 101, 103), (2, 103, 106)])]


@pytest.mark.parametrize(
    ("decided", "needed"),
    [
        (None, 9),  # never evaluated: from the first version on
        ((1, _at(1)), 13),  # the newest epoch only; what is left of the first is behind the mark of the series
        ((2, _at(1)), None),  # up to its series
        ((2, _at(0)), 9),  # the state is of an earlier interval of the symbol
    ],
)
def test_an_alert_needs_bars_from_where_its_state_ends(
    decided: tuple[int, datetime] | None, needed: int | None
) -> None:
    live = _live(_version(1, 1, 9), _version(2, 1, 11, is_active=False), _version(3, 2, 13), decided=decided)
    assert first_needed(live) == (None if needed is None else _at(needed))


def test_a_paused_alert_and_a_late_symbol_need_no_bars_before_them() -> None:
    assert first_needed(_live(_version(1, 1, 9), since=12)) == _at(12)
    assert first_needed(_live(_version(1, 1, 9), _version(2, 2, 11, is_active=False), decided=(1, _at(1)))) is None
