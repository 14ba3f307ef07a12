"""The job `alerts` on hand-written paths: what fires, once, whatever comes late, twice, missing or corrected."""

from typing import Any

import pytest

from alert_stage import AlertStage, Path, before_day, document, session_days
from consumer import Consumer
from streamworkers.actor import LOCAL
from streamworkers.alerts.decide_bars import decide_bars
from streamworkers.alerts.document import parse_alert
from streamworkers.alerts.engine import deciding
from streamworkers.alerts.engine.compiled import CompiledVersions
from streamworkers.alerts.engine.reading import SymbolWork, read_work
from streamworkers.alerts.store import decisions
from streamworkers.alerts.store.changes import add_alert, edit_alert, pause_alert, remove_alert, resume_alert
from streamworkers.alerts.store.decisions import ShardMark
from streamworkers.alerts.store.mutes import mute_alert, unmute_alert
from streamworkers.alerts.store.reports import read_states
from streamworkers.alerts.store.symbols import follow_universes
from streamworkers.alerts.store.work import factor_since, read_rebases
from streamworkers.cli.waiting import print_summary, summarize_run
from streamworkers.database import Connection, connect
from streamworkers.engine.ledger import load_run
from streamworkers.engine.outcome import Completed, Item
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.jobs import alerts as alerts_job
from streamworkers.jobs.alerts import Alerts
from streamworkers.market.bars.changes import ChangeRecorder
from streamworkers.market.bars.write import announce_bars
from streamworkers.market.calendar.timeframes import TIMEFRAMES
from streamworkers.market.universes.store import add_symbols
from streamworkers.rules.market_vocabulary import MarketVocabulary
from streamworkers.rules.truth import FALSE, UNKNOWN

DAY = TIMEFRAMES["day"]
# Below, equal to the level, above, back, an unknown bar, a gap over the level.
PATH: Path = [99, 100, 101, 102, 99, 101, None, 101, 98, 103, 103, 97]
KNOWN = "price > 100 and volume > 0"
REARMS: list[tuple[str, dict[str, Any], list[int]]] = [
    (KNOWN, {"type": "edge"}, [2, 5, 9]),
    (KNOWN, {"type": "simple"}, [2, 3, 5, 7, 9, 10]),
    (KNOWN, {"type": "once"}, [2]),
    (KNOWN, {"type": "cooldown", "cooldown_bars": 4}, [2, 7]),
    (KNOWN, {"type": "cooldown", "cooldown": 2 * 86_400}, [2, 5, 7, 9]),
    (KNOWN, {"type": "persistence", "persistence_bars": 2}, [3, 7, 10]),
    ("price > 100", {"type": "hysteresis", "threshold": 0.02}, [2, 9]),
    ("price crosses_above 100", {"type": "crossing"}, [2, 5, 9]),
    ("price - 100 > 0", {"type": "hysteresis", "threshold": {"abs": 1.5}}, [2, 9]),
]


@pytest.fixture
def stage(connection: Connection, streams: Streams, registry: Registry, consumer: Consumer) -> AlertStage:
    return AlertStage(connection, streams, registry, consumer)


def test_every_rearm_type_fires_where_it_was_written_by_hand(stage: AlertStage) -> None:
    """Bar by bar through the pool; then the same bars at once, which decides the same."""
    alerts = [stage.add(rule, rearm) for rule, rearm, _ in REARMS]
    stage.bar_by_bar(PATH)
    live = [stage.fired(alert) for alert in alerts]
    assert live == [places for _, _, places in REARMS]
    again = [stage.add(rule, rearm, symbol="BBB") for rule, rearm, _ in REARMS]
    stage.load(PATH, symbol="BBB")
    stage.run("BBB")
    assert [stage.fired(alert) for alert in again] == live
    rows = stage.connection.execute(
        "SELECT symbol, array_agg(sides::text || status || streak || fire_count ORDER BY alert_id) FROM alert_state"
        " GROUP BY 1 ORDER BY 1"
    ).fetchall()
    assert rows[0][1] == rows[1][1]


