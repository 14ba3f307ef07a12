"""Schedules as people write them: what is rejected and why, and what YAML makes of them."""

from datetime import timedelta
from typing import Any, get_args

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from streamworkers.engine.registry import Registry
from streamworkers.errors import BadInputError, UnknownNameError
from streamworkers.schedules.cron import Cron
from streamworkers.schedules.definition import MOST_SYMBOLS, ScheduleDefinition, Target
from streamworkers.schedules.planner import CatchUp, Policy
from streamworkers.schedules.timing import SessionMoment
from streamworkers.schedules.yaml_file import YamlLimits, from_yaml, to_yaml
from streamworkers.symbols import SYMBOL_RULE

NIGHTLY: dict[str, Any] = {
    "name": "nightly",
    "job": "noop",
    "target": {"universe": "sp500:nasdaq100"},
    "cron": "10 18 * * *",
    "calendar": "XNYS",
}
NAME_RULE = "it is not 1 to 64 small letters, digits, _ and -, a letter first"


def nightly(**fields: Any) -> ScheduleDefinition:
    return ScheduleDefinition.parse(NIGHTLY | fields)


def named(name: str, after: str | None = None) -> dict[str, Any]:
    return {"name": name, "job": "noop", "cron": "0 0 * * *", **({"after": after} if after else {})}


def names(rows: list[dict[str, Any]]) -> list[str]:
    return [definition.name for definition in from_yaml(yaml.safe_dump(rows))]


def test_a_schedule_needs_a_name_and_a_job_and_has_defaults_for_the_rest() -> None:
    definition = ScheduleDefinition.parse({"name": "n", "job": "noop"})
    assert definition.model_dump(exclude={"name", "job"}) == {
        "target": None,
        "timeframe": None,
        "parameters": {},
        "cron": None,
        "on_event": None,
        "timezone": "America/New_York",
        "calendar": None,
        "ends_at": None,
        "enabled": True,
        "catch_up": "latest",
        "misfire_grace_seconds": 300,
        "max_instances": 1,
        "coalesce": True,
        "after": None,
        "min_coverage": 1.0,
        "after_timeout_seconds": 3600,
        "after_timeout_action": "start",
        "jitter_seconds": 0,
        "max_run_seconds": None,
        "done_by": None,
        "priority": None,
        "webhook": None,
        "user_id": None,
    }
    assert definition.timing is None


def test_a_schedule_knows_its_timing_and_its_policy() -> None:
    definition = nightly(catch_up="all", misfire_grace_seconds=60, coalesce=False)
    assert definition.policy == Policy("all", 60, False)
    assert definition.timing is not None
    assert (definition.timing.zone.key, definition.timing.calendar) == ("America/New_York", "XNYS")
    assert isinstance(definition.timing.rule, Cron)
    session_rule = nightly(cron="session_close+10m").timing
    assert session_rule is not None
    assert session_rule.rule == SessionMoment("close", timedelta(minutes=10))


