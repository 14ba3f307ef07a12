"""Rights are the same after a fresh migration, an upgrade and a restore, which is done by the commands of the guide."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import ConnectionPool

from catalogue import read_contents, read_rights
from consumer import Consumer
from debian_packages import unpacked
from harness import ServiceUrls, effects_of, items_of, run_status, start_run
from memory import folder_of_services
from patience import patient
from rights import GUIDE
from streamworkers.config import Settings
from streamworkers.database import Connection, connect, open_pool
from streamworkers.embedded import EmbeddedServices
from streamworkers.embedded.programs import find_postgres_programs
from streamworkers.engine.host.metrics import PoolMetrics
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.engine.services.reconciler import Reconciler
from streamworkers.errors import UsageError
from streamworkers.migrations import create_roles, migrate, migrations_folder

_OWNER, _WORKER, _VIEWER = "streamworkers_owner", "streamworkers_worker", "streamworkers_grafana"
_PASSWORDS = {_OWNER: "owners-secret", _WORKER: "workers-secret", _VIEWER: "viewers-secret"}
_DAY = "2026-01-05"
_SYMBOLS = [f"S{number}" for number in range(8)]
_FIRST_FILE_BY_RIGHTS = 41
_OLDER = 39


def _documented(heading: str) -> list[str]:
    """The commands under a heading of the section about backups."""
    text = GUIDE.read_text(encoding="utf-8").partition("\n## Backup and restore\n")[2].partition("\n## ")[0]
    part = text.partition(f"\n### {heading}\n")[2].partition("\n### ")[0]
    return re.findall(r"^ *\$ (.+)$", part, re.MULTILINE)


def _documented_services() -> list[str]:
    file = GUIDE.read_text(encoding="utf-8").partition("# ~/.pg_service.conf")[2].partition("```")[0]
    return re.findall(r"^\[(\w+)\]$", file, re.MULTILINE)


@dataclass(frozen=True)
class Place:
    """A folder in which the guide's commands are executed, and a server that knows nothing of the pool."""

    folder: Path
    environment: dict[str, str]
    admin_url: str
    database_url: str

    def run(self, *commands: str, may_find: bool = False) -> str:
        """Execute lines of the guide in one shell, and return what they print; exit code 1 is a finding."""
        done = subprocess.run(
            ["sh", "-euc", "\n".join(commands)],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=patient(60),
            check=False,
        )
        assert done.returncode in ((0, 1) if may_find else (0,)), f"{commands}: {done.stdout}{done.stderr}"
        return done.stdout

    def url_of(self, login: str) -> str:
        """The restored database, for a login with the password that it had on the other server."""
        return make_conninfo(self.database_url, user=login, password=_PASSWORDS[login])


@pytest.fixture
def logins(connection: Connection) -> Iterator[None]:
    """The logins of an installation, on the server that is backed up."""
    create_roles(connection)
    groups = {_OWNER: "", _WORKER: " IN ROLE streamworkers_app", _VIEWER: " IN ROLE streamworkers_readonly"}
    for login, group in groups.items():
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}" + group).format(sql.Identifier(login), _PASSWORDS[login])
        )
    connection.execute(f"ALTER ROLE {_VIEWER} SET statement_timeout = '30s'")
    try:
        yield
    finally:
        for login in groups:
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(login)))


@pytest.fixture
def place(database_url: str, service_urls: ServiceUrls, tmp_path: Path) -> Iterator[Place]:
    folder = folder_of_services("sw-restore-")
    services = EmbeddedServices(Settings(data_dir=folder))
    try:
        services.start()
        with connect(make_conninfo(services.postgres.url, dbname="postgres")) as admin:
            admin.execute("DROP DATABASE streamworkers")
        yield _place(tmp_path, database_url, services.postgres.url, service_urls.redis)
    finally:
        services.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _place(folder: Path, source: str, target: str, redis_url: str) -> Place:
    """Services, passwords and programs as the guide wants them to be found."""
    source_parts, target_parts = conninfo_to_dict(source), conninfo_to_dict(target)
    wanted = {
        "streamworkers": (source_parts["host"], source_parts["dbname"], "postgres"),
        "streamworkers_admin": (source_parts["host"], "postgres", "postgres"),
        "restored": (target_parts["host"], "streamworkers", _OWNER),
        "restored_admin": (target_parts["host"], "postgres", "postgres"),
    }
    assert _documented_services() == list(wanted)
    sections = [f"[{name}]\nhost={host}\ndbname={base}\nuser={user}\n" for name, (host, base, user) in wanted.items()]
    (folder / "pg_service.conf").write_text("".join(sections))
    (folder / "pgpass").write_text("".join(f"*:*:*:{login}:{word}\n" for login, word in _PASSWORDS.items()))
    (folder / "pgpass").chmod(0o600)
    programs = folder / "bin"
    programs.mkdir()
    _write_redis_cli(programs / "redis-cli", redis_url.removeprefix("unix://"))
    (programs / "streamworkers").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m streamworkers "$@"\n')
    for program in programs.iterdir():
        program.chmod(0o755)
    path = [str(programs), str(find_postgres_programs(Settings().embedded_postgres_bin)), os.environ["PATH"]]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("STREAMWORKERS_", "PG"))}
    environment = {
        **inherited,
        "PATH": os.pathsep.join(path),
        "PGSERVICEFILE": str(folder / "pg_service.conf"),
        "PGPASSFILE": str(folder / "pgpass"),
    }
    return Place(folder, environment, make_conninfo(target, dbname="postgres"), make_conninfo(target))