def test_unknown_taken_as_false_releases_falsely(stage: AlertStage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: without the third value, the edge fires again after the bar that is unknown."""

    def two_valued(alert: Any, *words: Any) -> Any:
        class Rule:
            leaves, keys = alert.rule.leaves, alert.rule.keys

            def evaluate(self, *given: Any) -> Any:
                found = alert.rule.evaluate(*given)
                found.value[found.value == UNKNOWN] = FALSE
                return found

        return decide_bars(type(alert)(Rule(), alert.rearm, alert.limits), *words)

    monkeypatch.setattr(deciding, "decide_bars", two_valued)
    alert = stage.add(KNOWN)
    stage.load(PATH)
    stage.run()
    assert stage.fired(alert) == [2, 5, 7, 9]


def test_a_run_that_changes_no_state_writes_none(stage: AlertStage) -> None:
    """The row is written at the first evaluation, then only when it changes."""
    alerts = [stage.add("price > 1000") for _ in range(20)]
    stage.bar_by_bar([99])
    before = stage.connection.execute("SELECT array_agg(xmin::text ORDER BY alert_id) FROM alert_state").fetchone()
    stage.bar_by_bar([98], 1)
    after = stage.connection.execute("SELECT array_agg(xmin::text ORDER BY alert_id) FROM alert_state").fetchone()
    assert before == after
    (row,) = read_states(stage.connection, [alerts[0].id])
    assert row["evaluated_through"] == row["complete_through"]
    shard = stage.connection.execute("SELECT evaluations, unknown, firings FROM alert_shards").fetchone()
    assert shard == (40, 0, 0)


def _work(stage: AlertStage, versions: CompiledVersions) -> SymbolWork:
    return read_work(stage.connection, DAY, ["AAA"], versions)["AAA"]


def _save(stage: AlertStage, job: Alerts, work: SymbolWork, run: int) -> int:
    with stage.connection.transaction():
        return len(list(job.save(stage.connection, [Completed(Item(run, 0, "AAA", "day", 1), work)])))


def test_of_two_runs_and_a_zombie_one_decides(stage: AlertStage) -> None:
    """Both have read before either decides; the zombie has read before a later bar was decided, too."""
    alert = stage.add(KNOWN, {"type": "simple"})
    stage.load(PATH[:4])
    job, versions = Alerts(), CompiledVersions()
    job.versions = versions
    first, second, zombie = (_work(stage, versions) for _ in range(3))
    counts = [_save(stage, job, work, run) for run, work in enumerate((first, second), 1)]
    assert counts == [2, 0]
    stage.load(PATH[4:], 4)
    stage.run()
    assert _save(stage, job, zombie, 3) == 0
    assert stage.fired(alert) == [2, 3, 5, 7, 9, 10]
    assert len(stage.events()) == 1  # the second and later events are those of the run of the pool


def test_without_the_lock_and_the_key_two_runs_fire_twice(stage: AlertStage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: marks as they were read, states of nobody, and no unique key."""
    stage.add(KNOWN, {"type": "simple"})
    stage.load(PATH[:4])
    constraint = "alert_firings_alert_id_symbol_bar_time_kind_key"
    stage.connection.execute(f"ALTER TABLE alert_firings DROP CONSTRAINT {constraint}")
    monkeypatch.setattr(
        "streamworkers.alerts.store.decisions._FIRINGS",
        decisions._FIRINGS.replace("ON CONFLICT (alert_id, symbol, bar_time, kind) DO NOTHING\n", ""),
    )
    monkeypatch.setattr(alerts_job, "lock_shards", lambda *_: {"AAA": ShardMark(None, 0)})
    monkeypatch.setattr(alerts_job, "read_progress", lambda *_: {})
    job, versions = Alerts(), CompiledVersions()
    job.versions = versions
    works = [_work(stage, versions) for _ in range(2)]
    assert [_save(stage, job, work, run) for run, work in enumerate(works, 1)] == [2, 2]
    assert stage.fired() == [2, 2, 3, 3]


def test_after_thirty_missed_bars_one_event_says_how_many_were_earlier(
    stage: AlertStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All firings are rows; one event for each alert, live in its time; `all` and `none` shape them otherwise."""
    monkeypatch.setattr(alerts_job, "fetch_value", lambda *_: before_day(32))
    latest = stage.add("price > 100", {"type": "simple"})
    every = stage.add("price > 100", {"type": "simple"}, evaluate={"catch_up": "all"})
    none = stage.add("price > 100", {"type": "simple"}, evaluate={"catch_up": "none"})
    hour = stage.add("price > 100", {"type": "simple"}, evaluate={"catch_up": "none", "max_age_seconds": 3600})
    stage.load([99])
    stage.run()
    stage.load([101] * 31, 1)
    stage.run()
    for alert in (latest, every, none, hour):
        assert stage.fired(alert) == [*range(1, 32)]
    sent = {
        alert.id: [each for each in stage.events() if each["alert_id"] == alert.id]
        for alert in (latest, every, none, hour)
    }
    assert [(each["earlier"], each["live"]) for each in sent[latest.id]] == [(30, True)]
    assert [each["earlier"] for each in sent[every.id]] == [0] * 31
    assert [(each["earlier"], each["live"]) for each in sent[none.id]] == [(0, True)]
    assert sent[hour.id] == []
    notices = stage.events("streamworkers:notify")
    assert len(notices) == len(stage.events())
    assert len({each["dedup_key"] for each in notices}) == len(notices)
    rows = stage.connection.execute(
        "SELECT earlier FROM alert_firings WHERE alert_id = %s ORDER BY bar_time", (latest.id,)
    )
    assert [earlier for (earlier,) in rows] == [0] * 30 + [30]


def test_the_notification_of_a_firing_has_the_text_of_its_alert(stage: AlertStage) -> None:
    template = "{ticker} {price:.2f} {open} {value} > {level}, {fires}: <{rule}> {bar_time:date}"
    stage.add("price > 100", name="own", notify={"message_template": template, "on_release": True})
    stage.add("price > 100.5", name="usual")
    stage.load((99.0, 101.25, 99.0))
    stage.run()
    found = {(each["data"]["name"], each["type"]): each["data"] for each in stage.events("streamworkers:notify")}
    own, usual = found["own", "alert_fired"], found["usual", "alert_fired"]
    assert own["text"] == "AAA 101.25 101.25 101.25 > 100, 1: <price > 100> 2025-09-03"
    assert usual["text"] == "AAA: price > 100.5 (day), price 101.25"
    assert (usual["level"], usual["rule"]) == (100.5, "price > 100.5")
    released = found["own", "alert_released"]
    assert (released.get("text"), released["rule"]) == (None, "price > 100")
    assert ["text" in each for each in stage.events()] == [False] * 3  # other programs get numbers


def test_a_missing_bar_fires_and_releases_nothing(stage: AlertStage) -> None:
    """What is not there is no bar that is false: the edge does not fire again after it."""
    alert = stage.add("price > 100")
    stage.bar_by_bar([99, 101])
    stage.bar_by_bar([101, 102], 3)
    assert stage.fired(alert) == [1]


def test_the_run_that_steps_over_missing_bars_names_them(stage: AlertStage, capsys: pytest.CaptureFixture[str]) -> None:
    """Those before the first decision are not missed, and neither are those that the provider does not have."""
    stage.add("price > 100", at=before_day(2))
    stage.bar_by_bar([99], 2)
    stage.connection.execute(
        "INSERT INTO absent_bars (timeframe, symbol, first_bar, last_bar, bars, provider)"
        " VALUES ('day', 'AAA', %s, %s, 1, 'massive')",
        [before_day(5), before_day(5)],
    )
    stage.bar_by_bar([99], 4)
    stage.bar_by_bar([99], 6)
    stage.bar_by_bar([99], 14)
    days = [day.isoformat() for day in session_days()]
    named = [
        [],
        [{"symbol": "AAA", "timeframe": "day", "count": 1, "bars": [days[3]]}],
        [],
        [{"symbol": "AAA", "timeframe": "day", "count": 7, "bars": days[7:12]}],
    ]
    runs = [load_run(stage.connection, number) for number in (1, 2, 3, 4)]
    summaries = [summarize_run(stage.connection, run) for run in runs if run is not None]
    assert [summary["missing"] for summary in summaries] == named
    capsys.readouterr()
    print_summary(summaries[3])
    text = f"  missing    day bars of AAA ({', '.join(days[7:12])} and 2 more)\n"
    assert text in capsys.readouterr().out


def test_a_late_bar_and_a_corrected_one_are_compared_and_rewind_nothing(stage: AlertStage) -> None:
    """One row for each difference and change; the state machine and what was sent stay."""
    alert = stage.add("price > 100", on_correction="notify")
    stage.bar_by_bar([99, 99, 101])
    stage.bar_by_bar([102, 99, 101], 4)
    assert stage.fired(alert) == [2, 6]
    before = stage.connection.execute("SELECT * FROM alert_state").fetchall()
    stage.load([98], 3)  # it comes late: with it, the bar after it fires
    stage.run()
    assert stage.corrections() == [(4, "would_have_fired")]
    stage.load([99], 2)  # corrected: it would not have fired
    stage.run()
    stage.run()
    assert stage.corrections() == [(2, "would_not_have_fired"), (4, "would_have_fired"), (4, "would_have_fired")]
    assert stage.connection.execute("SELECT * FROM alert_state").fetchall() == before
    assert stage.fired(alert) == [2, 6]
    assert [each["type"] for each in stage.events("streamworkers:notify")].count("alert_would_have_fired") == 2


def test_a_correction_that_was_compared_is_not_compared_again_beside_a_new_series(stage: AlertStage) -> None:
    """A batch holds series that are decided for the first time, of which every change is new."""
    stage.add("price > 100", {"type": "simple"})
    stage.bar_by_bar([99, 99, 99, 99])
    stage.load([101], 1)
    stage.run()
    assert stage.corrections() == [(1, "would_have_fired")]
    stage.add("price > 100", ticker="BBB")
    stage.load([99], symbol="BBB")
    stage.load([101], 3)
    stage.run("AAA", "BBB")
    assert stage.corrections() == [(1, "would_have_fired"), (3, "would_have_fired")]


def test_a_correction_before_which_too_much_would_be_replayed_is_not_checked(
    stage: AlertStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bound is 5,000 bars; here it is 3."""
    monkeypatch.setattr("streamworkers.alerts.engine.correcting.MOST_REPLAYED", 3)
    monkeypatch.setattr("streamworkers.alerts.engine.reading.MOST_REPLAYED", 3)
    stage.add("price > 100")
    stage.load([99] * 8)
    stage.run()
    stage.load([101], 1)
    stage.run()
    assert stage.corrections() == [(1, "not_checked")]


def test_another_rule_begins_again_and_another_message_does_not(stage: AlertStage) -> None:
    """An edge that has fired fires again in a new epoch; a limit or message in between changes nothing."""
    alert = stage.add("price > 100", name="one")
    stage.bar_by_bar([99, 101])
    words = MarketVocabulary()
    same = parse_alert(document("price > 100", name="one", notify={"message_template": "{ticker}"}), words)
    edit_alert(stage.connection, LOCAL, "one", same, at=before_day(2))
    stage.bar_by_bar([102], 2)
    assert stage.fired(alert) == [1]
    edit_alert(
        stage.connection, LOCAL, "one", parse_alert(document("price > 100.5", name="one"), words), at=before_day(3)
    )
    stage.bar_by_bar([103, 104], 3)
    assert stage.fired(alert) == [1, 3]
    rows = stage.connection.execute("SELECT version FROM alert_firings ORDER BY bar_time").fetchall()
    assert rows == [(1,), (3,)]


def test_a_bar_is_decided_by_the_version_at_its_close(stage: AlertStage) -> None:
    """Bars that come after an edit, and were closed before it, are decided by the old version, each once."""
    alert = stage.add("price > 100", {"type": "simple"}, name="one")
    edited = parse_alert(document("price > 102", {"type": "simple"}, name="one"), MarketVocabulary())
    edit_alert(stage.connection, LOCAL, "one", edited, at=before_day(2))
    stage.load([101, 101, 101, 103])
    stage.run()
    stage.run()
    assert stage.fired(alert) == [0, 1, 3]


def test_bars_of_a_pause_are_never_decided(stage: AlertStage) -> None:
    """After it the state begins again; what was removed decides nothing."""
    alert = stage.add("price > 100", {"type": "simple"}, name="one")
    stage.bar_by_bar([101])
    pause_alert(stage.connection, LOCAL, "one", at=before_day(1))
    stage.bar_by_bar([101, 101], 1)
    resume_alert(stage.connection, LOCAL, "one", at=before_day(3))
    stage.bar_by_bar([101], 3)
    remove_alert(stage.connection, LOCAL, "one", at=before_day(4))
    stage.bar_by_bar([101], 4)
    assert stage.fired(alert) == [0, 3]


def test_what_fires_while_muted_is_suppressed_and_counts_for_no_limit(stage: AlertStage) -> None:
    """The row is there with its reason, nothing is sent, and `once` has not been used up."""
    alert = stage.add("price > 100", {"type": "once"}, name="one")
    mute_alert(stage.connection, LOCAL, "one", None, at=before_day(0))
    stage.bar_by_bar([101, 99])
    assert stage.events() == []
    unmute_alert(stage.connection, LOCAL, "one", at=before_day(2))
    stage.bar_by_bar([101, 99, 101], 2)
    assert stage.fired(alert) == [0, 2]
    rows = stage.connection.execute("SELECT suppressed FROM alert_firings ORDER BY bar_time").fetchall()
    assert rows == [("mute",), (None,)]
    assert len(stage.events()) == 1
    found = stage.connection.execute(
        "SELECT state_json ->> 'status', state_json ->> 'trigger_count' FROM alert_state_json"
    )
    assert found.fetchall() == [("done", "1")]


def test_a_symbol_that_returns_to_its_universe_begins_again(stage: AlertStage) -> None:
    """An edge that has fired, and whose symbol left and came back, fires again."""
    add_symbols(stage.connection, "few", ["AAA"])
    members = document("price > 100", universe="few", name="of few")
    del members["ticker"]
    alert = add_alert(stage.connection, LOCAL, parse_alert(members, MarketVocabulary()), at=before_day(0))
    stage.bar_by_bar([101, 101])
    stage.connection.execute("DELETE FROM group_memberships")
    follow_universes(stage.connection)
    stage.connection.execute("UPDATE alert_symbols SET until = %s", (before_day(2),))
    stage.bar_by_bar([101], 2)
    add_symbols(stage.connection, "few", ["AAA"])
    follow_universes(stage.connection)
    stage.connection.execute("UPDATE alert_symbols SET since = %s WHERE until IS NULL", (before_day(3),))
    stage.bar_by_bar([101, 101], 3)
    assert stage.fired(alert) == [0, 3]


def test_a_release_is_a_row_if_the_alert_asks_for_it(stage: AlertStage) -> None:
    """And an event of its own."""
    alert = stage.add("price > 100", notify={"on_release": True})
    stage.bar_by_bar([101, 99, 101])
    assert (stage.fired(alert), stage.fired(alert, "release")) == ([0, 2], [1])
    assert [each["event_type"] for each in stage.events()] == ["alert_fired", "alert_released", "alert_fired"]


@pytest.mark.parametrize(("factor", "fired", "suppressed"), [(0.5, [], 0), (None, [3], 1)])
def test_a_split_moves_the_constants_or_mutes(
    factor: float | None, fired: list[int], suppressed: int, stage: AlertStage
) -> None:
    """`price < 60` at 100 is `price < 30` at 50; with an unknown factor what fires is suppressed."""
    alert = stage.add("price < 60")
    stage.bar_by_bar([100, 100, 100])
    recorder = ChangeRecorder(stage.connection, DAY, rebased={"AAA": factor})
    with stage.connection.transaction():
        recorder.begin(["AAA"])
        for place in range(4):
            stage.connection.execute(
                "INSERT INTO ohlcv_daily (symbol, date, open, high, low, close, volume)"
                " VALUES ('AAA', %s, 50, 50, 50, 50, 1)"
                " ON CONFLICT (symbol, date) DO UPDATE SET open = 50, high = 50, low = 50, close = 50",
                (session_days()[place],),
            )
        recorder.note_range("AAA", before_day(0), before_day(2), None)
        recorder.finish()
    stage.run()
    assert stage.fired(alert) == fired
    kinds = [each["type"] for each in stage.events("streamworkers:notify")]
    assert kinds == (["alert_muted"] if factor is None else [])
    rows = stage.connection.execute("SELECT count(*) FROM alert_firings WHERE suppressed IS NOT NULL").fetchone()
    assert rows == (suppressed,)
    assert stage.corrections() == []
    stage.bar_by_bar([29], 4)
    assert stage.fired(alert) == (fired or [4])


def test_a_split_is_of_the_moment_of_its_change_and_not_of_when_its_transaction_began(
    stage: AlertStage, database_url: str
) -> None:
    """A rule that is written while a load is under way is of the prices before it, and moves with them."""
    with connect(database_url) as other, other.transaction():
        other.execute("SELECT now()")  # a long load has begun
        (written,) = stage.connection.execute("SELECT clock_timestamp()").fetchone() or (None,)
        recorder = ChangeRecorder(other, DAY, rebased={"AAA": 0.5})
        recorder.begin(["AAA"])
        recorder.note_range("AAA", before_day(0), before_day(2), None)
        recorder.finish()
    (rebase,) = read_rebases(stage.connection, "day", ["AAA"])["AAA"]
    assert factor_since([rebase], written) == 0.5
    assert factor_since([rebase], rebase.at) == 1.0


def test_an_event_without_bars_decides_what_is_there(stage: AlertStage) -> None:
    """`bars announce` names no range; a run about a symbol without alerts or bars completes."""
    stage.add("price > 100")
    announce_bars(stage.connection, DAY, ["AAA"])
    stage.run("AAA", "ZZZ")
    assert stage.fired() == []
