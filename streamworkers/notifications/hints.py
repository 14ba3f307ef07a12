"""How to look further at what a notification is about: a command, made of what its data says."""

import re
from collections.abc import Callable, Mapping
from typing import Any

_NAME = re.compile(r"[A-Za-z0-9_.^:/=-]{1,64}")


def find_hint(kind: str, data: Mapping[str, Any]) -> str:
    """The line that names the command; empty where there is none, or where the data says too little for it."""
    command = _COMMANDS.get(kind, _no_command)(data)
    return f"Look: streamworkers {command}" if command else ""


def find_chart_hint(kind: str, data: Mapping[str, Any]) -> str:
    """The line in place of the picture that a worker cannot draw; empty for what would have none."""
    symbol, frame = _name(data, "symbol"), _name(data, "timeframe")
    if kind != "alert_fired" or not symbol or not frame:
        return ""
    return f"Without a picture; the bars: streamworkers bars show {symbol} --timeframe {frame}"


def _show_run(data: Mapping[str, Any]) -> str:
    run = data.get("run_id")
    return f"runs show {run}" if isinstance(run, int) and not isinstance(run, bool) else ""


def _show_schedule(data: Mapping[str, Any]) -> str:
    schedule = _name(data, "schedule")
    return f"schedules history {schedule}" if schedule else ""


def _list_endpoints(data: Mapping[str, Any]) -> str:
    return "endpoints list" if _name(data, "channel") else ""


def _list_gaps(data: Mapping[str, Any]) -> str:
    symbol, frame, day = (_name(data, name) for name in ("symbol", "timeframe", "first_day"))
    return f"bars gaps {symbol} --timeframe {frame} --from {day}" if symbol and frame and day else ""


def _no_command(_: Mapping[str, Any]) -> str:
    return ""


def _name(data: Mapping[str, Any], name: str) -> str:
    """A name of the data that can be part of a command; other programs write notifications too."""
    value = data.get(name)
    return value if isinstance(value, str) and _NAME.fullmatch(value) else ""


_COMMANDS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "run_failed": _show_run,
    "run_late": _show_run,
    "run_too_long": _show_run,
    "deadline_missed": _show_schedule,
    "schedule_missed": _show_schedule,
    "endpoint_off": _list_endpoints,
    "data_gap": _list_gaps,
}
