"""The rights in docs/guides/operations.md are enough for each process and command, and a missing one is named."""

import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import click
import httpx
import pytest

from command_line import Answer, Run, wait_for
from harness import Bot, Scheduler, Service, Supervisor, running_supervisor, wait_until
from patience import patient
from rights import Users, documented_users, postgres_groups, redis_rights
from streamworkers.api.process import ApiOptions, ApiProcess
from streamworkers.cli.main import cli as all_commands
from streamworkers.config import Settings
from streamworkers.database import Connection
from streamworkers.engine.redis.keys import DATA_LOAD_CHANNEL, DATA_LOAD_STREAM, GROUP, Keys, job_status
from streamworkers.engine.registry import Registry
from streamworkers_fakes.telegram import DEFAULT_TOKEN, running_fake_bot_api
from submitting import install_jobs

As = Callable[..., Answer]
_LUA = Path(__file__).parent.parent.parent.parent / "streamworkers" / "engine" / "redis" / "lua"
_BARS = "symbol,date,open,high,low,close,volume\nAAA,2025-11-03,10,11,9,10.5,1000\n"
_UNIVERSE = "universe,symbol\ntwo,AAA\ntwo,BBB\n"
# With services of their own, or without any.
_NEEDS_NOTHING = {
    "config show",
    "demo",
    "embedded env",
    "embedded start",
    "embedded status",
    "embedded stop",
    "fake-bot-api",
    "fake-massive",
    "fake-smtp",
    "fake-webhook",
    "rules check",
    "version",
}
_PROCESSES = {"worker", "scheduler"}
_SUPERVISOR = """
    INSERT INTO processes (id, kind, host, pid, version, doing)
    VALUES ('desk-1-a', 'supervisor', 'desk', 1, '0.2.0', '{"mode": "running"}')
"""
_MESSAGE = """
    INSERT INTO received_messages (channel, source, state, reason, detail, sent_at, received_by, content, content_bytes)
    SELECT 'c', 'stream', 'rejected', 'no_schedule', 'x', now(), '{}', content, length(content)
    FROM (VALUES ('{"event_type": "data_load_complete", "symbols": ["AAA"]}'::bytea)) AS m (content)
"""
# In order: the user of the guide, the command, and its exit code where it is another than 0.
_COMMANDS: list[tuple[str, str, int]] = [
    ("viewer", "migrate --status", 0),
    ("operator", "adopt", 0),
    ("operator", "universes import universes.csv", 0),
    ("viewer", "universes list", 0),
    ("viewer", "universes show two", 0),
    ("operator", "calendars set 24/7 --symbols X:*", 0),
    ("viewer", "calendars list", 0),
    ("operator", "calendars unset --symbols X:*", 0),
    ("operator", "listings set OLD --delisted-after 2025-10-31", 0),
    ("viewer", "listings list", 0),
    ("operator", "listings unset OLD", 0),
    ("operator", "bars import bars.csv --universe three", 0),
    ("operator", "bars sample --universe sample", 0),
    ("operator", "bars synthesize --symbols 1 --days 5", 0),
    ("operator", "bars announce AAA", 0),
    ("viewer", "bars show AAA", 0),
    ("viewer", "alerts test AAA>5", 0),
    ("operator", "alerts add AAA>5 --name one", 0),
    ("operator", "alerts edit one AAA>6", 0),
    ("operator", "alerts copy one two", 0),
    ("operator", "alerts pause one", 0),
    ("operator", "alerts resume one", 0),
    ("operator", "alerts mute --all --for 1h", 0),
    ("operator", "alerts unmute --all", 0),
    ("operator", "alerts snooze one --for 1h", 0),
    ("viewer", "alerts list", 0),
    ("viewer", "alerts show one", 0),
    ("viewer", "alerts history one", 0),
    ("viewer", "alerts replay one", 0),
    ("viewer", "alerts export alerts.json", 0),
    ("operator", "alerts remove two", 0),
    ("operator", "alerts import alerts.json", 0),
    ("viewer", "bars coverage --universe three --from 2025-11-03 --to 2025-11-03", 0),
    ("viewer", "bars gaps AAA --from 2025-11-03 --to 2025-11-03", 0),
    ("operator", "indicators add rsi_7 RSI timeperiod=7", 0),
    ("operator", "indicators disable rsi_7", 0),
    ("operator", "indicators enable rsi_7", 0),
    ("viewer", "indicators list", 0),
    ("viewer", "patterns list", 0),
    ("viewer", "patterns recent", 0),
    ("operator", "patterns disable doji", 0),
    ("operator", "patterns enable doji", 0),
    ("viewer", "bars export exported.csv --symbols AAA", 0),
    ("viewer", "results AAA", 0),
    ("viewer", "results show AAA", 0),
    ("viewer", "results export results.csv", 0),
    ("operator", "enqueue ledger_entry --symbols A,B", 0),
    ("operator", "load --symbols AAA --provider synthetic --years 0.02", 0),
    ("viewer", "runs list", 0),
    ("viewer", "runs show 1", 0),
    ("viewer", "runs stats", 0),
    ("viewer", "runs watch 1 --timeout 0.1", 1),
    ("operator", "runs cancel 1", 0),
    ("operator", "runs retry 1", 0),
    ("operator", "runs retry-webhook 1", 2),
    ("owner", "SQL UPDATE run_items SET status = 'failed', error = 'x', finished_at = now() WHERE run_id = 1", 0),
    ("viewer", "items list --status dead", 0),
    ("viewer", "items show 1 A", 0),
    ("viewer", "dead list", 0),
    ("viewer", "dead show 1:0", 0),
    ("operator", "dead replay 1:0", 0),
    ("operator", "dead purge 1:1", 0),
    (
        "owner",
        "SQL INSERT INTO rejected_entries (queue, entry_id, reason, size, payload) VALUES ('q', '1-0', 'x', 1, 'x')",
        0,
    ),
    ("viewer", "rejected list", 0),
    ("viewer", "rejected show 1", 0),
    ("operator", "rejected purge --all --yes", 0),
    ("owner", "SQL INSERT INTO job_types VALUES ('noop', 'x', '1', 'bench', 3, '{}', 'symbol')", 0),
    ("viewer", "jobs stubs", 0),
    ("viewer", "jobs list", 0),
    ("viewer", "limits list", 0),
    ("operator", "queues pause bench --reason tests", 0),
    ("viewer", "queues list", 0),
    ("operator", "queues resume bench", 0),
    ("viewer", "jobs show ledger_entry", 0),
    ("operator", "schedules install-defaults", 0),
    ("operator", "schedules add job --job noop --symbols A --cron @daily", 0),
    ("operator", "schedules edit job --symbols B --webhook https://x.example --webhook-secret env:HOOK", 0),
    ("operator", "schedules pause job", 0),
    ("operator", "schedules resume job", 0),
    ("operator", "schedules trigger job", 0),
    ("viewer", "schedulers list", 0),
    ("viewer", "schedulers show", 0),
    ("viewer", "running", 0),
    ("owner", f"SQL {_SUPERVISOR}", 0),
    ("viewer", "workers list", 0),
    ("viewer", "workers show desk-1-a", 0),
    ("operator", "workers drain desk-1-a --wait 0", 1),
    ("operator", "workers resume desk-1-a --wait 0", 1),
    ("operator", "workers stop desk-1-a --wait 0", 1),
    ("operator", "workers resize desk-1-a 3 --wait 0", 1),
    ("owner", "SQL DELETE FROM processes", 0),
    ("viewer", "schedules list", 0),
    ("viewer", "schedules show job", 0),
    ("viewer", "schedules next job", 0),
    ("viewer", "schedules history job", 0),
    ("viewer", "schedules audit job", 0),
    ("viewer", "schedules next", 0),
    ("operator", "schedules at noop 2199-01-01T12:00 --symbols A", 0),
    ("operator", "schedules windows add --until 2199-01-01T12:00", 0),
    ("viewer", "schedules windows list", 0),
    ("operator", "schedules windows remove 1", 0),
    ("viewer", "schedules history", 0),
    ("operator", "schedules backfill job --from 2025-11-03 --to 2025-11-04", 0),
    ("viewer", "schedules missing job --since 2025-11-03", 0),
    ("viewer", "backfills list", 0),
    ("viewer", "backfills show 1", 0),
    ("viewer", "backfills watch 1 --timeout 0.1", 1),
    ("operator", "backfills cancel 1", 0),
    ("viewer", "schedules export schedules.yaml", 0),
    ("operator", "schedules import schedules.yaml", 0),
    ("operator", "schedules remove job", 0),
    ("owner", f"SQL {_MESSAGE}", 0),
    ("viewer", "messages list", 0),
    ("viewer", "messages show 1", 0),
    ("operator", "messages replay 1", 0),
    ("operator", "cleanup --yes", 0),
    ("scheduler", "scheduler --once", 0),
    ("operator", "endpoints add webhook https://example.org/hook --name hook --setting secret=env:HOOK_SECRET", 0),
    ("viewer", "endpoints list", 0),
    ("operator", "endpoints test hook", 0),
    ("operator", "endpoints verify hook", 2),
    ("operator", "endpoints off hook", 0),
    ("operator", "endpoints on hook", 0),
    ("operator", "endpoints remove hook", 0),
    ("operator", "preferences set digest --type alert_fired", 0),
    ("operator", "preferences quiet 22:00-07:00 --zone UTC", 0),
    ("viewer", "preferences show", 0),
    ("viewer", "watchdog --once", 1),
    ("operator", "users add desk", 0),
    ("viewer", "users list", 0),
    ("operator", "users disable desk", 0),
    ("operator", "users enable desk", 0),
    ("operator", "notify local hello --key one", 0),
    ("scheduler", "scheduler --once", 0),
    ("viewer", "notifications list", 0),
    ("viewer", "notifications rejected", 0),
    ("viewer", "notifications show 00000000-0000-0000-0000-000000000001", 2),
    ("operator", "notifications retry 00000000-0000-0000-0000-000000000001", 2),
    ("operator", "telegram code local --scope ops", 0),
    ("owner", "SQL INSERT INTO telegram_links VALUES (1, 2, 2, 'local')", 0),
    ("viewer", "telegram links list", 0),
    ("operator", "telegram links remove local 2", 0),
    ("operator", "tokens create desk --scope read", 0),
    ("operator", "tokens list", 0),
    ("operator", "tokens rotate 1 --grace 0", 0),
    ("operator", "tokens revoke 2", 0),
    ("viewer", "audit list", 0),
    ("viewer", "audit verify", 0),
    ("viewer", "status", 1),
    ("viewer", "top --once", 0),
    ("viewer", "doctor", 1),
    ("operator", "doctor --fix", 1),
]