@pytest.mark.parametrize(
    ("text", "done_by"), [("19:00", "19:00"), ("'9:05'", "09:05"), ("08:30", "08:30"), ("0:10", "00:10")]
)
def test_a_deadline_is_a_time_of_day_however_yaml_reads_it(text: str, done_by: str) -> None:
    row = f"- {{name: n, job: noop, cron: '@daily', done_by: {text}}}"
    (definition,) = from_yaml(row)
    assert definition.done_by == done_by
    assert from_yaml(to_yaml([definition])) == [definition]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "Nightly"}, f"schedule 'Nightly': name 'Nightly': {NAME_RULE}"),
        ({"name": ""}, f"schedule '': name '': {NAME_RULE}"),
        ({"name": "1st"}, f"schedule '1st': name '1st': {NAME_RULE}"),
        ({"name": "-x"}, f"schedule '-x': name '-x': {NAME_RULE}"),
        ({"name": "a\n"}, f"schedule 'a\\n': name 'a\\n': {NAME_RULE}"),
        ({"name": "n" * 65}, f"schedule '{'n' * 65}': name '{'n' * 65}': {NAME_RULE}"),
        ({"name": "N" * 500}, f"schedule '{'N' * 80}': name '{'N' * 120}': {NAME_RULE}"),
        ({"name": None}, "schedule 'None': name 'None': it is not a text"),
        ({"job": 7}, "schedule 'nightly': job '7': it is not a text"),
        ({"jitter": 5}, "schedule 'nightly': jitter '5': nothing has this name; did you mean 'jitter_seconds'?"),
        ({"target": {}}, "schedule 'nightly': target '{}': a target is either a universe or symbols"),
        (
            {"target": {"universe": "a", "symbols": ["B"]}},
            "schedule 'nightly': target \"{'universe': 'a', 'symbols': ['B']}\": a target is either a universe or ",
        ),
        ({"target": {"univers": "a"}}, "schedule 'nightly': target.univers 'a': nothing has this name"),
        (
            {"target": "sp500"},
            "schedule 'nightly': target 'sp500': it is not a mapping of names to values",
        ),
        ({"target": {"symbols": "AAPL"}}, "schedule 'nightly': target.symbols 'AAPL': it is not a list"),
        ({"target": {"symbols": ["A", 7]}}, "schedule 'nightly': target.symbols.1 '7': it is not a text"),
        ({"parameters": [1]}, "schedule 'nightly': parameters '[1]': it is not a mapping of names to values"),
        ({"parameters": {1: 2}}, "schedule 'nightly': parameters.1 '1': it is not a text"),
        (
            {"enabled": "perhaps"},
            "schedule 'nightly': enabled 'perhaps': it is not true or false",
        ),
        ({"catch_up": "some"}, "schedule 'nightly': catch_up 'some': it is not skip, latest or all"),
        (
            {"coalesce": 2},
            "schedule 'nightly': coalesce '2': it is not true or false",
        ),
        *(
            (
                {"done_by": value},
                f"schedule 'nightly': done_by '{value}': it is not a time of day from 00:00 to 23:59, such as 19:00",
            )
            for value in ("24:00", "19", "7pm", "19:00:00", 1440, -1, True, 19.0)
        ),
        ({"after": "Bars"}, f"schedule 'nightly': after 'Bars': {NAME_RULE}"),
        (
            {"after_timeout_action": "wait"},
            "schedule 'nightly': after_timeout_action 'wait': it is not start or skip",
        ),
        (
            {"user_id": "u" * 201},
            f"schedule 'nightly': user_id '{'u' * 120}': it has more than 200 characters",
        ),
        *(
            ({name: value}, f"schedule 'nightly': {name} '{value}': it is not {rule}")
            for name, value, rule in (
                ("misfire_grace_seconds", -1, "at least 0"),
                ("misfire_grace_seconds", 604_801, "at most 604800"),
                ("misfire_grace_seconds", "soon", "a whole number"),
                ("misfire_grace_seconds", 1.5, "a whole number"),
                ("max_instances", 0, "at least 1"),
                ("max_instances", 1001, "at most 1000"),
                ("min_coverage", -0.1, "at least 0"),
                ("min_coverage", 1.1, "at most 1"),
                ("min_coverage", float("nan"), "a finite number"),
                ("after_timeout_seconds", -1, "at least 0"),
                ("after_timeout_seconds", 604_801, "at most 604800"),
                ("max_run_seconds", 0, "at least 1"),
                ("max_run_seconds", 604_801, "at most 604800"),
                ("jitter_seconds", -1, "at least 0"),
                ("jitter_seconds", 86_401, "at most 86400"),
            )
        ),
    ],
)
def test_a_field_that_breaks_its_rule_is_rejected_by_schedule_field_value_and_rule(
    fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadInputError) as raised:
        nightly(**fields)
    assert str(raised.value).startswith(message)


def test_too_many_symbols_are_rejected_without_repeating_them() -> None:
    with pytest.raises(BadInputError) as raised:
        nightly(target={"symbols": ["A"] * (MOST_SYMBOLS + 1)})
    assert str(raised.value).startswith("schedule 'nightly': target.symbols \"['A', 'A', ")
    assert "it has more than 10000 entries" in str(raised.value)
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize("missing", ["name", "job"])
def test_a_schedule_without_name_or_job_is_rejected(missing: str) -> None:
    with pytest.raises(BadInputError) as raised:
        ScheduleDefinition.parse({name: value for name, value in NIGHTLY.items() if name != missing})
    named_as = "None" if missing == "name" else "nightly"
    assert str(raised.value) == f"schedule '{named_as}': {missing}: it is missing"


