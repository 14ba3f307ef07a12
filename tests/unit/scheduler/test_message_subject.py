"""What a message says of itself is found also where the message cannot be accepted."""

from typing import Any

import pytest

from scheduler.message_subject import find_subject


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"job_type": "csv_universe_load", "job_id": "a", "source": "web"}, ("csv_universe_load", "a", "a", "web")),
        ({"event_type": "x", "event_id": "e", "requested_by": "desk"}, ("x", "e", None, "desk")),
        ({"user_id": "ana", "message_id": "m/1", "notification_type": "price"}, ("price", "m/1", None, None)),
        ({"job_id": "a b", "event_id": "e"}, (None, "e", None, None)),
        ({"job_id": 7, "event_type": ["x"], "source": "a\0b"}, (None, None, None, None)),
        ({"event_type": "", "job_type": "y", "requested_by": 1, "source": "z"}, ("y", None, None, "z")),
        ({"event_type": "x" * 300}, ("x" * 200, None, None, None)),
        ({}, (None, None, None, None)),
    ],
)
def test_type_ids_and_sender_are_those_that_keep_the_rules(fields: dict[str, Any], found: tuple[Any, ...]) -> None:
    subject = find_subject(fields)
    assert (subject.kind, subject.external_id, subject.job_id, subject.sender) == found
    assert subject.content_digest is not None
