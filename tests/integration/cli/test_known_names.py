"""Commands that read say a name that nothing has, with the nearest one, and answer nothing to none of them."""

import pytest

from command_line import Run as Command
from streamworkers.database import Connection
from streamworkers.engine import ledger

LOADS = "`streamworkers load --symbols` loads them"
NO_AAPE = "no bars of AAPE are stored; did you mean AAPL?"
SLIPS = {
    "results AAPE": NO_AAPE,
    "results show zzzz": f"no bars of zzzz are stored; {LOADS}",
    "results ../x": "the symbol '../x' is not letters, digits and",
    "results export --symbols AAPL,AAPE out.csv": NO_AAPE,
    "results export --names rsi_41 out.csv": "no indicator is named 'rsi_41'; did you mean 'rsi_14'?",
    "results export --patterns --names DOJI out.csv": "no pattern is named 'DOJI'; did you mean 'doji'?",
    "bars show aapl --timeframe week": "no bars of aapl are stored; did you mean AAPL?",
    "bars show AALP": "no bars of AALP are stored; did you mean AAPL?",
    "bars gaps AAPLL": "no bars of AAPLL are stored; did you mean AAPL?",
    "bars export --symbols AAPE out.csv": NO_AAPE,
    "listings list AAPL AAPE": NO_AAPE,
    "runs list --job indicator": "no job is named 'indicator'; did you mean 'indicators'?",
    "runs list --job GONE": "no job is named 'GONE'; did you mean 'gone'?",
    "items list --job indicator": "no job is named 'indicator'; did you mean 'indicators'?",
    "items list --symbol AAPE": "no symbol of an item is named 'AAPE'; did you mean 'AAPL'?",
    "items list --symbol DEADD": "no symbol of an item is named 'DEADD'; did you mean 'DEAD'?",
    "items list --schedule evning": "no schedule is named 'evning'; did you mean 'evening'?",
    "items list --status complete": "no state of an item is named 'complete'; did you mean 'completed'?",
    "dead list --job indicator": "no job is named 'indicator'; did you mean 'indicators'?",
    "dead list --run 77": "no run is named '77'; known: ",
    "dead list --symbol AAPE": "no symbol of a dead item is named 'AAPE'; did you mean 'AAPL'?",
    "dead list --symbol DEADD": "no symbol of a dead item is named 'DEADD'; did you mean 'DEAD'?",
    "dead replay --symbol AAPE": "no symbol of a dead item is named 'AAPE'; did you mean 'AAPL'?",
    "dead purge --job indicator --yes": "no job is named 'indicator'; did you mean 'indicators'?",
    "rejected list --queue analyses": "no queue is named 'analyses'; did you mean 'analysis'?",
    "tokens list --user loca": "no user is named 'loca'; did you mean 'local'?",
    "telegram links list --user Local": "no user is named 'Local'; did you mean 'local'?",
    "notifications list --user loca": "no user is named 'loca'; did you mean 'local'?",
    "notifications list --type run_faild": "no type of notification is named 'run_faild'; did you mean 'run_failed'?",
    "audit list --user loca": "no user is named 'loca'; did you mean 'local'?",
    "audit list --action user.ad": "no action in the log is named 'user.ad'; did you mean 'user.add'?",
    "schedules history evning": "no schedule is named 'evning'; did you mean 'evening'?",
    "alerts list --symbol AAPE": "no symbol of an alert is named 'AAPE'; did you mean 'AAPL'?",
    "bars coverage --universe mien": "no universe is named 'mien'; did you mean 'mine'?",
}
NOTHING_TO_SHOW = (
    *("results AAPL", "results NEW", "bars show AAPL --timeframe week", "bars show NEW", "bars show LISTED"),
    *("runs list --job indicators", "runs list --job gone --status FAILED", "dead list --job indicators"),
    *("dead list --symbol AAPL", "dead list --symbol NEW", "dead list --job health_check --symbol redis"),
    *("items list --symbol AAPL", "items list --schedule evening", "items list --job indicators"),
    *("rejected list --queue analysis", "tokens list --user local", "notifications list --type run_failed"),
    *("audit list --user local --action user.add --outcome failed", "listings list AAPL", "results export out.csv"),
)


@pytest.fixture
def known(connection: Connection, cli: Command) -> None:
    """One name of each kind: of a symbol with bars, in a universe, and in a listing; of a job that is not installed."""
    connection.execute("INSERT INTO ohlcv_daily VALUES ('AAPL', '2026-01-02', 1, 1, 1, 1, 1)")
    connection.execute("INSERT INTO listings (symbol, provider, asked_at) VALUES ('LISTED', 'set', now())")
    connection.execute(
        "WITH mine AS (INSERT INTO definition_groups (name, type) VALUES ('mine', 'UNIVERSE') RETURNING id)"
        " INSERT INTO group_memberships (group_id, symbol) SELECT id, 'NEW' FROM mine"
    )
    health = ledger.JobType("health_check", "analysis", 1, {}, "part")
    ledger.record_job_types(connection, [health], "0.2.0")
    connection.execute("SELECT ensure_run_items_partition(current_date)")
    connection.execute(
        "WITH gone AS (INSERT INTO runs (job, queue, target, parameters, item_count, max_attempts, run_day)"
        " VALUES ('gone', 'analysis', 'DEAD', '{}', 1, 1, current_date) RETURNING id, run_day)"
        " INSERT INTO run_items (run_day, run_id, seq, symbol, status)"
        " SELECT run_day, id, 0, 'DEAD', 'failed' FROM gone"
    )
    for words in (
        ("users", "add", "ann"),
        ("schedules", "add", "evening", "--job", "indicators", "--symbols", "AAPL", "--cron", "@daily"),
        ("alerts", "add", "AAPL > 1 day"),
    ):
        assert cli(*words).code == 0


@pytest.mark.usefixtures("known")
def test_a_name_that_nothing_has_is_an_error_that_names_the_nearest(cli: Command) -> None:
    for words, error in SLIPS.items():
        answer = cli(*words.split())
        assert (answer.code, answer.out) == (2, ""), (words, answer)
        assert answer.err.startswith(f"Error: {error}"), (words, answer)
    assert cli("runs", "list", "--job", "indicator", "--json").out == ""


@pytest.mark.usefixtures("known")
def test_a_thing_of_which_there_is_nothing_to_show_is_no_error(cli: Command) -> None:
    for words in NOTHING_TO_SHOW:
        answer = cli(*words.split())
        assert (answer.code, "Error" in answer.err) == (0, False), (words, answer)
    for line in ("bars announce AAPE", "listings set AAPE --from 2026-01-02", "calendars set 24/7 --symbols AAPE,X:*"):
        answer = cli(*line.split())
        assert (answer.code, answer.err) == (0, f"warning: {NO_AAPE}\n"), line
