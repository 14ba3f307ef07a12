"""Preferences and quiet hours are checked before they are stored."""

from dataclasses import replace
from datetime import UTC, time

import pytest

from streamworkers.errors import BadInputError
from streamworkers.notifications.preferences import Preference, QuietHours, require_preference, require_quiet_hours

DIGEST = Preference("alert_fired", "*", "digest", digest_at=time(18), zone="America/New_York")
NIGHT = QuietHours(time(22), time(7), "Australia/Lord_Howe")


def test_checked_values_are_returned() -> None:
    assert require_preference(DIGEST) is DIGEST
    assert require_preference(Preference("*", "mail", "off")).mode == "off"
    assert require_quiet_hours(NIGHT) is NIGHT


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"type": "Alerts"}, "type 'Alerts' is not a name of"),
        ({"channel": ""}, "channel '' is not a name of"),
        ({"type": "endpoint_code"}, "endpoint_code has no preference"),
        ({"mode": "weekly"}, "mode 'weekly' is none of instant, digest, off"),
        ({"mode": "instant"}, "mode instant has no time of a digest"),
        ({"digest_minutes": 5}, "a digest comes every so many minutes, or at a local time, not both"),
        ({"digest_at": None}, "zone 'America/New_York' is of a digest at a local time, which is missing"),
        ({"digest_at": None, "zone": None, "digest_minutes": 0}, "digest_minutes 0 is not from 1 to 10,080"),
        ({"zone": None}, "a local time needs a zone, such as America/New_York: none is assumed"),
        ({"zone": "Mars/Olympus"}, "zone 'Mars/Olympus' is no time zone of the IANA database"),
        ({"zone": "../../etc/passwd"}, "is no time zone of the IANA database"),
        ({"zone": "America"}, "zone 'America' is no time zone of the IANA database"),
        ({"digest_at": time(18, 0, 1)}, "digest_at 18:00:01 is not a local time of hours and minutes"),
        ({"digest_at": time(18, tzinfo=UTC)}, "digest_at 18:00:00+00:00 is not a local time of hours and minutes"),
    ],
)
def test_a_wrong_preference_is_named_with_its_rule(changes: dict[str, object], message: str) -> None:
    with pytest.raises(BadInputError) as caught:
        require_preference(replace(DIGEST, **changes))  # type: ignore[arg-type]
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"zone": ""}, "a local time needs a zone, such as America/New_York: none is assumed"),
        ({"zone": "EST5EDT6"}, "zone 'EST5EDT6' is no time zone"),
        ({"ends": time(22)}, "quiet hours begin and end at 22:00: without a length they hold nothing"),
        ({"starts": time(22, 0, 5)}, "the start 22:00:05 is not a local time of hours and minutes"),
        ({"ends": time(7, microsecond=1)}, "the end 07:00:00.000001 is not a local time of hours and minutes"),
    ],
)
def test_wrong_quiet_hours_are_named_with_their_rule(changes: dict[str, object], message: str) -> None:
    with pytest.raises(BadInputError) as caught:
        require_quiet_hours(replace(NIGHT, **changes))  # type: ignore[arg-type]
    assert message in str(caught.value)
