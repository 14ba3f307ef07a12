"""What other programs say is taken when it is known, and rejected with a reason when it is not."""

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.message import (
    DEFAULT_LIMITS,
    MAX_SYMBOLS,
    LoadComplete,
    LoadRequest,
    MessageLimits,
    RejectedError,
    make_digest,
    parse_message,
    parse_object,
)
from scheduler.message_subject import find_subject
from streamworkers.config import Settings
from streamworkers.errors import BadInputError
from streamworkers.names import RULES
from streamworkers.symbols import SYMBOL_RULE

COMPLETE: dict[str, Any] = {"event_type": "data_load_complete", "symbols": ["AAPL", "MSFT"], "timeframe": "day"}
REQUEST: dict[str, Any] = {"job_type": "csv_universe_load", "job_id": "load-1", "universe_key": "sp500"}
NO_USER = f"is not a name of {RULES['user'].text}"
ID_FORM = "is not 1 to 100 letters, digits or _.:@/-"
KNOWN = "not event_type 'data_load_complete' or job_type 'csv_universe_load'"


def raw(message: dict[str, Any], **fields: Any) -> bytes:
    """The message with these fields in addition or in the place of its own."""
    return json.dumps(message | fields).encode()


def complete(**fields: Any) -> LoadComplete:
    parsed = parse_message(raw(COMPLETE, **fields))
    assert isinstance(parsed, LoadComplete)
    return parsed


def without(message: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in message.items() if key != name}


def test_a_completed_load_is_read_with_all_its_fields() -> None:
    parsed = complete(run_analysis=False, job_id="load-1", event_id="e/1@host:7_x.y", requested_by="Zoë of the desk")
    assert parsed == LoadComplete(
        symbols=("AAPL", "MSFT"),
        timeframes=("day",),
        run_analysis=False,
        job_id="load-1",
        event_id="e/1@host:7_x.y",
        requested_by="Zoë of the desk",
    )


def test_a_completed_load_needs_its_symbols_alone() -> None:
    parsed = parse_message(b'{"event_type": "data_load_complete", "symbols": ["NA"]}')
    assert isinstance(parsed, LoadComplete)
    assert (parsed.symbols, parsed.timeframes, parsed.run_analysis) == (("NA",), ("day",), True)
    assert (parsed.job_id, parsed.event_id, parsed.requested_by) == (None, None, None)


@pytest.mark.parametrize(
    ("fields", "timeframes"),
    [
        ({"timeframe": "1min"}, ("1min",)),
        ({"timeframe": "Daily"}, ("day",)),
        ({"timeframes": ["hour", "day"]}, ("hour", "day")),
        ({"timeframes": ["week"], "timeframe": "nonsense"}, ("week",)),
        ({"timeframes": ["day", "daily", "hourly", "DAY"]}, ("day", "hour")),
    ],
)
def test_timeframes_are_named_alone_or_in_a_list_by_name_or_alias(
    fields: dict[str, Any], timeframes: tuple[str, ...]
) -> None:
    assert complete(**fields).timeframes == timeframes


def test_symbols_named_twice_count_once_in_the_order_of_their_first_naming() -> None:
    assert complete(symbols=["MSFT", "AAPL", "MSFT", "BRK.B"]).symbols == ("MSFT", "AAPL", "BRK.B")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_message_is_read_in_every_encoding_of_json(encoding: str) -> None:
    parsed = parse_message(json.dumps(COMPLETE | {"requested_by": "Ä"}, ensure_ascii=False).encode(encoding))
    assert isinstance(parsed, LoadComplete)
    assert parsed.requested_by == "Ä"


@pytest.mark.parametrize("type_field", ["job_type", "event_type"])
def test_a_request_to_load_is_read(type_field: str) -> None:
    message = raw({type_field: "csv_universe_load", "job_id": "load-1", "universe_key": "sp500"})
    assert parse_message(message) == LoadRequest("load-1", "sp500", (), ("day",), None, None, True, None)
    full = {"symbols": ["A", "B", "A"], "timeframes": ["1min", "daily"], "years": 0.02, "provider": "massive"}
    message = raw(REQUEST, requested_by="desk", run_analysis=False, source="web", **full)
    assert parse_message(message) == LoadRequest(
        "load-1", "sp500", ("A", "B"), ("1min", "day"), 0.02, "massive", False, "desk"
    )
    assert parse_message(message).key == "csv_universe_load:job:load-1"