@pytest.fixture
def users(connection: Connection, database_url: str, settings: Settings, key_prefix: str) -> Iterator[Users]:
    """The guide's users. Their keys go in the end: a program of another installation would not know them."""
    assert settings.redis_url is not None
    with documented_users(connection, database_url, settings.redis_url.get_secret_value(), key_prefix) as made:
        yield made
        if left := list(made.admin.scan_iter(match=f"{key_prefix}*")):
            made.admin.delete(*left)


@pytest.fixture
def run_as(cli: Run, users: Users, monkeypatch: pytest.MonkeyPatch) -> As:
    """Run a command as a user of the guide."""

    def run(user: str, *words: str) -> Answer:
        for name, value in users.environment(user).items():
            monkeypatch.setenv(name, value)
        return cli(*words)

    return run


def _leaves(command: click.Command = all_commands, path: str = "") -> Iterator[str]:
    if not isinstance(command, click.Group):
        yield path
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        below = command.get_command(context, name)
        if below is not None and not below.hidden:
            yield from _leaves(below, f"{path} {name}".strip())


def test_every_command_is_run_with_the_rights_of_a_user() -> None:
    lines = [line for _, line, _ in _COMMANDS]
    covered = {path for path in _leaves() if any(f"{line} ".startswith(f"{path} ") for line in lines)}
    assert set(_leaves()) - covered == _NEEDS_NOTHING | {"worker", "api"}