def test_values_at_their_bounds_are_accepted() -> None:
    for name, low, high in (
        ("misfire_grace_seconds", 0, 604_800),
        ("max_instances", 1, 1000),
        ("min_coverage", 0.0, 1.0),
        ("after_timeout_seconds", 0, 604_800),
        ("jitter_seconds", 0, 86_400),
        ("max_run_seconds", 1, 604_800),
    ):
        assert [getattr(nightly(**{name: value}), name) for value in (low, high)] == [low, high]
    assert nightly(name="n" * 64, user_id="u" * 200).name == "n" * 64


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"calendar": None},
        {"cron": "session_close+10m"},
        {"timeframe": "daily"},
        {"after": "bars"},
        {"cron": None, "calendar": None, "on_event": "data_load_complete"},
        {"cron": None, "calendar": None, "on_event": "data_load_complete", "target": None},
        {"on_event": "data_load_complete"},
        {"target": {"symbols": ["AAPL", "BRK.B", "NA"]}},
        {"job": "health_check", "target": None},
        {"job": "ledger_entry", "parameters": {"milliseconds": 5}},
    ],
)
def test_a_sound_schedule_is_accepted(registry: Registry, fields: dict[str, Any]) -> None:
    nightly(**fields).require_sound(registry)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"parameters": {"x": 1}}, "parameter x=1 of job 'noop': nothing has this name"),
        (
            {"job": "ledger_entry", "parameters": {"milliseconds": "long"}},
            "parameter milliseconds='long' of job 'ledger_entry': it is not a number",
        ),
        (
            {"timezone": "Mars/Olympus"},
            "timezone 'Mars/Olympus' is not a name of the tz database, such as America/New_York",
        ),
        (
            {"cron": None, "calendar": None, "on_event": "data_load_complete", "timezone": "Mars/Olympus"},
            "timezone 'Mars/Olympus' is not a name of the tz database, such as America/New_York",
        ),
        ({"timeframe": "fortnight"}, "timeframe 'fortnight' is not one of 1min, hour, day, week, month"),
        ({"cron": None}, "it needs a cron, or the event that starts it"),
        ({"on_event": "data_load_started"}, "event 'data_load_started' is not one of data_load_complete"),
        ({"after": "nightly"}, "it cannot come after itself"),
        (
            {"cron": None, "calendar": None, "on_event": "data_load_complete", "after": "bars"},
            "only a schedule with a cron can come after another",
        ),
        (
            {"cron": None, "calendar": None, "on_event": "data_load_complete", "done_by": "19:00"},
            "only a schedule with a cron has a deadline, because it is that of a tick",
        ),
        ({"cron": "99 * * * *"}, "cron '99 * * * *': minute '99' is not * or of 0-59;"),
        ({"cron": ""}, "cron '' has 0 fields, not 5"),
        ({"cron": "session_close+10x"}, "'session_close+10x' is not session_open or session_close, alone or with"),
        ({"cron": "session_close", "calendar": None}, "'session_close' needs a calendar, such as XNYS, that knows the"),
        ({"cron": "0 0 1 1 *"}, "cron '0 0 1 1 *' has no tick left in calendar XNYS"),
        ({"target": None}, "job 'noop' is about symbols: name a universe or symbols"),
        (
            {"target": {"universe": "sp500:"}},
            "universe '' is not a name of 1 to 64 letters, digits and . - _, neither . nor - first",
        ),
        (
            {"target": {"universe": "a b"}},
            "universe 'a b' is not a name of 1 to 64 letters, digits and . - _, neither . nor - first",
        ),
        ({"target": {"symbols": ["A", "A B"]}}, f"the symbol 'A B' is not {SYMBOL_RULE}"),
        ({"target": {"symbols": [""]}}, "the symbol is empty"),
    ],
)
def test_an_unsound_schedule_is_rejected_by_its_name_and_the_rule(
    registry: Registry, fields: dict[str, Any], message: str
) -> None:
    definition = nightly(**fields)
    with pytest.raises(BadInputError) as raised:
        definition.require_sound(registry)
    assert str(raised.value).startswith(f"schedule 'nightly': {message}")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"job": "nop"}, "no job is named 'nop'; did you mean 'noop'?"),
        ({"calendar": "XNYSE"}, "no calendar is named 'XNYSE'; did you mean 'XNYS'?"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(registry: Registry, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UnknownNameError) as raised:
        nightly(**fields).require_sound(registry)
    assert str(raised.value) == message


def test_a_schedule_without_a_single_symbol_is_rejected(registry: Registry) -> None:
    # A run of no symbols is rejected at every tick: a schedule of them can never start one.
    with pytest.raises(BadInputError):
        nightly(target={"symbols": []}).require_sound(registry)


def test_an_unknown_calendar_is_rejected_also_without_a_cron(registry: Registry) -> None:
    with pytest.raises(UnknownNameError):
        nightly(cron=None, on_event="data_load_complete", calendar="XNYSE").require_sound(registry)


def test_a_target_describes_itself_as_its_run_shows_it() -> None:
    assert Target(universe="sp500:nasdaq100").describe() == "sp500:nasdaq100"
    assert Target(symbols=("AAPL", "MSFT")).describe() == "AAPL,MSFT"


def test_yaml_holds_what_is_not_as_it_is_by_default() -> None:
    assert to_yaml([nightly(min_coverage=0.9), ScheduleDefinition.parse(named("on", "null"))]) == (
        "- name: nightly\n"
        "  job: noop\n"
        "  target:\n"
        "    universe: sp500:nasdaq100\n"
        "  cron: 10 18 * * *\n"
        "  calendar: XNYS\n"
        "  min_coverage: 0.9\n"
        "- name: 'on'\n"
        "  job: noop\n"
        "  cron: 0 0 * * *\n"
        "  after: 'null'\n"
    )


NAMES = st.from_regex(r"[a-z][a-z0-9_-]{0,10}", fullmatch=True) | st.sampled_from(
    ["on", "no", "null", "true", "e1", "y"]
)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=30) | st.sampled_from(
    ["1", "1e3", "2024-01-01", "~", "=", "0x1"]
)
SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
)
PARAMETERS = st.dictionaries(
    TEXTS, st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3), max_leaves=4), max_size=3
)
TARGETS = st.builds(Target, universe=TEXTS) | st.builds(
    Target, symbols=st.lists(TEXTS, min_size=1, max_size=4).map(tuple)
)
DEFINITIONS = st.builds(
    ScheduleDefinition,
    name=NAMES,
    job=TEXTS,
    target=st.none() | TARGETS,
    timeframe=st.none() | TEXTS,
    parameters=PARAMETERS,
    cron=st.none() | TEXTS,
    on_event=st.none() | TEXTS,
    timezone=TEXTS,
    calendar=st.none() | TEXTS,
    enabled=st.booleans(),
    catch_up=st.sampled_from(get_args(CatchUp)),
    misfire_grace_seconds=st.integers(0, 604_800),
    max_instances=st.integers(1, 1000),
    coalesce=st.booleans(),
    after=st.none() | NAMES,
    min_coverage=st.floats(0, 1),
    after_timeout_seconds=st.integers(0, 604_800),
    after_timeout_action=st.sampled_from(["start", "skip"]),
    jitter_seconds=st.integers(0, 86_400),
    user_id=st.none() | TEXTS,
)


