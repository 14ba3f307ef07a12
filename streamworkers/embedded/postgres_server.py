"""The embedded PostgreSQL 18: a Unix socket, no port, durable commits."""

import os
import pwd
import shutil
import signal
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg
from psycopg import sql

from streamworkers.embedded.account import Account, named_user
from streamworkers.embedded.places import relative_path, temporary_folder
from streamworkers.embedded.processes import (
    ask_to_end,
    log_tail,
    process_from_pid_file,
    processes_in,
    wait_until,
)
from streamworkers.embedded.programs import find_postgres_programs, reachable_postgres, remove_copies
from streamworkers.errors import ServiceUnreachableError

DATABASE = "streamworkers"
_ADMIN = "postgres"
_START_SECONDS = 120.0
_ORPHAN_SECONDS = 10.0
STOP_SECONDS = 120.0
# The superuser is who started the server, as the kernel says; everybody else has a password.
_WHO_MAY_CONNECT = f"""\
local all {_ADMIN} peer map=starter
local replication {_ADMIN} peer map=starter
local all all scram-sha-256
"""
_SETTINGS = """
timezone = 'UTC'
log_timezone = 'UTC'
jit = off
max_wal_size = '2GB'
max_connections = 200
"""


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
        account = Account.of(self.folder)
        self._await_orphaned_programs()
        running = self.process()
        if running is not None and not account.runs(running):
            self.stop()  # by a release before, as `nobody`
        account.admit(self.folder)
        if self.process() is not None:
            # It may still be replaying its log, or be shutting down.
            wait_until(lambda: self.answers() or self.process() is None, _START_SECONDS)
        home = temporary_folder(self.folder)
        try:
            if self.process() is None:
                within_reach = programs if account.number is None else reachable_postgres(programs, home)
                if not self.data.exists():
                    self._create_cluster(within_reach, account)
                self._launch(within_reach, account)
        finally:
            if self.process() is None:
                remove_copies(home)
        self._create_database()

    def stop(self) -> None:
        """Stop it and roll back open transactions. The data is kept.

        Raises ServiceUnreachableError if it does not stop.
        """
        self._await_orphaned_programs()
        process = self.process()
        # SIGINT is its fast shutdown.
        if process is not None and not ask_to_end(process, signal.SIGINT, STOP_SECONDS):
            raise ServiceUnreachableError(
                f"the embedded PostgreSQL does not stop within {STOP_SECONDS:g} s; its log ends:"
                f" {log_tail(self.log_file)}"
            )
        remove_copies(temporary_folder(self.folder))

    def answers(self) -> bool:
        """True if it accepts connections."""
        try:
            psycopg.connect(self._url_of(_ADMIN), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _url_of(self, database: str) -> str:
        return f"postgresql://{_ADMIN}@/{database}?host={self.socket_folder}"

    def _launch(self, programs: Path, account: Account) -> None:
        # Children of a killed postmaster hold its shared memory until they notice and exit.
        wait_until(lambda: not processes_in(self.data, "postgres"), _ORPHAN_SECONDS)
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        for folder in (self.data, self.socket_folder):
            account.give(folder)
        for stale in self.socket_folder.glob(".s.PGSQL.*"):
            stale.unlink()
        account.write(self.data / "pg_hba.conf", _WHO_MAY_CONNECT)
        account.write(self.data / "pg_ident.conf", "".join(f'starter "{name}" {_ADMIN}\n' for name in _starters()))
        account.make_log(self.log_file)
        # Paths are relative to its data: those above it may be closed to its account.
        options = f"-h '' -k '{relative_path(self.socket_folder, self.data)}' -c unix_socket_permissions=0700"
        log = os.path.relpath(self.log_file, self.data)
        words = ["-w", "-s", "-t", f"{_START_SECONDS:g}", "-D", account.place(self.data), "-l", log, "-o", options]
        try:
            account.run([programs / "pg_ctl", "start", *words], folder=self.data, timeout_seconds=_START_SECONDS + 10)
        except ServiceUnreachableError as error:
            raise ServiceUnreachableError(f"{error}; its log ends: {log_tail(self.log_file)}") from None

    def _await_orphaned_programs(self) -> None:
        # They continue when the command that ran them was killed. An initdb would break the cluster created in its
        # place, and a server that is starting has no pid file yet.
        wait_until(
            lambda: not processes_in(self._unfinished, "initdb") and not processes_in(self.data, "pg_ctl"),
            _START_SECONDS,
        )

    def _create_cluster(self, programs: Path, account: Account) -> None:
        # Created under another name and renamed at the end, so that an interrupted initdb never looks complete.
        unfinished = self._unfinished
        shutil.rmtree(unfinished, ignore_errors=True)
        # It insists on a user with a name. Others of that user cannot come near: the folder above admits the group.
        user = None if account.number is None else named_user()
        account.give(unfinished, user=user)
        words = ["-D", account.place(unfinished), "-U", _ADMIN, "--auth-local=peer", "--auth-host=scram-sha-256"]
        account.run(
            [programs / "initdb", *words, "--encoding=utf8", "--locale=C"],
            folder=unfinished,
            timeout_seconds=_START_SECONDS,
            user=user,
        )
        with (unfinished / "postgresql.conf").open("a", encoding="utf-8") as config:
            config.write(_SETTINGS)
        account.give(unfinished)
        unfinished.rename(self.data)

    def _create_database(self) -> None:
        with psycopg.connect(self._url_of(_ADMIN), autocommit=True, connect_timeout=5) as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone()
            if known is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))


def _starters() -> set[str]:
    """The names of the current user and of root, who may be the superuser."""
    found = set()
    for number in (os.geteuid(), 0):
        with suppress(KeyError):
            found.add(pwd.getpwuid(number).pw_name)
    return found