@pytest.mark.parametrize(
    ("message", "reason", "text"),
    [
        (b"", "not_json", "the message is not JSON: b'' (it is empty)"),
        (b"hello", "not_json", "the message is not JSON: b'hello' (at line 1, column 1: a value is missing)"),
        (b"\xff\x00\xff", "not_json", "the message is not JSON: b'\\xff\\x00\\xff' (byte 1 is no text)"),
        (b"1" * 5000, "not_json", f"the message is not JSON: b'{'1' * 75}… (a number has too many digits)"),
        (b"[" * 100_000, "too_large", "the message exceeds STREAMWORKERS_MESSAGE_MAX_DEPTH=32"),
        (
            b"[1] x",
            "not_json",
            "the message is not JSON: b'[1] x' (at line 1, column 5: something stands behind the end of the value)",
        ),
        (
            b" " * (DEFAULT_LIMITS.bytes + 1),
            "too_large",
            "the message of 1,048,577 bytes exceeds STREAMWORKERS_MESSAGE_MAX_BYTES=1048576",
        ),
        (b"null", "not_an_object", "the message is None, not a JSON object"),
        (b'["data_load_complete"]', "not_an_object", "the message is ['data_load_complete'], not a JSON object"),
        (json.dumps("x" * 100).encode(), "not_an_object", f"the message is '{'x' * 76}…, not a JSON object"),
        (b"{}", "unknown_type", f"the message is of type None, {KNOWN}"),
        (
            raw(COMPLETE, event_type="data_load_started"),
            "unknown_type",
            f"the message is of type 'data_load_started', {KNOWN}",
        ),
        (
            raw(COMPLETE, event_type=["data_load_complete"]),
            "unknown_type",
            f"the message is of type ['data_load_complete'], {KNOWN}",
        ),
        (raw(REQUEST, event_type=None), "unknown_type", f"the message is of type None, {KNOWN}"),
        (raw(REQUEST, job_type="x" * 100), "unknown_type", f"the message is of type '{'x' * 76}…, {KNOWN}"),
        (raw(without(REQUEST, "job_id")), "bad_field", "a csv_universe_load needs a job_id"),
        (raw(REQUEST, job_id=None), "bad_field", "a csv_universe_load needs a job_id"),
        (raw(without(COMPLETE, "symbols")), "bad_field", "symbols None is not a list of at least one symbol"),
        (raw(COMPLETE, symbols=[]), "bad_field", "symbols [] is not a list of at least one symbol"),
        (raw(COMPLETE, symbols="AAPL"), "bad_field", "symbols 'AAPL' is not a list of at least one symbol"),
        (raw(COMPLETE, symbols={"AAPL": 1}), "bad_field", "symbols {'AAPL': 1} is not a list of at least one symbol"),
        (raw(COMPLETE, symbols=["AAPL", 7]), "bad_field", "the symbol 7 is not a text"),
        (raw(COMPLETE, symbols=["AAPL", None]), "bad_field", "the symbol None is not a text"),
        (raw(COMPLETE, symbols=[""]), "bad_field", "the symbol is empty"),
        (raw(COMPLETE, symbols=["A B"]), "bad_field", f"the symbol 'A B' is not {SYMBOL_RULE}"),
        (raw(COMPLETE, symbols=["\ud800"]), "bad_field", f"the symbol '\\ud800' is not {SYMBOL_RULE}"),
        (raw(COMPLETE, symbols=["A" * 33]), "bad_field", f"the symbol '{'A' * 33}' has 33 characters, more than 32"),
        (
            raw(COMPLETE, symbols=["A"] * (MAX_SYMBOLS + 1)),
            "bad_field",
            "the message names 10,001 symbols, which exceeds STREAMWORKERS_MESSAGE_MAX_SYMBOLS=10000",
        ),
        (
            raw(COMPLETE, timeframe="fortnight"),
            "bad_field",
            "timeframe 'fortnight' is not one of 1min, hour, day, week, month",
        ),
        (raw(COMPLETE, timeframe=None), "bad_field", "the timeframe None is not a text"),
        (raw(COMPLETE, timeframe=["day"]), "bad_field", "the timeframe ['day'] is not a text"),
        (raw(COMPLETE, timeframes=[]), "bad_field", "timeframes [] is not a list of at least one timeframe"),
        (raw(COMPLETE, timeframes="day"), "bad_field", "timeframes 'day' is not a list of at least one timeframe"),
        (raw(COMPLETE, timeframes=["day", 1]), "bad_field", "the timeframe 1 is not a text"),
        (raw(COMPLETE, run_analysis="yes"), "bad_field", "run_analysis 'yes' is not true or false"),
        (raw(COMPLETE, run_analysis=None), "bad_field", "run_analysis None is not true or false"),
        (raw(COMPLETE, run_analysis=1), "bad_field", "run_analysis 1 is not true or false"),
        (raw(COMPLETE, job_id=""), "bad_field", f"job_id '' {ID_FORM}"),
        (raw(COMPLETE, job_id=7), "bad_field", f"job_id 7 {ID_FORM}"),
        (raw(COMPLETE, job_id="a b"), "bad_field", f"job_id 'a b' {ID_FORM}"),
        (raw(COMPLETE, job_id="a\n"), "bad_field", f"job_id 'a\\n' {ID_FORM}"),
        (raw(COMPLETE, event_id="ä"), "bad_field", f"event_id 'ä' {ID_FORM}"),
        (raw(COMPLETE, event_id="x" * 101), "bad_field", f"event_id '{'x' * 76}… {ID_FORM}"),
        (raw(REQUEST, job_id="*"), "bad_field", f"job_id '*' {ID_FORM}"),
        (raw(REQUEST, universe_key=None), "bad_field", "a csv_universe_load needs a universe_key or symbols"),
        (raw(REQUEST, years=0), "bad_field", "years 0 is not a number above 0 and up to 100"),
        (raw(REQUEST, years="2"), "bad_field", "years '2' is not a number above 0 and up to 100"),
        (raw(REQUEST, run_analysis="yes"), "bad_field", "run_analysis 'yes' is not true or false"),
        (
            raw(COMPLETE, requested_by=7),
            "bad_field",
            f"requested_by: user 7 {NO_USER}",
        ),
        (
            raw(COMPLETE, requested_by="a\x00"),
            "bad_field",
            f"requested_by: user 'a\\x00' {NO_USER}",
        ),
        (
            raw(REQUEST, requested_by="x" * 201),
            "bad_field",
            f"requested_by: user '{'x' * 37}\\u2026' {NO_USER}",
        ),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_rejection_has_a_reason_to_count_and_names_the_value_and_the_rule(
    message: bytes, reason: str, text: str
) -> None:
    with pytest.raises(RejectedError) as raised:
        parse_message(message)
    assert (raised.value.reason, str(raised.value)) == (reason, text)
    assert isinstance(raised.value, BadInputError)


@pytest.mark.parametrize(
    "field", ["symbols", "timeframe", "timeframes", "job_id", "event_id", "requested_by", "run_analysis"]
)
def test_a_rejection_does_not_repeat_a_value_of_any_length(field: str) -> None:
    for value in ("x" * 100_000, ["x" * 100_000], {"x": "x" * 100_000}):
        with pytest.raises(RejectedError) as raised:
            parse_message(raw(COMPLETE, **{field: value}))
        assert len(str(raised.value)) < 250


def test_the_largest_messages_are_read() -> None:
    assert len(complete(symbols=[f"S{n}" for n in range(MAX_SYMBOLS)]).symbols) == MAX_SYMBOLS
    message = raw(COMPLETE)
    assert parse_message(message + b" " * (DEFAULT_LIMITS.bytes - len(message))) == parse_message(message)
    parsed = complete(job_id="x" * 100, requested_by="x" * 200, symbols=["x" * 32])
    assert (len(parsed.job_id or ""), len(parsed.requested_by or "")) == (100, 200)


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"job_id": "load-1"}, "data_load_complete:job:load-1:hour"),
        ({"event_id": "e-1"}, "data_load_complete:event:e-1:hour"),
        ({"job_id": "load-1", "event_id": "e-1"}, "data_load_complete:job:load-1:hour"),
        ({"job_id": None, "event_id": "e-1"}, "data_load_complete:event:e-1:hour"),
        ({}, None),
    ],
)
def test_a_run_is_identified_by_its_job_or_event_and_timeframe(fields: dict[str, Any], key: str | None) -> None:
    assert complete(**fields).key("hour") == key