def test_every_user_is_in_the_table_and_has_both_rights() -> None:
    assert list(redis_rights()) == ["worker", "scheduler", "operator", "viewer"]
    assert {*redis_rights()} < {*postgres_groups()}


def test_a_worker_may_call_what_any_script_calls() -> None:
    called = {
        name.lower()
        for file in _LUA.glob("*.lua")
        for name in re.findall(r"redis\.p?call\(\s*'(\w+)'", file.read_text())
    }
    may = {rule[1:].partition("|")[0] for rule in redis_rights()["worker"] if rule.startswith("+")}
    assert len(called) > 20
    assert called <= may


def test_every_command_runs_with_the_rights_of_its_user(
    run_as: As, users: Users, connection: Connection, tmp_path: Path
) -> None:
    (tmp_path / "bars.csv").write_text(_BARS, encoding="utf-8")
    (tmp_path / "universes.csv").write_text(_UNIVERSE, encoding="utf-8")
    users.admin.acl_log_reset()
    for user, line, code in _COMMANDS:
        if line.startswith("SQL "):
            connection.execute(line.removeprefix("SQL ").encode())
            continue
        answer = run_as(user, *line.split())
        assert answer.code == code, (line, answer)
        assert "rejects" not in answer.err + answer.out, (line, answer)
        assert users.denied() == [], line


