"""Spoils the good answer to a call as a misbehaviour says."""

import random
from typing import Any

import msgspec

from streamworkers_fakes.massive.answers import Answer, too_many_requests
from streamworkers_fakes.massive.misbehaviour import Misbehaviour, ReceivedCall

_DAY_MS, _HOUR_MS = 86_400_000, 3_600_000
_HTML = b"<!DOCTYPE html><html><head><title>Maintenance</title></head><body><h1>Back soon</h1></body></html>"


def misbehave(rule: Misbehaviour, asked: ReceivedCall, good: bytes) -> Answer | None:
    """What is sent in place of a good body, None where that has not what this misbehaviour would spoil."""
    rejection = _rejected(rule, asked)
    if rejection is not None:
        return rejection
    if rule.name == "timeout":
        return Answer(200, good, hold_seconds=rule.number)
    if rule.name == "trickle":
        return Answer(200, good, trickle_seconds=rule.number)
    if rule.name == "truncated_json":
        return Answer(200, good[: len(good) // 2])
    if rule.name == "cut_connection":
        return Answer(200, good[: len(good) // 2], declared_length=len(good))
    if rule.name == "huge_body":
        return Answer(200, good[:-1] + b',"padding":"' + b"x" * int(rule.number * 1_000_000) + b'"}')
    payload: dict[str, Any] = msgspec.json.decode(good)
    if not _spoil(rule, asked, payload):
        return None
    return Answer(200, msgspec.json.encode(payload))


def _rejected(rule: Misbehaviour, asked: ReceivedCall) -> Answer | None:
    match rule.name:
        case "rate_limit":
            wait = () if rule.value is None else (("Retry-After", f"{rule.number:.0f}"),)
            return too_many_requests(asked.request_id, wait)
        case "server_error":
            return Answer(int(rule.number), _error(asked, "the server failed"))
        case "gateway_timeout":
            return Answer(504, _error(asked, "the server took too long"), hold_seconds=rule.number)
        case "not_authorized":
            body = {
                "status": "NOT_AUTHORIZED",
                "request_id": asked.request_id,
                "message": "You are not entitled to this data. Please upgrade your plan.",
            }
            return Answer(403, msgspec.json.encode(body))
        case "not_json":
            return Answer(200, _HTML, "text/html; charset=utf-8")
        case "error_status":
            return Answer(200, _error(asked, "the data could not be read"))
        case "redirect":
            return Answer(302, b"", headers=(("Location", f"{rule.value}{asked.path}"),))
    return None


def _error(asked: ReceivedCall, text: str) -> bytes:
    return msgspec.json.encode({"status": "ERROR", "request_id": asked.request_id, "error": text})


def _spoil(rule: Misbehaviour, asked: ReceivedCall, payload: dict[str, Any]) -> bool:
    """Change a decoded answer; False where there was nothing to change."""
    match rule.name:
        case "delayed":
            payload["status"] = "DELAYED"
        case "missing_results":
            payload.pop("results", None)
            payload["resultsCount"] = 5
        case "wrong_count":
            payload["resultsCount"] = len(payload.get("results", ())) + 1
        case "foreign_next_url":
            payload["next_url"] = f"{rule.value}{asked.path}"
        case "loop_next_url":
            payload["next_url"] = asked.url
        case "wrong_adjusted":
            payload["adjusted"] = not payload["adjusted"]
        case "wrong_ticker":
            return _rename(payload)
        case _:
            return _spoil_bars(rule, asked, payload)
    return True


def _rename(payload: dict[str, Any]) -> bool:
    if "ticker" in payload:
        payload["ticker"] = "ZZZZ"
        return True
    rows = payload.get("results", [])
    for row in rows[:1]:
        row["T" if "T" in row else "ticker"] = "ZZZZ"
    return bool(rows)


def _left_out(rule: Misbehaviour, asked: ReceivedCall, rows: list[Any]) -> list[Any]:
    """Return the bars of an answer that is good in itself, and has not all of them."""
    count = round(len(rows) * rule.number)
    if rule.name == "clipped_bars":
        return rows[count:]
    if rule.name == "truncated_bars":
        return rows[: len(rows) - count]
    gone = set(random.Random(asked.request_id).sample(range(len(rows)), count))  # noqa: S311  # not a secret
    return [row for place, row in enumerate(rows) if place not in gone]


def _spoil_bars(rule: Misbehaviour, asked: ReceivedCall, payload: dict[str, Any]) -> bool:
    rows, name = payload.get("results", []), rule.name
    if len(rows) < (2 if name == "unordered_bars" else 1):
        return False
    if name in ("clipped_bars", "truncated_bars", "missing_bars"):
        rows[:] = _left_out(rule, asked, rows)
        if name == "truncated_bars":
            payload.pop("next_url", None)
    else:
        _spoil_rows(rule, asked, rows)
    payload["resultsCount"] = len(rows)
    if "count" in payload:
        payload["count"] = len(rows)
    return True


def _spoil_rows(rule: Misbehaviour, asked: ReceivedCall, rows: list[dict[str, Any]]) -> None:
    first, middle, last = rows[0], rows[len(rows) // 2], rows[-1]
    match rule.name:
        case "duplicate_bars":
            rows.insert(0, dict(first))
        case "unordered_bars":
            rows[0], rows[-1] = last, first
        case "out_of_range_bars":
            first_ms = min(row["t"] for row in rows) if asked.first_ms is None else asked.first_ms
            rows.insert(0, {**first, "t": first_ms - _DAY_MS})
        case "dst_shift":
            for row in rows[len(rows) // 2 :]:
                row["t"] += _HOUR_MS
        case "absurd_price":
            middle |= {key: middle[key] * rule.number for key in "ohlc"}
    if rule.name in ("bad_bar", "high_below_low"):
        first["h"] = round(first["l"] - 0.01, 4)
    if rule.name in ("bad_bar", "null_open"):
        last["o"] = None