def test_a_job_and_an_event_of_the_same_name_are_not_the_same_run() -> None:
    assert complete(job_id="x").key("day") != complete(event_id="x").key("day")
    assert complete(job_id="x").key("day") != complete(job_id="x").key("hour")


@given(st.permutations(list(COMPLETE.items())), st.sampled_from(["timestamp", "sent_at"]), st.integers() | st.text())
def test_a_digest_does_not_depend_on_the_order_of_fields_or_on_when_it_was_sent(
    items: list[tuple[str, Any]], name: str, value: object
) -> None:
    resent = parse_object(json.dumps({name: value, **dict(items)}, indent=1).encode())
    assert make_digest(resent) == make_digest(COMPLETE)
    assert len(make_digest(resent)) == 32


@pytest.mark.parametrize(
    "fields",
    [
        {"symbols": ["AAPL"]},
        {"symbols": ["MSFT", "AAPL"]},
        {"timeframe": "hour"},
        {"run_analysis": False},
        {"requested_by": "desk"},
        {"unknown": 1},
        {"unknown": {"timestamp": 1}},
    ],
)
def test_a_digest_changes_with_any_other_content(fields: dict[str, Any]) -> None:
    assert make_digest(COMPLETE | fields) != make_digest(COMPLETE)
    assert make_digest({"unknown": {"timestamp": 2}}) != make_digest({"unknown": {"timestamp": 1}})


