"""The commands of alerts over real tables: what they change, what they answer, and every error."""

import json
import re
from datetime import datetime
from pathlib import Path

import pytest
from psycopg_pool import ConnectionPool

from command_line import Answer, Run
from scheduler.alert_blindness import AlertBlindness
from streamworkers.database import Connection
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE

PRICES = [100, 101, 99, 103, 104]
DAYS = [3, 4, 5, 6, 7]  # sessions of November 2025
MUTED = r"{} by cli:local since \S+ \S+ E.T until 2199-12-31 07:00 EST"
FOREVER = ("--until", "2199-12-31T12:00Z")
TAKEN = "user 'local' has an alert 'one' already: choose another name, or edit it"
NO_SYMBOL = "no symbol of alert 'all' is named 'CCC'; known: AAA, BBB"
NAME_RULE = (
    "is not a name of 1 to 100 printable characters in the form NFC, without spaces around and without"
    " - at the beginning"
)
NO_USER = "no user is named 'nobody'; known: local"
LONG_REASON = "is not 1 to 200 printable characters"
CHOOSE = "choose alerts by --name, --symbol, --universe, --timeframe or --group, or take --all"


@pytest.fixture
def alerts(cli: Run, connection: Connection, tmp_path: Path) -> Run:
    """The command `alerts`, with five days of AAA and the universe of AAA and BBB."""
    lines = [f"AAA,2025-11-{day:02},{p},{p},{p},{p},1000" for day, p in zip(DAYS, PRICES, strict=True)]
    (tmp_path / "bars.csv").write_text("\n".join(["symbol,date,open,high,low,close,volume", *lines]), encoding="utf-8")
    assert cli("bars", "import", tmp_path / "bars.csv").code == 0
    (tmp_path / "two.csv").write_text("universe,symbol\ntwo,AAA\ntwo,BBB\n", encoding="utf-8")
    assert cli("universes", "import", tmp_path / "two.csv").code == 0

    def run(*words: str | Path) -> Answer:
        return cli("alerts", *words)

    return run


def _add(alerts: Run, text: str, name: str, *words: str) -> None:
    answer = alerts("add", text, "--name", name, *words)
    assert answer.code == 0, answer.err


def _names(alerts: Run, *words: str) -> list[str]:
    return [row["name"] for row in alerts("list", "--json", *words).json]


def test_add_says_what_the_rule_is_now_and_when_the_next_bar_closes(alerts: Run) -> None:
    answer = alerts("add", "AAA > 102 hysteresis 2%", "--name", "high")
    first, second, *rest = answer.out.splitlines()
    assert first == "added: alert 'high', version 1, 1 symbol"
    assert second.startswith("  AAA: true now, so it fires if it still is at its first bar; the next bar closes at 2")
    assert rest == [
        "message, for example: AAA: price > 102 (day), price 151.25",
        "warning: no day bars of AAA after 2025-11-07 are stored, and no schedule loads them",
    ]
    now = alerts("add", "AAA < 102 1d", "--json").json
    assert (now["name"].startswith("alert-"), now["now"][0]["rule"], now["now"][0]["bar"][:10]) == (
        True,
        "false",
        "2025-11-07",
    )
    assert alerts("add", "AAA > sma(9)", "--json").json["now"][0]["rule"] == "unknown"
    waits = {"ticker": "AAA", "rule": {"indicator": "price", "operator": ">", "value": 1}, "rearm": {"initial": "wait"}}
    assert "  AAA: true now, has to be false before it fires; the next" in alerts("add", json.dumps(waits)).out