def _write_redis_cli(script: Path, socket: str) -> None:
    """The machine's `redis-cli`, or that of Debian's package, for the Redis of the tests."""
    try:
        package = None if shutil.which("redis-cli") else unpacked("redis-tools", "redis-tools")
    except UsageError as error:
        pytest.skip(f"needs redis-cli: {error}")
    program, libraries = "redis-cli", ""
    if package is not None:
        program = str(package / "usr" / "bin" / "redis-cli")
        libraries = ":".join(sorted({str(path.parent) for path in package.glob("**/lib/**/*.so.*")}))
    script.write_text(
        f"#!/bin/sh\nLD_LIBRARY_PATH={shlex.quote(libraries)} exec"
        f' {shlex.quote(str(shutil.which(program) or program))} -s {shlex.quote(socket)} "$@"\n'
    )


def test_rights_are_the_same_after_a_migration_and_an_upgrade(
    connection: Connection, empty_database_url: str, tmp_path: Path
) -> None:
    connection.execute("DROP TABLE effects")
    create_roles(connection)
    for path in sorted(migrations_folder().glob("*.sql"))[:_OLDER]:
        shutil.copy(path, tmp_path)
    with connect(empty_database_url) as upgraded:
        migrate(upgraded, tmp_path)
        # As an older release, a restore or a hand may have left it.
        upgraded.execute("GRANT EXECUTE ON FUNCTION drop_run_items_partition(date) TO PUBLIC")
        upgraded.execute("GRANT UPDATE (actor_user), DELETE ON audit_log TO streamworkers_app")
        upgraded.execute("GRANT SELECT ON api_tokens TO PUBLIC")
        upgraded.execute("ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT UPDATE ON TABLES TO streamworkers_readonly")
        upgraded.execute("GRANT CREATE ON SCHEMA public TO streamworkers_app")
        assert read_rights(upgraded) != read_rights(connection)
        migrate(upgraded)
        for one in (connection, upgraded):
            one.execute("SELECT ensure_run_items_partition(%s)", (_DAY,))
        rights = read_rights(upgraded)
        assert rights == read_rights(connection)
    assert {(kind, what) for kind, _, who, what, _ in rights if who == "PUBLIC"} == {("schema", "USAGE")}
    assert {who for _, _, who, _, _ in rights} == {
        "PUBLIC",
        "owner",
        "streamworkers_app",
        "streamworkers_client",
        "streamworkers_readonly",
    }


def test_rights_are_stated_by_their_file_alone() -> None:
    """A migration that states them is silently overruled by it."""
    found = [
        path.name
        for path in sorted(migrations_folder().glob("*.sql"))[_FIRST_FILE_BY_RIGHTS - 1 :]
        if re.search(r"FUNCTION grant_streamworkers_roles|\b(TO|FROM) streamworkers_", path.read_text(encoding="utf-8"))
    ]
    assert found == [], "change sql/rights.sql instead"


