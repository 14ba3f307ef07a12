"""Preferences and quiet hours are stored for a user, one of each key."""

from datetime import time

import pytest

from streamworkers.actor import LOCAL, Actor
from streamworkers.database import Connection
from streamworkers.errors import BadInputError, UnknownNameError
from streamworkers.notifications.preferences import Preference, QuietHours
from streamworkers.notifications.store.preferences import (
    read_preferences,
    read_quiet_hours,
    remove_preference,
    set_preference,
    set_quiet_hours,
)

EVENING = Preference("alert_fired", "mail", "digest", None, time(18, 30), "Australia/Sydney")
NIGHT = QuietHours(time(22), time(7), "America/New_York")


def test_preferences_are_kept_by_type_and_channel(connection: Connection) -> None:
    set_preference(connection, LOCAL, Preference("alert_fired", "mail", "off"))
    set_preference(connection, LOCAL, EVENING)
    set_preference(connection, LOCAL, Preference("*", "*", "digest", 30))
    assert read_preferences(connection, ["local", "ana"]) == {"local": [Preference("*", "*", "digest", 30), EVENING]}
    assert remove_preference(connection, LOCAL, "alert_fired", "mail")
    assert not remove_preference(connection, LOCAL, "alert_fired", "mail")
    assert read_preferences(connection, ["local"]) == {"local": [Preference("*", "*", "digest", 30)]}


def test_quiet_hours_are_kept_and_ended(connection: Connection) -> None:
    set_quiet_hours(connection, LOCAL, QuietHours(time(1), time(2), "UTC"))
    set_quiet_hours(connection, LOCAL, NIGHT)
    assert read_quiet_hours(connection, ["local"]) == {"local": NIGHT}
    set_quiet_hours(connection, LOCAL, None)
    assert read_quiet_hours(connection, ["local"]) == {}


def test_wrong_values_and_unknown_users_change_nothing(connection: Connection) -> None:
    with pytest.raises(BadInputError, match="a local time needs a zone"):
        set_quiet_hours(connection, LOCAL, QuietHours(time(22), time(7), ""))
    with pytest.raises(BadInputError, match="mode 'loud' is none of"):
        set_preference(connection, LOCAL, Preference("*", "*", "loud"))  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="no user is named 'ana'; known: local"):
        set_quiet_hours(connection, Actor("ana"), NIGHT)
    with pytest.raises(UnknownNameError, match="no user is named 'ana'; known: local"):
        set_preference(connection, Actor("ana"), EVENING)
    assert (read_preferences(connection, ["local"]), read_quiet_hours(connection, ["local"])) == ({}, {})
