"""The types of notifications that this package sends, as data; jobs and other programs may use further ones."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

Priority: TypeAlias = Literal["low", "normal", "high", "urgent"]
PRIORITIES: tuple[Priority, ...] = ("low", "normal", "high", "urgent")  # the later, the sooner it goes out
ANY = "*"  # in a preference: every type, or every channel, that has no row of its own
# The one type that goes to an endpoint that is not verified, and past preferences, quiet hours and digests.
CODE_TYPE = "endpoint_code"
# An answer of the bot, which goes to whom has asked even where messages were stopped.
ANSWER_TYPE = "answer"


@dataclass(frozen=True, slots=True)
class NotificationType:
    """A name that preferences and deliveries have, and what it stands for."""

    name: str
    meaning: str


_TYPES = (
    NotificationType("message", "a text that a person, a job or another program sends"),
    NotificationType("alert_fired", "an alert has fired"),
    NotificationType("alert_released", "the rule of an alert that had fired is false again"),
    NotificationType("alert_would_have_fired", "after a correction of bars, an alert would have fired"),
    NotificationType("alert_would_not_have_fired", "after a correction of bars, an alert would not have fired"),
    NotificationType("alert_not_checked", "bars were corrected too long ago to find out what would have fired"),
    NotificationType("alert_blind", "bars that an alert needs are missing"),
    NotificationType("alert_sees_again", "the bars that a blind alert needs are there again"),
    NotificationType("alert_ended", "the symbol of an alert was delisted, so it has no more bars"),
    NotificationType("alert_muted", "an alert was muted, because prices were split by an unknown factor"),
    NotificationType("run_failed", "a run has failed, or completed with errors"),
    NotificationType("run_late", "the run of a schedule was started late, or has not ended in time"),
    NotificationType("run_too_long", "the run of a schedule took longer than it may, and was cancelled"),
    NotificationType("deadline_missed", "what a schedule starts was not done by its deadline"),
    NotificationType("schedule_missed", "a schedule was due, and no run was started"),
    NotificationType("message_rejected", "a message of another program was rejected"),
    NotificationType("data_gap", "bars that the calendar expects are missing"),
    NotificationType("endpoint_off", "an endpoint was switched off by its provider"),
    NotificationType("watchdog", "one a day, so that silence means a fault"),
    NotificationType(CODE_TYPE, "the code that verifies an endpoint"),
)
NOTIFICATION_TYPES = {each.name: each for each in _TYPES}