def test_a_series_that_is_missing_is_accepted_and_named(
    alerts: Run, cli: Run, pool: ConnectionPool[Connection]
) -> None:
    answer = alerts("add", "AAA > 102 1h", "--name", "hours")
    assert answer.code == 0
    assert "  AAA: not known, nothing is stored; the next bar closes at " in answer.out
    assert answer.out.endswith("warning: no hour bars of AAA are stored, and no schedule loads them\n")
    (row,) = alerts("list", "--json").json
    assert (row["blind"], row["silent"]) == (["AAA"], ["blind: bars of AAA are missing"])
    assert AlertBlindness(pool, "XNYS").run_once() is None
    (row,) = alerts("list", "--json").json
    since = datetime.fromisoformat(row["blind_since"]).astimezone(EXCHANGE_ZONE)
    assert row["silent"] == [f"blind since {since:%Y-%m-%d %H:%M %Z}: bars of AAA are missing"]
    (state,) = alerts("show", "hours", "--json").json["symbols"]
    assert (state["blind"], state["blind_since"]) == (True, row["blind_since"])
    assert f"silent: blind since {since:%Y-%m-%d}" in alerts("show", "hours").out
    words = ("--job", "load_ohlcv", "--universe", "two", "--cron", "@hourly")
    assert cli("schedules", "add", "loads", *words, "--param", 'timeframes=["hour"]').code == 0
    assert "no hour bars of BBB are stored, and a schedule loads them" in alerts("add", "BBB > 1 1h").out
    assert "no 1min bars of BBB are stored, and no schedule loads them" in alerts("add", "BBB > 1 1min").out


def test_an_alert_about_a_delisted_symbol_has_ended(alerts: Run, connection: Connection) -> None:
    connection.execute(
        "INSERT INTO listings (symbol, delisted_after, provider) VALUES ('AAA', '2025-11-07', 'massive')"
    )
    added = alerts("add", "AAA > 102", "--name", "one").out.splitlines()
    assert added[1] == "  AAA: true now, so it fires if it still is at its first bar"
    assert added[-1] == "warning: AAA was delisted after 2025-11-07 and has no more bars"
    (row,) = alerts("list", "--json").json
    assert (row["states"], row["ended"], row["blind"]) == ({"ended": 1}, ["AAA"], [])
    assert row["silent"] == ["ended: AAA was delisted after 2025-11-07"]
    (state,) = alerts("show", "one", "--json").json["symbols"]
    assert (state["status"], state["delisted_after"], state["blind"]) == ("ended", "2025-11-07", False)
    assert "\nsilent: ended: AAA was delisted after 2025-11-07\n" in alerts("show", "one").out


def test_list_chooses_and_says_why_an_alert_is_silent(alerts: Run) -> None:
    group = {"universe": "two", "timeframe": "1d", "rule": {"indicator": "price", "operator": ">", "value": 1}}
    _add(alerts, "AAA > 102", "aaa-1")
    _add(alerts, "AAA > 103 1h", "aaa-2")
    _add(alerts, json.dumps(group | {"notify": {"group": "desk"}}), "all")
    _add(alerts, "CCC > 103 until 2020-01-01", "ccc")
    assert _names(alerts) == ["aaa-1", "aaa-2", "all", "ccc"]
    assert _names(alerts, "--name", "aaa-*") == ["aaa-1", "aaa-2"]
    assert _names(alerts, "--symbol", "AAA", "--timeframe", "daily") == ["aaa-1", "all"]
    assert _names(alerts, "--universe", "two") == _names(alerts, "--group", "desk") == ["all"]
    assert alerts("list", "--name", "z?").out == "no alert of name 'z?'\n"
    assert alerts("pause", "aaa-1", "aaa-1").out == "paused: aaa-1\n"
    assert alerts("mute", "--name", "aaa-*", *FOREVER, "--reason", "lunch").code == 0
    assert alerts("mute", "--symbol", "BBB", *FOREVER).out == "muted: all for BBB until 2199-12-31 07:00 EST\n"
    silent = {row["name"]: row["silent"] for row in alerts("list", "--json").json}
    assert silent["aaa-1"][0].startswith("paused by cli:local since 2")
    assert silent["aaa-1"][1] == silent["aaa-2"][0]
    assert re.fullmatch(MUTED.format("muted") + ": lunch", silent["aaa-1"][1])
    assert re.fullmatch(MUTED.format("BBB snoozed"), silent["all"][0])
    assert silent["ccc"] == ["expired at 2020-01-01 23:59 EST", "blind: bars of CCC are missing"]
    table = alerts("list").out.splitlines()
    assert table[0].split() == [
        *["name", "about", "timeframe", "rule", "state", "fires", "last", "fired", "silent", "because"]
    ]
    assert table[3].split()[:6] == ["all", "two", "day", "price", ">", "1"]


