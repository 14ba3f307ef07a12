"""Commands about messages: quiet hours, digests, and no messages at all."""

from streamworkers.database import Connection
from streamworkers.notifications.content import Button, Content
from streamworkers.notifications.notification_types import ANY
from streamworkers.notifications.preferences import Preference, QuietHours
from streamworkers.notifications.store.preferences import read_quiet_hours, set_preference, set_quiet_hours
from streamworkers.telegram.asker import Asker
from streamworkers.telegram.commands import PlainCommand, SetDigest, SetQuiet
from streamworkers.telegram.store.confirmations import VALID, ask
from streamworkers.telegram.store.links import CHANNEL, stop_messages


def answer_quiet(connection: Connection, asker: Asker, command: SetQuiet) -> Content:
    """Set the hours in which only urgent messages come, or end them."""
    if command.starts is None or command.ends is None or command.zone is None:
        set_quiet_hours(connection, asker.actor, None)
        return Content("No quiet hours")
    set_quiet_hours(connection, asker.actor, QuietHours(command.starts, command.ends, command.zone))
    return _describe_quiet(QuietHours(command.starts, command.ends, command.zone))


def answer_show_quiet(connection: Connection, asker: Asker, _: PlainCommand) -> Content:
    """Say which hours are quiet now."""
    quiet = read_quiet_hours(connection, [asker.link.user]).get(asker.link.user)
    return Content("No quiet hours") if quiet is None else _describe_quiet(quiet)


def answer_digest(connection: Connection, asker: Asker, command: SetDigest) -> Content:
    """Collect the user's messages on Telegram, or send each at once."""
    set_preference(connection, asker.actor, Preference(ANY, CHANNEL, "digest" if command.is_on else "instant"))
    if not command.is_on:
        return Content("Each message comes at once")
    minutes = asker.settings.digest_minutes
    return Content(f"Messages are collected, and come every {minutes} min", ("What is urgent comes at once.",))


def answer_stop(connection: Connection, asker: Asker, _: PlainCommand) -> Content:
    """Send no messages to this chat any more; commands are answered all the same."""
    stop_messages(connection, asker.actor, asker.link)
    lines = ("No bot and no job stops: only messages do.", "/start brings them back, /forget ends this link.")
    return Content("No more messages to this chat", lines)


def answer_forget(connection: Connection, asker: Asker, _: PlainCommand) -> Content:
    """Ask before what is stored about the chat is deleted."""
    question = ask(connection, asker.link.place, "forget")
    lines = (
        "This chat's link, its messages and your settings for it are deleted. Your alerts stay.",
        f"The button is good for {VALID.seconds} s.",
    )
    return Content("Forget this chat?", lines, buttons=(Button("Forget", f"confirm:{question}"),))


def _describe_quiet(quiet: QuietHours) -> Content:
    hours = f"{quiet.starts:%H:%M} to {quiet.ends:%H:%M}"
    return Content(
        f"Quiet from {hours}, {quiet.zone}", ("What comes then is sent at the end; what is urgent, at once.",)
    )