@contextmanager
def _pool(users: Users, environment: dict[str, str], folder: Path) -> Iterator[tuple[Supervisor, Scheduler]]:
    """A `streamworkers worker` and a `streamworkers scheduler`, each with the rights of its user."""
    log, port = folder / "scheduler.log", ("--metrics-port", "0")
    scheduler = Scheduler(environment | users.environment("scheduler"), log, port)
    words = ("--processes", "1", *port)
    try:
        with running_supervisor(environment | users.environment("worker"), folder, *words) as supervisor:
            yield supervisor, scheduler
    finally:
        scheduler.kill_all()


def test_a_pool_and_a_scheduler_run_with_the_rights_of_their_users(
    run_as: As, users: Users, connection: Connection, environment: dict[str, str], tmp_path: Path
) -> None:
    """And a scrape names a right that is lacking meanwhile, while the processes stay ready."""
    assert run_as("operator", "schedules", "install-defaults").code == 0
    assert run_as("operator", "bars", "synthesize", "--symbols", "1").code == 0
    left = _leave_an_entry(run_as, users)
    with _pool(users, environment, tmp_path) as processes:
        for process in processes:
            wait_until(partial(_is_ready, process), what="it is ready")
            assert _scrape_faults(process) == {}
        _scrape_without_rights(users, connection, *processes)
        users.admin.acl_log_reset()
        assert run_as("viewer", "runs", "watch", left, "--timeout", f"{patient(40):g}").code == 0
        _run_all_kinds(run_as)
        _send_messages(users)
        _wait_for_the_doctor(run_as)
        wait_until(partial(_names_its_loops, run_as), what="the scheduler has said what its loops do")
        for process in processes:
            assert _is_ready(process)
            assert _scrape_faults(process) == {}
        for process in processes:
            assert process.stop() == 0
            assert [line for line in _denials(process) if "collector " not in line] == []
    assert users.denied() == []


def test_a_bot_runs_with_the_rights_of_a_worker(
    run_as: As, users: Users, connection: Connection, environment: dict[str, str], tmp_path: Path
) -> None:
    with running_fake_bot_api() as api:
        code = run_as("operator", "telegram", "code", "local", "--json").json["code"]
        api.fake.say(f"/start {code}", user=1)
        token = {"STREAMWORKERS_TELEGRAM_TOKEN": DEFAULT_TOKEN, "STREAMWORKERS_TELEGRAM_URL": api.url}
        own = environment | users.environment("worker") | token
        bot = Bot(own, tmp_path / "bot.log", ("--metrics-port", "0"))
        try:
            wait_until(partial(_is_ready, bot), what="it is ready")
            wait_until(lambda: len(api.sent) == 1, what="it has answered")
            assert bot.stop() == 0
        finally:
            bot.kill_all()
    assert _denials(bot) == []
    assert users.denied() == []


def test_the_api_answers_with_the_rights_of_a_worker(
    run_as: As, users: Users, settings: Settings, connection: Connection, registry: Registry
) -> None:
    install_jobs(connection, registry)
    token = run_as("operator", "tokens", "create", "x", "--scope", "read", "--scope", "run", "--json").json["token"]
    own = users.environment("worker")
    redis_url, database_url = own["STREAMWORKERS_REDIS_URL"], own["STREAMWORKERS_DATABASE_URL"]
    changed = settings.model_copy(update={"message_prefix": own["STREAMWORKERS_MESSAGE_PREFIX"]})
    process = ApiProcess(changed, redis_url, database_url, ApiOptions("127.0.0.1", 0))
    url, headers = f"http://127.0.0.1:{process.port}", {"Authorization": f"Bearer {token}"}
    with closing(process), httpx.Client(base_url=url, headers=headers, timeout=patient(30)) as client:
        process.start()
        assert client.get("/readyz").json() == {"status": "ok", "troubles": []}
        body = {"job": "ledger_entry", "symbols": ["A"]}
        run = client.post("/api/v1/runs", json=body, headers={"Idempotency-Key": "one"}).json()["id"]
        assert client.delete(f"/api/v1/runs/{run}").status_code == 200
    assert users.denied() == []