def test_show_has_document_states_mutes_and_versions(alerts: Run) -> None:
    _add(alerts, "AAA > 102", "high")
    assert alerts("edit", "high", "AAA > 103").code == 0
    assert alerts("mute", "--all").out == "muted: high until `alerts unmute`\n"
    found = alerts("show", "high", "--json").json
    assert list(found["document"])[:4] == ["schema_version", "name", "ticker", "timeframe"]
    assert [(each["symbol"], each["status"], each["complete_through"][:10]) for each in found["symbols"]] == [
        ("AAA", "armed", "2025-11-07")
    ]
    assert [(each["version"], each["epoch"], each["decides"]) for each in found["versions"]] == [
        (1, 1, True),
        (2, 2, True),
    ]
    text = alerts("show", "high").out
    assert text.startswith("high (version 2): AAA price > 103 day\n{")
    assert re.search(r"\nsilent: muted by cli:local since \S+ \S+ E.T\n", text)


def test_edit_keeps_what_a_text_cannot_say_and_resets_the_state_only_for_another_rule(alerts: Run) -> None:
    document = {
        "ticker": "AAA",
        "timeframe": "1d",
        "rule": {"indicator": "price", "operator": ">", "value": 1},
        "max_fires": 3,
        "notify": {"group": "desk"},
    }
    _add(alerts, json.dumps(document), "one")
    assert alerts("edit", "one", "price > 2", "--json").json["version"] == 2
    found = alerts("show", "one", "--json").json
    assert found["document"] == document | {
        "schema_version": 1,
        "name": "one",
        "timeframe": "day",
        "rule": {"indicator": "price", "operator": ">", "value": 2},
        "rearm": {"type": "edge"},
    }
    renamed = found["document"] | {"name": "two", "notify": {"group": "other"}}
    assert alerts("edit", "one", json.dumps(renamed)).out.startswith("edited: alert 'two', version 3, 1 symbol\n")
    assert [each["epoch"] for each in alerts("show", "two", "--json").json["versions"]] == [1, 2, 2]
    assert alerts("edit", "two", "price > 2", "--symbols", "AAA,BBB", "--json").json["symbols"] == 2


def test_copy_pause_resume_and_remove(alerts: Run) -> None:
    _add(alerts, "AAA > 102 cooldown 5d", "one")
    assert alerts("copy", "one", "more", "--universe", "two", "--timeframe", "week", "--json").json["alert"] == {
        "schema_version": 1,
        "name": "more",
        "universe": "two",
        "timeframe": "week",
        "rule": {"indicator": "price", "operator": ">", "value": 102},
        "rearm": {"type": "cooldown", "cooldown": 432_000},
    }
    assert alerts("pause", "one", "more", "--json").json[1] == {"name": "more", "outcome": "paused"}
    assert alerts("resume", "more").out == "resumed: more\n"
    assert [bool(row["paused_at"]) for row in alerts("list", "--json").json] == [False, True]
    assert alerts("remove", "one", "gone").code == 2
    assert _names(alerts) == ["more", "one"]
    assert alerts("remove", "one", "more").out == "removed: one\nremoved: more\n"
    assert alerts("list").out == "no alerts yet: `streamworkers alerts add 'AAPL > 150'`\n"


