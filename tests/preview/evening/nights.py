"""The nights that are drawn: a normal one in the middle of its run, and four others."""

from datetime import time

from preview.evening.plan import Load, Night, usual_loads

_MISSING = "no day bars of {} up to 2026-01-14"
_RAISED = "FloatingPointError: invalid value encountered in divide"
_STACK = """\
Traceback (most recent call last):
  File "streamworkers/jobs/analysis.py", line 124, in _compute
    values = compute(definition, series)
  File "streamworkers/analysis/own_indicators.py", line 88, in relative_volume
    return volume / mean
FloatingPointError: invalid value encountered in divide"""

_PERMANENT = {symbol: _MISSING.format(symbol) for symbol in ("SYN031", "SYN207")}
_USUAL = usual_loads()
_ENDED = {
    "indicators": Load(
        _USUAL["indicators"].seconds,
        {**_PERMANENT, "SYN488": _RAISED},
        {"SYN077": "killed by signal 9"},
        tuple(_PERMANENT.values()),
        {_RAISED: _STACK},
    )
}

NIGHTS = (
    Night(name="evening", clock=time(18, 30), loads=_USUAL | _ENDED),
    Night(name="quiet", clock=time(20, 45), loads=_USUAL),
    Night(
        name="late",
        clock=time(19, 20),
        loads=_USUAL | {"indicators": Load(_USUAL["indicators"].seconds * 5.2), "patterns": Load(21.0)},
        alerts=(
            {"alertname": "StreamworkersNightlyIncomplete", "severity": "page", "schedule": "daily_pattern_detection"},
            {"alertname": "StreamworkersOldestItemTooOld", "severity": "page", "queue": "analysis"},
        ),
    ),
    Night(
        name="provider",
        clock=time(18, 45),
        loads=_USUAL
        | {
            "load_ohlcv": Load(_USUAL["load_ohlcv"].seconds, stops_after=46),
        },
        alerts=({"alertname": "StreamworkersProviderAway", "severity": "ticket", "provider": "massive"},),
        provider_is_dead=True,
    ),
    Night(name="first", clock=time(18, 30), loads=_USUAL, is_first=True),
)