@pytest.mark.parametrize("field", ["event_type", "symbols", "unknown"])
def test_a_value_of_any_depth_is_read_or_rejected(field: str) -> None:
    reasons = set()
    for depth in (*range(1, 40), 1100):
        nested = f'{{"event_type": "data_load_complete", "symbols": ["A"], "{field}": {"[" * depth}{"]" * depth}}}'
        try:
            parse_message(nested.encode())
        except RejectedError as rejected:
            reasons.add(rejected.reason)
    assert (
        reasons - {"too_large"} == {"event_type": {"unknown_type"}, "symbols": {"bad_field"}, "unknown": set()}[field]
    )


@pytest.mark.parametrize(
    ("limits", "error"),
    [
        (MessageLimits(bytes=40), "the message of 59 bytes exceeds STREAMWORKERS_MESSAGE_MAX_BYTES=40"),
        (MessageLimits(symbols=1), "the message names 2 symbols, which exceeds STREAMWORKERS_MESSAGE_MAX_SYMBOLS=1"),
        (MessageLimits(depth=1), "the message exceeds STREAMWORKERS_MESSAGE_MAX_DEPTH=1"),
    ],
)
def test_each_limit_is_a_setting_that_the_error_names(limits: MessageLimits, error: str) -> None:
    message = b'{"event_type": "data_load_complete", "symbols": ["A", "B"]}'
    assert parse_message(message).symbols == ("A", "B")
    with pytest.raises(RejectedError, match=f"^{re.escape(error)}$"):
        parse_message(message, limits)
    settings = Settings(message_max_bytes=2000, message_max_symbols=3, message_max_depth=4)
    assert MessageLimits.of(settings) == MessageLimits(2000, 3, 4)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)
FIELDS = ["symbols", "timeframe", "timeframes", "run_analysis", "job_id", "event_id", "requested_by", "timestamp", "x"]
PLAUSIBLE = JSON | st.sampled_from(["day", "load-1", ["AAPL"], ["day"], True, "2026-01-02"])
MESSAGES = st.builds(
    lambda head, fields: head | fields,
    st.sampled_from([COMPLETE, REQUEST, {}]),
    st.dictionaries(st.sampled_from(FIELDS), PLAUSIBLE, max_size=5),
)


def _read_or_rejected(message: bytes) -> None:
    try:
        parsed = parse_message(message)
    except RejectedError as rejected:
        assert rejected.reason in {"too_large", "not_json", "not_an_object", "unknown_type", "bad_field"}  # noqa: PT017
        assert str(rejected).isprintable()  # noqa: PT017
        return
    assert parsed.job_id == find_subject(parse_object(message)).job_id
    if isinstance(parsed, LoadComplete):
        assert len(set(parsed.symbols)) == len(parsed.symbols) > 0
        assert set(parsed.timeframes) <= {"1min", "hour", "day", "week", "month"}


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_rejected_and_nothing_else_is_raised(message: bytes) -> None:
    _read_or_rejected(message)


@settings(max_examples=400)
@given(MESSAGES | JSON)
def test_any_json_is_read_or_rejected_and_nothing_else_is_raised(value: object) -> None:
    _read_or_rejected(json.dumps(value).encode())
    _read_or_rejected(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))