def test_mutes_and_snoozes_end(alerts: Run) -> None:
    _add(alerts, "AAA > 102", "one")
    _add(alerts, "AAA > 103", "two")
    assert alerts("snooze", "one", *FOREVER).out == "snoozed: one for AAA until 2199-12-31 07:00 EST\n"
    assert alerts("mute", "--all", *FOREVER, "--json").json[1] == {
        "name": "two",
        "symbol": None,
        "until": "2199-12-31T12:00:00+00:00",
        "outcome": "muted",
    }
    assert [len(row["muted"]) for row in alerts("list", "--json").json] == [2, 1]
    assert alerts("unmute", "--symbol", "AAA", "--json").json == [{"name": "one", "outcome": "unmuted"}]
    assert [len(row["muted"]) for row in alerts("list", "--json").json] == [1, 1]
    assert alerts("snooze", "one", *FOREVER).code == 0
    assert alerts("unmute", "--name", "o*").out == "unmuted: one\n"
    assert [len(row["muted"]) for row in alerts("list", "--json").json] == [0, 1]
    assert alerts("unmute", "--name", "one").out == "none of 1 alerts is muted\n"


def test_a_snooze_keeps_who_when_until_and_why(alerts: Run) -> None:
    _add(alerts, "AAA > 102", "one")
    assert alerts("snooze", "one", *FOREVER, "--reason", "earnings of [AAA]").code == 0
    (row,) = alerts("list", "--json").json
    (snooze,) = row["muted"]
    since = datetime.fromisoformat(snooze["since"]).astimezone(EXCHANGE_ZONE)
    text = f"AAA snoozed by cli:local since {since:%Y-%m-%d %H:%M %Z} until 2199-12-31 07:00 EST: earnings of [AAA]"
    assert row["silent"][0] == text
    assert f"\nsilent: {text}\n" in alerts("show", "one").out
    assert snooze == {
        "symbol": "AAA",
        "since": snooze["since"],
        "until": "2199-12-31T12:00:00+00:00",
        "reason": "earnings of [AAA]",
        "by": "cli:local",
    }
    assert alerts("mute", "--symbol", "AAA", *FOREVER, "--reason", "lunch").code == 0
    assert [each["reason"] for each in alerts("list", "--json").json[0]["muted"]] == ["lunch"]


def test_history_lists_firings_and_corrections(alerts: Run, connection: Connection) -> None:
    _add(alerts, "AAA > 102", "one")
    assert alerts("history").out == "nothing has fired\n"
    fire = (
        "INSERT INTO alert_firings (alert_id, symbol, bar_time, kind, closed_at, version, epoch, price, is_live,"
        " earlier, state_after, fired_at) SELECT id, 'AAA', '2025-11-06T00:00-05', 'fire', '2025-11-06T16:00-05', 1, 1,"
        " 103, true, 2, '{}', '2025-11-06T16:01-05' FROM alerts"
    )
    connection.execute(fire)
    connection.execute(
        "INSERT INTO alert_corrections (alert_id, symbol, bar_time, change, kind)"
        " SELECT id, 'AAA', '2025-11-05T00:00-05', 7, 'would_have_fired' FROM alerts"
    )
    text = [line.split() for line in alerts("history", "one").out.splitlines()]
    assert text[1][:3] == ["one", "AAA", "2025-11-06"]
    assert text[1][5:] == ["fire", "103.0000", "yes", "2"]
    assert text[3][:3] == ["AAA", "2025-11-05", "would_have_fired"]
    found = alerts("history", "--json").json
    assert [each["symbol"] for each in found["firings"]] == ["AAA"]
    assert alerts("history", "--since", "2025-11-07", "--json").json["firings"] == []
    assert alerts("remove", "one").code == 0
    assert len(alerts("history", "--json").json["firings"]) == 1


def test_a_message_may_hold_any_separator_of_lines(alerts: Run, tmp_path: Path) -> None:
    """JSON holds them as they are; only a line feed ends a document."""
    separators = "\u2028\u2029\x85\x0b\x0c\x1c\r"
    document = json.loads(GOOD) | {"notify": {"message_template": f"a{separators}b"}}
    _add(alerts, json.dumps(document), "one")
    assert alerts("export", tmp_path / "alerts.json").code == 0
    assert alerts("import", tmp_path / "alerts.json").out == "0 added, 0 changed, 1 unchanged\n"


