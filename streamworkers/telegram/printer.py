"""Prints a command as a message that reads into the same command."""

from streamworkers.alerts.alert_printer import print_alert
from streamworkers.alerts.duration import show_duration
from streamworkers.telegram.commands import (
    Command,
    DrawChart,
    LinkChat,
    ListAlerts,
    NotInRelease,
    OneAlert,
    PlainCommand,
    SetDigest,
    SetQuiet,
    ShowHelp,
    ShowRun,
    SilenceAlert,
    WriteAlert,
)


def print_command(command: Command) -> str:
    """The message that `parse_command` reads into this command."""
    return " ".join(str(word) for word in _words(command) if word is not None)


def _words(command: Command) -> tuple[object, ...]:
    match command:
        case LinkChat(code):
            return "/start", code
        case WriteAlert(alert):
            return "/alert", print_alert(alert)
        case ListAlerts(symbol):
            return "/alerts", symbol
        case OneAlert(verb, number):
            return f"/{'alert' if verb == 'show' else verb}", number
        case SilenceAlert(verb, number, seconds, symbol):
            return f"/{verb}", number, None if seconds is None else show_duration(seconds), symbol
        case ShowRun(number):
            return "/run", number
        case DrawChart(symbol, timeframe):
            return "/chart", symbol, timeframe
        case SetQuiet(starts, ends, zone):
            return "/quiet", "off" if starts is None or ends is None else f"{starts:%H:%M}-{ends:%H:%M}", zone
        case SetDigest(is_on):
            return "/digest", "on" if is_on else "off"
        case ShowHelp(topic):
            return "/help", topic
        case PlainCommand(word) | NotInRelease(word):
            return (f"/{word}",)