def _scrape_without_rights(users: Users, connection: Connection, supervisor: Service, scheduler: Service) -> None:
    """Take a right that only scrapes need, scrape, and give it back: the fault stands until the next scrape."""
    users.change("worker", "-zcard")  # idle workers use the other commands of a scrape, too
    connection.execute("REVOKE SELECT ON daily_patterns FROM streamworkers_app")
    assert _scrape_faults(supervisor) == {("redis", "rejected"): 1}
    assert _scrape_faults(scheduler) == {("postgresql", "rejected"): 1}
    for process, named in ((supervisor, "'zcard'"), (scheduler, "table daily_patterns")):
        assert [named in line and "collector " in line for line in _denials(process)] == [True]
        assert _is_ready(process)
    users.change("worker", "+zcard")
    connection.execute("GRANT SELECT ON daily_patterns TO streamworkers_app")


def _wait_for_the_doctor(run_as: As) -> None:
    found: list[str] = []

    def is_found() -> bool:
        rows = json.loads(run_as("viewer", "doctor", "--json").out)
        found[:] = sorted(row["what"] for row in rows if row["kind"] == "scrape_fault")
        return len(found) == 2

    wait_until(is_found, 60, "the doctor knows the scrapes without a right")
    assert re.search("^collector postgresql cannot read metrics since .* denied for table daily_patterns", found[0])
    assert re.search("^collector queues cannot read metrics since .* UTC: Redis rejects: .*'zcard'", found[1])


def _leave_an_entry(run_as: As, users: Users) -> str:
    """A run with an entry that a dead worker has read: it ends when somebody has reclaimed the entry."""
    enqueued = run_as("operator", "enqueue", "noop", "--symbols", "A", "--json").json
    stream = Keys(users.key_prefix).stream("bench")
    users.admin.xgroup_create(stream, GROUP, id="0")
    assert users.admin.xreadgroup(GROUP, "gone.1", {stream: ">"})
    return str(enqueued["run_id"])


def _run_all_kinds(run_as: As) -> None:
    """A retry, dead items, a worker that dies, a replay, a cancel, and the jobs that look after the pool."""
    ends = wait_for(40)
    assert run_as("operator", "enqueue", "flaky", "--symbols", "A,B", *ends).code == 0
    dying = ("--symbols", "A,PERMANENT,SIGKILL", "--max-attempts", "1")
    assert run_as("operator", "enqueue", "misbehaving", *dying, *ends).code == 1
    assert run_as("operator", "load", "--symbols", "LOADED", "--provider", "synthetic", *ends).code == 0
    assert "2 items" in run_as("operator", "dead", "replay", "--all").out
    wait_until(lambda: len(run_as("viewer", "dead", "list", "--json").json) == 2, what="both are dead again")
    waiting = run_as("operator", "enqueue", "misbehaving", "--symbols", "WAIT_FOR_CANCEL", "--json").json
    assert run_as("operator", "runs", "cancel", str(waiting["run_id"])).code == 0
    for schedule in ("hourly_health_monitoring", "daily_database_cleanup", "weekly_cache_maintenance"):
        assert run_as("operator", "schedules", "trigger", schedule, *ends).code == 0


def _names_its_loops(run_as: As) -> bool:
    rows = {row["name"]: row for row in run_as("viewer", "schedulers", "show", "--json").json}
    return {"ticker", "run-limits"} <= {name for name, row in rows.items() if row["worked_at"] is not None}