@pytest.mark.parametrize("form", ["lines", "document"])
def test_what_is_exported_is_imported_once(alerts: Run, tmp_path: Path, form: str) -> None:
    _add(alerts, "AAA > 102 once", "one")
    _add(alerts, "rsi(14) < 30", "two", "--universe", "two")
    file = tmp_path / "alerts.json"
    assert alerts("export", file, "--format", form).out == f"2 alerts in {file}\n"
    exported = alerts("export", "--format", form).out
    assert exported == file.read_text(encoding="utf-8")
    assert alerts("import", file).out == "0 added, 0 changed, 2 unchanged\n"
    assert alerts("remove", "two").code == 0
    assert alerts("edit", "one", "AAA > 105").code == 0
    would = ["changed: one", "added: two", "1 added, 1 changed, 0 unchanged (dry run: nothing was changed)"]
    assert alerts("import", file, "--dry-run").out.splitlines() == would
    assert _names(alerts) == ["one"]
    assert alerts("import", file, "--json").json == [
        {"name": "one", "outcome": "changed", "dry_run": False},
        {"name": "two", "outcome": "added", "dry_run": False},
    ]
    assert alerts("export", "--format", form).out == exported
    assert alerts("export", "--name", "one", "--json").json["alerts"][0]["name"] == "one"


GOOD = '{"name": "a", "ticker": "AAA", "timeframe": "1d", "rule": {"indicator": "price", "operator": ">", "value": 1}}'


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("", "there are no alerts in it"),
        ("[]", "there are no alerts in it"),
        ('{"alerts": 3}', "'alerts' is not a list"),
        (f"{GOOD}\n\n{{", "line 3: $: no JSON: at line 1, column 2: it ends too early"),
        (f'{GOOD}\n{{"rule": 1}}', "line 2: $.rule: 1 is not an object"),
        (f"[{GOOD}, 3]", "alert 2: $: 3 is not an object"),
        (f"{GOOD}\n{GOOD}", "line 2: a second alert has the name 'a'"),
        (
            GOOD.replace('"name": "a", ', ""),
            "line 1: has no name, by which an import knows whether it is there already",
        ),
        ("[" * 1000, "$: nested deeper than 40 levels, at character 41"),
    ],
)
def test_a_wrong_file_is_one_message_and_changes_nothing(alerts: Run, tmp_path: Path, content: str, error: str) -> None:
    (tmp_path / "alerts.json").write_text(content, encoding="utf-8")
    answer = alerts("import", "alerts.json")
    assert (answer.code, answer.err) == (2, f"Error: alerts.json: {error}\n")
    assert _names(alerts) == []


