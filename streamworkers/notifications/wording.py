"""What messages say: the title, lines and buttons of a notification, and of several that are one digest.

What `data` says of itself, `title`, `text` and `link`, comes first. Everything else in it may be missing or of another
type, because other programs write notifications too: a message is made of what is there.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE
from streamworkers.notifications.content import Button, Content
from streamworkers.notifications.hints import find_hint

DIGEST_LINES = 10  # that every channel shows; of the later ones as many as fit
MOST_BUTTON_BYTES = 64
_MOST_HEADLINE = 200
_MOST_TITLE = 80
_SNOOZE_HOURS = 1
_RUN_PAGE = "/d/streamworkers-runs?var-run={run_id}"
_SEVERAL = {
    "alert_fired": "alerts",
    "alert_released": "releases of alerts",
    "alert_would_have_fired": "corrected firings",
    "alert_would_not_have_fired": "corrected firings",
    "alert_not_checked": "corrections",
    "alert_blind": "blind alerts",
    "alert_sees_again": "alerts that are blind no more",
    "alert_ended": "alerts that have ended",
    "alert_muted": "mutes",
    "run_failed": "failed runs",
    "run_late": "late runs",
    "run_too_long": "runs that took too long",
    "deadline_missed": "missed deadlines",
    "schedule_missed": "ticks without a run",
    "message_rejected": "rejected messages",
    "data_gap": "gaps in the data",
    "endpoint_off": "endpoints that are off",
    "watchdog": "signs of life",
    "message": "messages",
}


class Worded(Protocol):
    """What is worded: a notification."""

    @property
    def type(self) -> str: ...
    @property
    def data(self) -> Mapping[str, Any]: ...
    @property
    def created_at(self) -> datetime: ...


def write_content(notification: Worded, public_url: str | None = None) -> Content:
    """Return the message about one notification. `public_url` is where links to runs begin."""
    data = notification.data
    text = _text(data, "text")
    title = _text(data, "title") or _title(notification)
    if notification.type == "message" and title == _TITLES["message"] and len(text) <= _MOST_TITLE and "\n" not in text:
        title, text = text or title, ""
    lines = [text] if text else _DETAILS.get(notification.type, _no_details)(data)
    return Content(
        title=title,
        lines=tuple(line for line in [*lines, *_context(notification), find_hint(notification.type, data)] if line),
        link=_link(data, public_url),
        buttons=alert_buttons(data) if notification.type == "alert_fired" else (),
    )


def write_digest(notifications: Sequence[Worded]) -> Content:
    """Return one message about several notifications, a line for each, the oldest first."""
    kinds = Counter(_several(each.type) for each in notifications)
    if len(kinds) == 1:
        title = f"{len(notifications)} {next(iter(kinds))}"
    else:
        title = f"{len(notifications)} notifications: " + ", ".join(f"{n} {kind}" for kind, n in kinds.most_common())
    lines = [f"• {_headline(each)}" for each in sorted(notifications, key=lambda each: each.created_at)]
    return Content(title, tuple(lines[:DIGEST_LINES]), tuple(lines[DIGEST_LINES:]))


def alert_buttons(data: Mapping[str, Any]) -> tuple[Button, ...]:
    """Return the buttons below a firing. What they send back is `alert:VERB:ALERT[:SYMBOL]`, up to 64 bytes."""
    alert, symbol = data.get("alert_id"), _text(data, "symbol")
    if not isinstance(alert, int) or isinstance(alert, bool):
        return ()
    buttons = [Button("Mute", f"alert:mute:{alert}"), Button("Show", f"alert:show:{alert}")]
    if symbol:
        buttons.insert(0, Button(f"Snooze {_SNOOZE_HOURS} h", f"alert:snooze:{alert}:{symbol}"))
    return tuple(button for button in buttons if len(button.data.encode()) <= MOST_BUTTON_BYTES)


def _title(notification: Worded) -> str:
    data, kind = notification.data, notification.type
    symbol, name = _text(data, "symbol"), _text(data, "name")
    if kind.startswith("alert_"):
        what = _ALERT_TITLES.get(kind, "Alert")
        return " ".join(word for word in (what, f"on {symbol}" if symbol else "") if word) + (
            f": {name}" if name else ""
        )
    job, run = _text(data, "job"), data.get("run_id")
    if kind == "run_failed":
        return f"Run {run} of {job} failed" if job and isinstance(run, int) else "A run failed"
    if kind in _OF_SCHEDULES:
        schedule = _text(data, "schedule") or job
        verb = _OF_SCHEDULES[kind] or _MISSED.get(_text(data, "state"), "was missed")
        return f"{schedule} {verb}" if schedule else f"A run {verb}"
    return _TITLES.get(kind) or (kind.replace("_", " ").capitalize())


_OF_SCHEDULES = {
    "run_late": "is late",
    "run_too_long": "was cancelled",
    "deadline_missed": "is not done",
    "schedule_missed": "",  # it depends on the state
}
_MISSED = {"skipped": "was skipped", "rejected": "was rejected", "broken": "is broken"}
# In a digest, the first line of these does not say what it is about.
_TITLED = ("run_failed", *_OF_SCHEDULES, "data_gap", "message_rejected")
_ALERT_TITLES = {
    "alert_fired": "Alert",
    "alert_released": "Alert released",
    "alert_would_have_fired": "Correction: an alert would have fired",
    "alert_would_not_have_fired": "Correction: an alert would not have fired",
    "alert_not_checked": "Correction: an alert was not decided again",
    "alert_blind": "Blind alert",
    "alert_sees_again": "Alert is blind no more",
    "alert_ended": "Alert has ended",
    "alert_muted": "Alert muted",
}
_TITLES = {
    "data_gap": "Bars are missing",
    "message_rejected": "A message was rejected",
    "endpoint_off": "An endpoint was switched off",
    "watchdog": "Sign of life",
    "message": "Message",
}


def _firing_details(data: Mapping[str, Any]) -> list[str]:
    words = [_text(data, "symbol"), _text(data, "rule") or _text(data, "name") or "fired"]
    frame, price = _text(data, "timeframe"), data.get("price")
    line = ": ".join(word for word in words if word) + (f" ({frame})" if frame else "")
    return [line + (f", price {price:.10g}" if isinstance(price, int | float) else "")]


def _bar_details(data: Mapping[str, Any]) -> list[str]:
    bar, frame = _moment(data, "bar_time"), _text(data, "timeframe")
    return [f"at the {frame or 'bar'} of {bar}" if bar else ""]


def _run_details(data: Mapping[str, Any]) -> list[str]:
    failed, total = data.get("failed"), data.get("total")
    counted = f"{failed} of {total} items failed" if isinstance(failed, int) and isinstance(total, int) else ""
    return [_text(data, "reason") or _text(data, "error"), counted]


def _late_details(data: Mapping[str, Any]) -> list[str]:
    due, last, count = _moment(data, "due_at"), _moment(data, "last_due_at"), data.get("ticks")
    if due and last and isinstance(count, int):
        return [f"{count} times, from {due} to {last}", _text(data, "reason")]
    return [f"It was due at {due}" if due else "", _text(data, "reason")]


def _deadline_details(data: Mapping[str, Any]) -> list[str]:
    done_by = _moment(data, "done_by")
    return [f"It was to be done by {done_by}" if done_by else "", *_late_details(data)]


def _rejection_details(data: Mapping[str, Any]) -> list[str]:
    source, reason = _text(data, "source"), _text(data, "reason")
    return [_text(data, "detail"), f"It came by {source} ({reason})" if source and reason else ""]


def _gap_details(data: Mapping[str, Any]) -> list[str]:
    symbols = data.get("symbols")
    if not isinstance(symbols, list):
        return [_text(data, "symbol")]
    named, count, bars = ", ".join(str(symbol) for symbol in symbols[:20]), data.get("count"), data.get("bars")
    number = count if isinstance(count, int) else len(symbols)
    lines = [f"{number} symbols: {named}" + (", …" if number > 20 else "")]
    frames, first, last = data.get("timeframes"), _text(data, "first_day"), _text(data, "last_day")
    if isinstance(bars, int) and isinstance(frames, list) and first:
        lines.append(f"{bars} bars ({', '.join(map(str, frames))}), from {first} to {last}")
    return lines


def _watchdog_details(data: Mapping[str, Any]) -> list[str]:
    sent, dead = data.get("sent"), data.get("dead")
    known = isinstance(sent, int) and isinstance(dead, int)
    return [
        "This message comes once a day. The day on which it does not come, something is wrong.",
        f"Messages of the last 24 hours: {sent} sent, {dead} dead" if known else "",
    ]


def _no_details(_: Mapping[str, Any]) -> list[str]:
    return []


_DETAILS: Mapping[str, Callable[[Mapping[str, Any]], list[str]]] = {
    "alert_fired": _firing_details,
    "alert_released": _firing_details,
    "alert_would_have_fired": _bar_details,
    "alert_would_not_have_fired": _bar_details,
    "alert_not_checked": _bar_details,
    "run_failed": _run_details,
    "run_late": _late_details,
    "run_too_long": _late_details,
    "deadline_missed": _deadline_details,
    "schedule_missed": _late_details,
    "message_rejected": _rejection_details,
    "data_gap": _gap_details,
    "watchdog": _watchdog_details,
}


def _context(notification: Worded) -> list[str]:
    """Return what a reader needs beside the text of a firing: when the bar closed, and what else happened."""
    data = notification.data
    if notification.type not in ("alert_fired", "alert_released"):
        return []
    closed, earlier = _moment(data, "closed_at"), data.get("earlier")
    late = "Late: the bar" if data.get("live") is False else "The bar"
    lines = [f"{late} closed at {closed}" if closed else ""]
    if isinstance(earlier, int) and not isinstance(earlier, bool) and earlier > 0:
        lines.append(f"Earlier firings without a message of their own: {earlier}")
    return lines


def _headline(notification: Worded) -> str:
    """Return a notification in one line of a digest."""
    content = write_content(notification)
    first = content.lines[0] if content.lines and not _text(notification.data, "title") else content.title
    if notification.type in _TITLED and content.lines:
        first = f"{content.title}: {content.lines[0]}"
    line = " ".join(first.split()) or content.title
    if len(line) > _MOST_HEADLINE:
        line = f"{line[:_MOST_HEADLINE].rstrip()}…"
    at = _moment(notification.data, "closed_at") or _local(notification.created_at)
    return f"{line} ({at})"


def _several(kind: str) -> str:
    return _SEVERAL.get(kind, f"“{kind.replace('_', ' ')}”")


def _link(data: Mapping[str, Any], public_url: str | None) -> str | None:
    """Return the link of a notification: its own, which may be a path, or that of its run."""
    link, run = _text(data, "link"), data.get("run_id")
    if link.startswith(("http://", "https://")):
        return link
    if public_url is None:
        return None
    if link.startswith("/"):
        return public_url.rstrip("/") + link
    is_run = isinstance(run, int) and not isinstance(run, bool) and not link
    return public_url.rstrip("/") + _RUN_PAGE.format(run_id=run) if is_run else None


def _text(data: Mapping[str, Any], name: str) -> str:
    value = data.get(name)
    return value.strip() if isinstance(value, str) else ""


def _moment(data: Mapping[str, Any], name: str) -> str:
    """Return a moment of `data` as people of the exchange read it; empty if it is none."""
    try:
        moment = datetime.fromisoformat(_text(data, name))
    except ValueError:
        return ""
    return "" if moment.tzinfo is None else _local(moment)


def _local(moment: datetime) -> str:
    return moment.astimezone(EXCHANGE_ZONE).strftime("%Y-%m-%d %H:%M %Z")