def test_what_others_own_in_the_schema_keeps_its_rights(connection: Connection, logins: None) -> None:
    connection.execute(f"CREATE TABLE others (x int); ALTER TABLE others OWNER TO {_WORKER}")
    connection.execute("GRANT SELECT ON others TO PUBLIC")
    connection.execute("CREATE FUNCTION of_others() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    connection.execute(f"ALTER FUNCTION of_others() OWNER TO {_WORKER}")
    try:
        create_roles(connection)
        found = {(name, who, what) for _, name, who, what, _ in read_rights(connection) if who != "owner"}
        assert {("others", "PUBLIC", "SELECT"), ("of_others()", "PUBLIC", "EXECUTE")} <= found
    finally:
        connection.execute("DROP TABLE others; DROP FUNCTION of_others()")


def test_the_documented_backup_is_restored_on_an_empty_server(
    connection: Connection,
    settings: Settings,
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    logins: None,
    place: Place,
) -> None:
    """With a run half done and its Redis emptied, the run goes on and each effect is there once."""
    run = start_run(connection, streams, registry, "ledger_entry", *_SYMBOLS)
    assert consumer.work(count=3) == 3
    consumer.read(count=2)  # begun, and lost with this server
    connection.execute("SELECT ensure_run_items_partition(%s)", (_DAY,))
    contents, rights = read_contents(connection), read_rights(connection)
    assert contents["effects"][0] == 3

    place.run(*_documented("Back up"))
    assert {path.name: path.stat().st_mode & 0o777 for path in place.folder.iterdir() if path.is_file()} == {
        "streamworkers.dump": 0o600,
        "roles.sql": 0o600,
        "pgpass": 0o600,
        "pg_service.conf": 0o644,
    }
    assert " ROLE postgres" not in (place.folder / "roles.sql").read_text()

    with connect(place.admin_url) as admin:
        assert admin.execute("SELECT FROM pg_roles WHERE rolname LIKE 'streamworkers%'").fetchall() == []
    place.environment["STREAMWORKERS_KEY_PREFIX"] = settings.key_prefix
    *restoring, doctor, schedules = _documented("Restore")
    for command in restoring:
        place.run(command.replace("'streamworkers:*'", f"'{settings.key_prefix}:*'"))
        if command.startswith("pg_restore "):
            with connect(place.url_of(_OWNER)) as restored:
                assert read_contents(restored) == contents
    assert list(streams.client.raw.scan_iter(f"{settings.key_prefix}:*")) == []

    with connect(place.url_of(_OWNER)) as restored:
        assert read_rights(restored) == rights
    with psycopg.connect(place.url_of(_VIEWER), autocommit=True) as viewer:
        assert viewer.execute("SHOW statement_timeout").fetchone() == ("30s",)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            viewer.execute("SELECT drop_run_items_partition(%s)", (_DAY,))
    assert settings.redis_url is not None
    place.environment["STREAMWORKERS_REDIS_URL"] = settings.redis_url.get_secret_value()
    # Doctor leaves out runs that were enqueued less than this ago, and all of the above takes five seconds.
    place.environment["STREAMWORKERS_RECONCILE_SECONDS"] = str(settings.reconcile_seconds)
    assert _errors(place, doctor) == {("no_worker", "workers"), ("stranded_items", f"run {run.id}")}
    assert schedules.endswith(" schedules list")
    assert place.run(f"{schedules} --json") == "[]\n"
    with (
        connect(place.url_of(_WORKER)) as worker,
        open_pool(place.url_of(_WORKER), application="test", max_size=2) as pool,
    ):
        _work_on(pool, Consumer(settings, registry, streams, worker, "other"))
        assert run_status(worker, run) == "COMPLETED"
        items = items_of(worker, run)
        assert {(state, attempt) for state, attempt, _ in items.values()} == {("completed", 1)}
        assert effects_of(worker, run) == sorted(items) == _SYMBOLS
    assert _errors(place, doctor) == {("no_worker", "workers")}


def _errors(place: Place, doctor: str) -> set[tuple[str, str]]:
    assert doctor.endswith(" doctor")
    rows = json.loads(place.run(f"{doctor} --json", may_find=True))
    return {(row["kind"], row["where"]) for row in rows if row["severity"] == "error"}


def _work_on(pool: "ConnectionPool[Connection]", consumer: Consumer) -> None:
    Reconciler(pool, consumer.streams, ["tests"], 1.0, 0.0, PoolMetrics()).run_once()
    consumer.work_until_empty()


def test_no_documented_command_names_a_password_or_continues_after_a_failed_restore() -> None:
    commands = _documented("Back up") + _documented("Restore")
    assert {shlex.split(command)[0] for command in commands} >= {
        "pg_dump",
        "pg_dumpall",
        "psql",
        "createdb",
        "pg_restore",
    }
    for command in commands:
        assert not re.search(r"(?i)password|postgres(ql)?://[^/]*@", command), command
    [restore] = [command for command in commands if command.startswith("pg_restore ")]
    assert "--single-transaction" in restore