def test_an_import_that_cannot_be_stored_changes_nothing(
    alerts: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "alerts.json"
    other = GOOD.replace('"a"', '"b"').replace('"timeframe": "1d", ', "")
    file.write_text(f"{GOOD}\n{other}", encoding="utf-8")
    answer = alerts("import", file)
    assert answer.err == "Error: alert 'b': an alert needs a timeframe, such as 1min, hour or day\n"
    assert (answer.code, _names(alerts)) == (2, [])
    file.write_bytes(b"\xff")
    assert alerts("import", file).err == f"Error: line 1 of {file} is not UTF-8: byte 1 of the line is 0xff\n"
    monkeypatch.setenv("STREAMWORKERS_ALERTS_MAX_BYTES", "1024")
    file.write_text(GOOD + " " * 1024, encoding="utf-8")
    assert alerts("import", file).err == f"Error: {file} exceeds STREAMWORKERS_ALERTS_MAX_BYTES=1024\n"


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("add",), "give either an alert or --file"),
        (("add", "price > 3"), "an alert needs a symbol: ticker, tickers or universe"),
        (("add", "price > 3", "--symbols", ","), "the list of symbols names no symbol"),
        (("add", "price > 3", "--symbols", "A", "--universe", "u"), "name either symbols or a universe, not both"),
        (("add", "AAA > 3", "--name", "one"), TAKEN),
        (("add", "AAA > 3", "--user", "nobody"), NO_USER),
        (("edit", "on", "AAA > 3"), "no alert is named 'on'; did you mean 'one'?"),
        (("mute", *FOREVER), CHOOSE),
        (("mute", "--all", "--name", "x"), CHOOSE),
        (("mute", "--symbol", "AAA"), "a mute of one symbol needs an end: --for or --until"),
        (("mute", "--name", "x*", *FOREVER), "user 'local' has no alert of name 'x*'"),
        (("mute", "--symbol", "AAA", "--for", "1h", "--reason", "\x1b[31m"), f"the reason '\\x1b[31m' {LONG_REASON}"),
        (("snooze", "one", "--for", "1h", "--reason", ""), f"the reason '' {LONG_REASON}"),
        (("add", "AAA > 3", "--name", ""), f"alert '' {NAME_RULE}"),
        (("add", "AAA > 3", "--name", "a\nb"), f"alert 'a\\nb' {NAME_RULE}"),
        (("copy", "one", "x" * 101), f"alert '{'x' * 37}\\u2026' {NAME_RULE}"),
        (("edit", "one", json.dumps(json.loads(GOOD) | {"name": " a"})), f"alert ' a' {NAME_RULE}"),
        (("export", "none/alerts.json"), "none/alerts.json cannot be written: No such file or directory"),
        (("replay", "all", "--symbol", "CCC"), NO_SYMBOL),
        (("snooze", "one"), "a snooze needs an end: --for or --until"),
        (("snooze", "one", "--until", "9999-12-31T12:00Z"), "9999-12-31T12:00:00+00:00 is after the year 9998"),
        (("snooze", "all", "--for", "1h"), "alert 'all' is about 2 symbols: name one with --symbol"),
        (("snooze", "all", "--for", "1h", "--symbol", "CCC"), NO_SYMBOL),
    ],
)  # fmt: skip
def test_every_error_is_one_message(alerts: Run, words: tuple[str, ...], error: str) -> None:
    _add(alerts, "AAA > 3", "one")
    _add(alerts, "price > 3", "all", "--universe", "two")
    answer = alerts(*words)
    assert (answer.code, answer.err) == (2, f"Error: {error}\n")


def test_who_or_what_is_not_there_is_named_with_what_is(alerts: Run) -> None:
    _add(alerts, "AAA > 3", "one")
    _add(alerts, "price > 3", "all", "--universe", "two")
    errors = {
        ("list", "--user", "nobody"): NO_USER,
        ("history", "--user", "nobody"): NO_USER,
        ("show", "one", "--user", "nobody"): NO_USER,
        ("export", "--user", "nobody"): NO_USER,
        ("mute", "--all", "--for", "1h", "--user", "nobody"): NO_USER,
        ("test", "one", "--user", "nobody"): NO_USER,
        ("list", "--symbol", "CCC"): "no symbol of an alert is named 'CCC'; known: AAA, BBB",
        ("list", "--name", "on"): "no alert is named 'on'; did you mean 'one'?",
        ("list", "--universe", "tw"): "no universe of an alert is named 'tw'; did you mean 'two'?",
        ("list", "--group", "desk"): "no group of alerts is named 'desk'; there is no group of alerts yet",
        ("history", "--symbol", "CCC"): "no symbol of an alert is named 'CCC'; known: AAA, BBB",
        ("history", "all", "--symbol", "CCC"): NO_SYMBOL,
        ("history", "on"): "no alert is named 'on'; did you mean 'one'?",
        ("test", "on"): "no alert is named 'on'; did you mean 'one'?",
        ("test", "all"): "the alert is not about one symbol: name one with --symbol",
    }
    for words, error in errors.items():
        answer = alerts(*words)
        assert (answer.code, answer.err) == (2, f"Error: {error}\n"), words
    assert alerts("remove", "one").code == 0
    assert alerts("history", "--symbol", "AAA").out == "nothing has fired\n"  # it was about AAA