@settings(max_examples=150)
@given(st.lists(DEFINITIONS, min_size=1, max_size=3, unique_by=lambda definition: definition.name))
def test_what_export_writes_is_what_import_reads(definitions: list[ScheduleDefinition]) -> None:
    read = from_yaml(to_yaml(definitions))
    assert {definition.name: definition for definition in read} == {d.name: d for d in definitions}
    assert len(read) == len(definitions)


# Nine lists of nine aliases each: a billion values in few characters.
BOMB = "\n".join(["- &a0 [x]"] + [f"- &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)])

MALFORMED = [
    ("- name: x\n  - y", "at line 2, column 3: this line does not fit those above: compare their indents"),
    ("- name: x\n job: y", "at line 2, column 2: this line does not fit those above: compare their indents"),
    ("- [", "at line 1, column 4: a value is missing"),
    ("[a, b", "at line 1, column 6: a comma or ] is missing"),
    ("- {name: x\n- b", "at line 2, column 4: a comma or } is missing"),
    ("- name: x\n\tjob: y", "at line 2, column 1: a tab stands where only spaces may: indent with spaces"),
    ("- name: a: b", "at line 1, column 10: a colon cannot stand here: put the value in quotes"),
    ("- cron: @daily", "at line 1, column 9: @ cannot begin a value: put the value in quotes"),
    ("- {cron: * * * * *}", "at line 1, column 11: & or * cannot begin a value: put the value in quotes"),
    ("- - - a\n  b", "at line 2, column 4: a name has no colon behind it"),
    ("a: - b", "at line 1, column 4: a list item cannot begin here: begin it on a line of its own"),
    ("- 'abc", "at line 1, column 3: a quote is not closed"),
    ("- 'abc\n---\n", "at line 1, column 3: a quote is not closed before the line `---`"),
    (r'- "\q"', "at line 1, column 5: there is no escape of q"),
    (r'- "\u12"', "at line 1, column 6: the escape has not 4 hexadecimal digits"),
    ("- |x\n a", "at line 1, column 4: something stands behind the | or > of a text"),
    ("{} x", "at line 1, column 4: something stands behind the end of the document"),
    ("- a\n---\n- b", "at line 2, column 1: a second document begins: a file is one list"),
    ("%YAML 3.0\n---\n- a", "at line 1, column 1: the version of YAML is not 1"),
    ("- name: x\n  job: a\n  name: y", "at line 3, column 3: the name 'name' is in its mapping twice"),
    ("- 2024-02-31", "at line 1, column 3: '2024-02-31' is not a date or time that exists"),
    ("- !!int x", "at line 1, column 3: 'x' is not a whole number"),
    ("- !!float x", "at line 1, column 3: 'x' is not a number"),
    ("- !!bool x", "at line 1, column 3: 'x' is not true or false"),
    ("- !!map [a]", "at line 1, column 3: the value is not of the kind of its tag"),
    ("- !!binary 'é'", "at line 1, column 3: the value is not base64"),
    ("- !x y", "at line 1, column 3: the tag !x is not one that is read"),
    ("- !x!y z", "at line 1, column 3: the tag !x! is not one that is read"),
    ("- ? [a]\n  : b", "at line 1, column 5: a name is a list or a mapping"),
    ("- <<: x", "at line 1, column 7: what << names is no mapping"),
    ("- *a", "at line 1, column 3: no anchor &a stands above its use *a"),
    ("- &a x\n- &a y", "at line 2, column 3: this anchor stands here a second time"),
    ("- \x00", "the character '\\x00', number 3 of the text, cannot stand in YAML"),
]
TOO_MANY_VALUES = "the number of values, with what aliases repeat, exceeds STREAMWORKERS_SCHEDULES_MAX_VALUES=200000"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *(
            (text, "it is not a YAML list with a mapping for each schedule")
            for text in ("", "[]", "name: x", "7", "null")
        ),
        *((text, f"it is not YAML: {rule}") for text, rule in MALFORMED),
        ("- " + "[" * 5000, "the depth of the text exceeds STREAMWORKERS_SCHEDULES_MAX_DEPTH=32"),
        (
            "#" * ((1 << 20) - 1) + "é",
            "the text of 1,048,577 bytes exceeds STREAMWORKERS_SCHEDULES_MAX_BYTES=1048576",
        ),
        ("- 1" + ":0" * 300, f"'1{':0' * 19}:'… is a number of more than 400 characters"),
        ("- 0x" + "f" * 4000, f"'0x{'f' * 38}'… is a number of more than 400 characters"),
        ("- !!float '1" + "0" * 400 + "'", f"'1{'0' * 39}'… is a number of more than 400 characters"),
        ("- nightly", "schedule 1 of the list is 'nightly', not a mapping of names to values"),
        ("- &a [*a]", TOO_MANY_VALUES),
        (BOMB, TOO_MANY_VALUES),
        ("- {name: x, job: noop}\n- 7", "schedule 2 of the list is '7', not a mapping of names to values"),
        ("- {name: x, 7: y}", "schedule 1 of the list is '{'name': 'x', 7: 'y'}', not a mapping of names to values"),
        (f"- {'x' * 200}", f"schedule 1 of the list is '{'x' * 80}', not a mapping of names to values"),
        ("- {name: x}", "schedule 'x': job: it is missing"),
        ("- {name: 7, job: noop}", "schedule '7': name '7': it is not a text"),
        ("- {name: x, job: noop, colour: red}", "schedule 'x': colour 'red': nothing has this name"),
        ("- {name: x, job: noop}\n- {name: x, job: nop}", "schedule 'x' is in the list twice"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_text_that_is_no_list_of_schedules_is_rejected_by_place_value_and_rule(text: str, message: str) -> None:
    with pytest.raises(BadInputError) as raised:
        from_yaml(text)
    assert str(raised.value).replace('"', "'").startswith(message)
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (YamlLimits(bytes=20), "the text of 40 bytes exceeds STREAMWORKERS_SCHEDULES_MAX_BYTES=20"),
        (YamlLimits(values=5), "aliases repeat, exceeds STREAMWORKERS_SCHEDULES_MAX_VALUES=5"),
        (YamlLimits(depth=2), "the depth of the text exceeds STREAMWORKERS_SCHEDULES_MAX_DEPTH=2"),
    ],
)
def test_the_limits_of_a_text_are_those_that_are_given(limits: YamlLimits, message: str) -> None:
    text = "- {name: x, job: noop, cron: '@daily'}\n\n"
    assert [each.name for each in from_yaml(text, limits=YamlLimits(bytes=40, values=8, depth=3))] == ["x"]
    with pytest.raises(BadInputError, match=message):
        from_yaml(text, limits=limits)


@pytest.mark.parametrize(
    "scalar", ["!!bool perhaps", "!!int ''", "!!float ''", "!!timestamp noon", "!!binary '%'", "0b", "0x"]
)
def test_a_value_that_is_not_of_its_yaml_type_is_rejected(scalar: str) -> None:
    with pytest.raises(BadInputError):
        from_yaml(f"- {scalar}")


@pytest.mark.parametrize(
    "value", ["2026-01-02", "2026-01-02 10:00:00", "!!set {a, b}", "!!binary aGk=", ".nan", ".inf", "{1: 2}"]
)
def test_a_parameter_that_json_cannot_hold_is_rejected(value: str, registry: Registry) -> None:
    # The table keeps parameters as jsonb.
    text = to_yaml([nightly(job="ledger_entry")]) + f"  parameters: {{milliseconds: {value}}}\n"
    with pytest.raises(BadInputError, match="milliseconds"):
        from_yaml(text)[0].require_sound(registry)


@settings(max_examples=200)
@given(st.text(max_size=60) | st.text("-[]{}:,&*!|>'\"?# \nabx01.~", max_size=40))
def test_any_text_is_read_or_rejected_and_nothing_else_is_raised(text: str) -> None:
    try:
        definitions = from_yaml(text)
    except BadInputError:
        return
    assert from_yaml(to_yaml(definitions)) == definitions


@pytest.mark.parametrize(
    ("rows", "ordered"),
    [
        ([named("a"), named("b", "a")], ["a", "b"]),
        ([named("b", "a"), named("a")], ["a", "b"]),
        ([named("c", "b"), named("x"), named("b", "a"), named("a")], ["a", "b", "c", "x"]),
        ([named("b", "a"), named("c", "a"), named("a")], ["a", "b", "c"]),
        ([named("b", "elsewhere"), named("a")], ["b", "a"]),
    ],
)
def test_what_others_come_after_comes_first(rows: list[dict[str, Any]], ordered: list[str]) -> None:
    assert names(rows) == ordered


@pytest.mark.parametrize(
    "rows",
    [
        [named("a", "a")],
        [named("a", "b"), named("b", "a")],
        [named("a", "b"), named("b", "c"), named("c", "a"), named("d", "b"), named("e", "d")],
    ],
)
def test_a_circle_is_read_to_its_end(rows: list[dict[str, Any]]) -> None:
    assert sorted(names(rows)) == sorted(row["name"] for row in rows)


@given(
    st.integers(1, 12).flatmap(lambda size: st.lists(st.none() | st.integers(0, size), min_size=size, max_size=size))
)
def test_of_any_list_all_are_read_and_parents_come_first_where_there_is_no_circle(parents: list[int | None]) -> None:
    rows = [named(f"s{n}", None if parent is None else f"s{parent}") for n, parent in enumerate(parents)]
    ordered = names(rows)
    assert sorted(ordered) == sorted(row["name"] for row in rows)
    if all(_root_of(n, parents) is not None for n in range(len(parents))):
        places = {name: place for place, name in enumerate(ordered)}
        assert all(places[row["after"]] < places[row["name"]] for row in rows if row.get("after") in places)


def _root_of(start: int, parents: list[int | None]) -> int | None:
    """Where a chain of parents ends, None for one that goes round in a circle."""
    at = start
    for _ in parents:
        parent = parents[at]
        if parent is None or parent >= len(parents):
            return at
        at = parent
    return None


def test_a_long_chain_is_read() -> None:
    rows = [named(f"s{n}", f"s{n + 1}") for n in range(300)]
    assert names(rows) == [f"s{n}" for n in reversed(range(300))]
