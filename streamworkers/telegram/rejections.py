"""Rows of the audit log about commands of the bot that change something and were rejected, or failed."""

from streamworkers.actor import Actor
from streamworkers.audit.record import AuditChange, Outcome, record_change
from streamworkers.database import Connection

# What a word does, as its rows say when it succeeds; all other words read.
ACTIONS_OF_WORDS = {
    "alert": "alert.create",
    "pause": "alert.pause",
    "resume": "alert.resume",
    "snooze": "alert.snooze",
    "mute": "alert.mute",
    "unmute": "alert.unmute",
    "delete": "alert.remove",
    "quiet": "preference.quiet",
    "digest": "preference.set",
    "stop": "endpoint.off",
    "forget": "link.remove",
}
_OUTCOMES: dict[str, Outcome] = {"rejected": "rejected", "old": "rejected", "failed": "failed"}


def note_rejected(connection: Connection, user: str, text: str, word: str | None, outcome: str, reason: str) -> None:
    """Add a row about the command `text` with this word in the caller's transaction, if it changes something."""
    action, kept = ACTIONS_OF_WORDS.get(word or ""), _OUTCOMES.get(outcome)
    subject = text.partition(" ")[2].strip()
    reads = (word == "alert" and subject.isdecimal()) or (word == "quiet" and not subject)
    if action is None or kept is None or reads:
        return
    change = AuditChange(action, action.partition(".")[0], subject)
    record_change(connection, Actor(user, "bot"), change, kept, reason)