def _send_messages(users: Users) -> None:
    """Messages of other programs, by channel and by stream; their status shows how the runs ended."""
    keys = Keys(users.key_prefix, users.message_prefix)
    message = {"event_type": "data_load_complete", "symbols": ["SYN001"], "timeframe": "daily", "run_analysis": True}
    users.admin.publish(keys.message_name(DATA_LOAD_CHANNEL), json.dumps(message | {"job_id": "received_by"}))
    stream = keys.message_name(DATA_LOAD_STREAM)
    users.admin.xadd(stream, {"message": json.dumps(message | {"job_id": "read"})})
    users.admin.xadd(stream, {"other": "malformed"})
    for job_id in ("received_by", "read"):
        name = keys.message_name(job_status(job_id))
        wait_until(partial(_is_completed, users, name), what=f"{name} is completed")


def _is_completed(users: Users, name: str) -> bool:
    return users.admin.hget(name, "status") == b"completed"


def _denials(process: Service) -> list[str]:
    lines = process.log.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if re.search("store_fault|permission denied|NOPERM|InsufficientPrivilege", line)]


def _get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=patient(30)) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.mark.parametrize(
    ("user", "without", "line", "named"),
    [
        ("operator", "-xadd", "enqueue noop --symbols A", r"add\.lua calls HDEL HINCRBY XADD on "),
        ("viewer", "-scan", "top --once", "'scan' command"),
        ("viewer", "resetkeys", "doctor", r"\(GET \S+:installation\)"),
        ("scheduler", "resetchannels", "scheduler --once", r"publish\.lua calls DEL PUBLISH"),
    ],
)
def test_a_command_names_the_right_in_redis_that_it_lacks(
    user: str, without: str, line: str, named: str, run_as: As, users: Users
) -> None:
    users.change(user, without)
    answer = run_as(user, *line.split())
    assert answer.code == 3
    assert re.search(named, answer.err)
    assert "give the user of STREAMWORKERS_REDIS_URL the rights of docs/guides/operations.md#rights" in answer.err


@pytest.mark.parametrize(
    ("user", "without", "line", "named"),
    [
        ("viewer", "REVOKE SELECT ON runs FROM streamworkers_readonly", "runs list", "table runs"),
        (
            "operator",
            "REVOKE INSERT ON run_items FROM streamworkers_app",
            "enqueue noop --symbols A",
            "table run_items",
        ),
        ("operator", "REVOKE TEMPORARY ON DATABASE {} FROM streamworkers_app", "bars sample", "temporary tables in"),
    ],
)
def test_a_command_names_the_right_in_postgresql_that_it_lacks(
    user: str, without: str, line: str, named: str, run_as: As, connection: Connection
) -> None:
    connection.execute(without.format(connection.info.dbname).encode())
    answer = run_as(user, *line.split())
    assert answer.code == 3
    assert named in answer.err
    assert "grant the right: `streamworkers migrate --roles`, and docs/guides/operations.md#rights" in answer.err


def test_a_pool_names_the_rights_that_it_lacks_and_works_when_it_has_them(
    users: Users, environment: dict[str, str], tmp_path: Path
) -> None:
    words = ("--processes", "1", "--metrics-port", "0")
    with running_supervisor(environment | users.environment("worker"), tmp_path, *words) as supervisor:
        url = f"{supervisor.metrics_url()}/readyz"
        of_reading = r"the 'xreadgroup' command.*\((XREADGROUP GROUP|read\.lua calls) "
        for without, named in (("-xreadgroup", of_reading), ("resetkeys", ":lease:write-probe:")):
            wait_until(lambda: _get(url)[0] == 200, what="it is ready")
            users.change("worker", without)
            # A worker that waits for work asks Redis again after its silence only, with a script or the bare command.
            wait_until(partial(_says, url, named), 90, f"it names {named}")
            users.change("worker", "+xreadgroup", "~streamworkers:*")
        wait_until(lambda: _get(url)[0] == 200, what="it is ready again")
        assert supervisor.stop() == 0


def _is_ready(process: Service) -> bool:
    return _get(f"{process.metrics_url()}/readyz") == (200, "ok\n")


def _scrape_faults(process: Service) -> dict[tuple[str, str], float]:
    """Scrape a process: how many collectors could not read, by store and kind."""
    text = _get(f"{process.metrics_url()}/metrics")[1]
    found = re.findall(r'^streamworkers_scrape_faults{kind="(\w+)",store="(\w+)"} ([0-9.]+)$', text, re.MULTILINE)
    assert found
    return {(store, kind): float(count) for kind, store, count in found if float(count)}


def _says(url: str, named: str) -> bool:
    code, text = _get(url)
    return code == 503 and re.search(named, text) is not None
