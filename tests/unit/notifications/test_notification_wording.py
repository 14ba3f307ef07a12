"""What messages say, type by type, and that no data of another program breaks them."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamworkers.notifications.content import Button, Content
from streamworkers.notifications.notification_types import CODE_TYPE, NOTIFICATION_TYPES
from streamworkers.notifications.wording import write_content, write_digest

AT = datetime(2026, 1, 5, 21, tzinfo=UTC)
FIRED = {
    "alert_id": 12,
    "name": "breakout",
    "symbol": "AAPL",
    "timeframe": "day",
    "bar_time": "2026-01-05T05:00:00+00:00",
    "closed_at": "2026-01-05T21:00:00+00:00",
    "price": 151.25,
    "live": True,
    "earlier": 0,
    "run_id": 7,
}
BUTTONS = (
    Button("Snooze 1 h", "alert:snooze:12:AAPL"),
    Button("Mute", "alert:mute:12"),
    Button("Show", "alert:show:12"),
)


@dataclass(frozen=True)
class Sent:
    type: str
    data: dict[str, Any] = field(default_factory=dict)
    created_at: datetime = AT


@pytest.mark.parametrize(
    ("kind", "data", "title", "lines"),
    [
        (
            "alert_fired",
            FIRED,
            "Alert on AAPL: breakout",
            ("AAPL: breakout (day), price 151.25", "The bar closed at 2026-01-05 16:00 EST"),
        ),
        (
            "alert_fired",
            FIRED | {"text": "AAPL is <b>up</b>", "live": False, "earlier": 3},
            "Alert on AAPL: breakout",
            (
                "AAPL is <b>up</b>",
                "Late: the bar closed at 2026-01-05 16:00 EST",
                "Earlier firings without a message of their own: 3",
            ),
        ),
        (
            "alert_released",
            FIRED | {"rule": "price > 150"},
            "Alert released on AAPL: breakout",
            ("AAPL: price > 150 (day), price 151.25", "The bar closed at 2026-01-05 16:00 EST"),
        ),
        ("alert_blind", {"symbol": "AAPL", "text": "no bars"}, "Blind alert on AAPL", ("no bars",)),
        (
            "alert_muted",
            {"symbol": "AAPL", "name": "b", "text": "a split"},
            "Alert muted on AAPL: b",
            ("a split",),
        ),
        (
            "alert_would_have_fired",
            FIRED,
            "Correction: an alert would have fired on AAPL: breakout",
            ("at the day of 2026-01-05 00:00 EST",),
        ),
        (
            "run_failed",
            {"run_id": 42, "job": "analysis", "reason": "key rejected", "failed": 3, "total": 10},
            "Run 42 of analysis failed",
            ("key rejected", "3 of 10 items failed", "Look: streamworkers runs show 42"),
        ),
        ("run_failed", {}, "A run failed", ()),
        (
            "run_late",
            {"schedule": "nightly", "due_at": "2026-01-05T22:30:00Z"},
            "nightly is late",
            ("It was due at 2026-01-05 17:30 EST",),
        ),
        (
            "run_too_long",
            {"schedule": "nightly", "run_id": 7, "reason": "after 905 s"},
            "nightly was cancelled",
            ("after 905 s", "Look: streamworkers runs show 7"),
        ),
        (
            "deadline_missed",
            {"schedule": "nightly", "done_by": "2026-01-06T00:00:00Z", "due_at": "2026-01-05T23:10:00Z"},
            "nightly is not done",
            (
                "It was to be done by 2026-01-05 19:00 EST",
                "It was due at 2026-01-05 18:10 EST",
                "Look: streamworkers schedules history nightly",
            ),
        ),
        (
            "schedule_missed",
            {"schedule": "nightly", "reason": "too late"},
            "nightly was missed",
            ("too late", "Look: streamworkers schedules history nightly"),
        ),
        ("schedule_missed", {"schedule": "a b", "state": "rejected"}, "a b was rejected", ()),
        (
            "message_rejected",
            {"source": "stream", "reason": "bad_field", "detail": "years 0 is too few"},
            "A message was rejected",
            ("years 0 is too few", "It came by stream (bad_field)"),
        ),
        ("endpoint_off", {"channel": "mail"}, "An endpoint was switched off", ("Look: streamworkers endpoints list",)),
        (
            "data_gap",
            {"symbols": [f"S{n}" for n in range(25)]},
            "Bars are missing",
            ("25 symbols: " + ", ".join(f"S{n}" for n in range(20)) + ", …",),
        ),
        (
            "watchdog",
            {},
            "Sign of life",
            ("This message comes once a day. The day on which it does not come, something is wrong.",),
        ),
        (
            "watchdog",
            {"sent": 12, "dead": 1},
            "Sign of life",
            (
                "This message comes once a day. The day on which it does not come, something is wrong.",
                "Messages of the last 24 hours: 12 sent, 1 dead",
            ),
        ),
        ("message", {"text": "hello"}, "hello", ()),
        ("message", {"text": "hello\nyou"}, "Message", ("hello\nyou",)),
        ("message", {}, "Message", ()),
        ("message", {"title": "From you", "text": "hello"}, "From you", ("hello",)),
        ("their_own_type", {"text": "hello"}, "Their own type", ("hello",)),
    ],
)
def test_each_type_says_what_it_is_about(kind: str, data: dict[str, Any], title: str, lines: tuple[str, ...]) -> None:
    content = write_content(Sent(kind, data))
    assert (content.title, content.lines) == (title, lines)
    assert content.buttons == (BUTTONS if kind == "alert_fired" else ())


@pytest.mark.parametrize(
    ("data", "link"),
    [
        ({"run_id": 7}, "https://g.example/d/streamworkers-runs?var-run=7"),
        ({"link": "https://x.example/a"}, "https://x.example/a"),
        ({"link": "/d/x"}, "https://g.example/d/x"),
        ({"link": "javascript:alert(1)", "run_id": 7}, None),
        ({}, None),
    ],
)
def test_links_are_absolute_and_of_the_web(data: dict[str, Any], link: str | None) -> None:
    assert write_content(Sent("run_failed", data), "https://g.example/").link == link
    assert write_content(Sent("run_failed", {"run_id": 7})).link is None


def test_a_digest_lists_the_first_ten_and_has_the_rest_in_reserve() -> None:
    sent = [
        Sent("alert_fired", FIRED | {"symbol": f"S{n}", "closed_at": None}, AT + timedelta(minutes=n))
        for n in range(57)
    ]
    content = write_digest(list(reversed(sent)))
    assert content.title == "57 alerts"
    assert content.lines[0] == "• S0: breakout (day), price 151.25 (2026-01-05 16:00 EST)"
    assert [len(content.lines), len(content.more)] == [10, 47]
    assert [line.split(":")[0] for line in (*content.lines, *content.more)] == [f"• S{n}" for n in range(57)]


def test_a_digest_of_several_types_counts_them() -> None:
    sent = [Sent("alert_fired", FIRED)] * 2 + [Sent("run_failed"), Sent("odd_type")]
    assert write_digest(sent).title == "4 notifications: 2 alerts, 1 failed runs, 1 “odd type”"


def test_a_line_of_a_digest_is_short_and_one_line() -> None:
    sent = Sent("message", {"text": "a\nb " + "x" * 5000})
    (line,) = write_digest([sent]).lines
    assert line.startswith("• a b xxx")
    assert len(line) < 240
    assert write_digest([Sent("message", {"title": "T", "text": "x"})]).lines == ("• T (2026-01-05 16:00 EST)",)


def test_a_button_that_says_too_much_is_left_out() -> None:
    content = write_content(Sent("alert_fired", FIRED | {"symbol": "é" * 40}))
    assert [button.text for button in content.buttons] == ["Mute", "Show"]
    assert write_content(Sent("alert_fired", FIRED | {"alert_id": True})).buttons == ()


@given(
    st.sampled_from(["alert_fired", "alert_would_have_fired", "run_failed", "run_late", "data_gap", "message", "x"]),
    st.dictionaries(
        st.sampled_from([*FIRED, "title", "text", "link", "symbols", "rule", "job", "due_at", "failed", "total"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
            lambda inner: st.lists(inner, max_size=2),
        ),
    ),
)
def test_any_data_makes_a_message(kind: str, data: dict[str, Any]) -> None:
    content = write_content(Sent(kind, json.loads(json.dumps(data))), "http://x.example")
    assert isinstance(content, Content)
    assert content.title
    assert all(len(button.data.encode()) <= 64 for button in content.buttons)
    assert write_digest([Sent(kind, data)]).title


@pytest.mark.parametrize("kind", sorted({*NOTIFICATION_TYPES} - {CODE_TYPE}))
def test_each_type_has_words_of_its_own(kind: str) -> None:
    assert "“" not in write_digest([Sent(kind), Sent(kind)]).title
    if kind.startswith("alert_") and kind != "alert_fired":
        assert write_content(Sent(kind)).title != write_content(Sent("alert_fired")).title


def test_an_alert_that_sees_again_says_so() -> None:
    data = {"symbol": "AAPL", "name": "breakout", "text": "day bars of AAPL are stored again"}
    assert write_content(Sent("alert_sees_again", data)) == Content(
        "Alert is blind no more on AAPL: breakout", ("day bars of AAPL are stored again",)
    )
