"""Starts and stops both embedded services and reports their status. Concurrent calls wait for each other."""

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from streamworkers.config import Settings
from streamworkers.embedded.data_folder import (
    make_folder_error,
    name_of_user,
    require_usable_folder,
    resolve_folder,
)
from streamworkers.embedded.places import make_own_folder, remove_if_empty, temporary_folder
from streamworkers.embedded.postgres_server import PostgresServer
from streamworkers.embedded.redis_server import RedisServer
from streamworkers.errors import BadInputError, UsageError

# The path of a Unix socket is limited to 103 bytes on macOS and 107 on Linux; PostgreSQL's ends in `/.s.PGSQL.5432`.
_LONGEST_SOCKET_FOLDER = 89
# Needs no escaping in a URL, in PostgreSQL's list of socket folders, or in a shell.
_PLAIN_PATH = re.compile(r"[A-Za-z0-9._/-]+")
_SHELL_CHARACTERS = set('"$`\n')


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """The state of one service: its process id (None if it is not running), and the URL that clients connect to."""

    name: str
    pid: int | None
    answers: bool
    url: str


class EmbeddedServices:
    """The embedded Redis and PostgreSQL of one data folder."""

    def __init__(self, settings: Settings) -> None:
        self.folder = resolve_folder(settings.data_dir)
        redis, postgres = self.folder / "redis", self.folder / "postgres"
        self._elsewhere = None if _suits_sockets(postgres / "run") else temporary_folder(self.folder)
        sockets = (redis, postgres / "run")
        if self._elsewhere is not None:
            sockets = (self._elsewhere / "redis", self._elsewhere / "postgres")
        self.redis = RedisServer(redis, sockets[0], settings.embedded_redis_server)
        self.postgres = PostgresServer(postgres, sockets[1], settings.embedded_postgres_bin)

    def start(self) -> None:
        """Start the services that are not running, and wait until both answer.

        Raises UsageError if the data folder or a program cannot be used, ServiceUnreachableError if a server does not
        start.
        """
        if _SHELL_CHARACTERS & set(str(self.folder)):
            # pg_ctl passes the path to a shell in double quotes.
            raise BadInputError(
                f'data folder {str(self.folder)!r} has one of the characters " $ ` or a line end in it: choose another'
            )
        with self._lock(create=True), self._naming_folder():
            self._require_own_folder()
            if self._elsewhere is not None:
                make_own_folder(self._elsewhere)
            self.redis.start()
            self.postgres.start()

    def stop(self) -> None:
        """Stop the services that are running. Their data is kept, their sockets are removed.

        Raises UsageError if the data folder cannot be used, as that of another user.
        """
        require_usable_folder(self.folder)
        if not self.folder.is_dir():
            return
        with self._lock(create=False), self._naming_folder():
            self.redis.stop()
            self.postgres.stop()
            if self._elsewhere is not None:
                remove_if_empty(self.redis.socket_path.parent, self.postgres.socket_folder, self._elsewhere)

    def status(self) -> list[ServiceStatus]:
        """The state of both services, Redis first. Raises UsageError if the data folder cannot be used."""
        require_usable_folder(self.folder)
        found = []
        for server in (self.redis, self.postgres):
            process = server.process()
            found.append(
                ServiceStatus(
                    name=server.name,
                    pid=process.pid if process else None,
                    answers=process is not None and server.answers(),
                    url=server.url,
                )
            )
        return found

    def _require_own_folder(self) -> None:
        # What root does in a folder of somebody else, that user could turn against any file.
        owner = self.folder.stat().st_uid
        if os.geteuid() == 0 and owner != 0:
            raise UsageError(
                f"data folder {str(self.folder)!r} belongs to user {name_of_user(owner)}: start the services as that"
                " user, or choose another folder"
            )

    @contextmanager
    def _naming_folder(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise make_folder_error(self.folder, error) from None

    @contextmanager
    def _lock(self, *, create: bool) -> Iterator[None]:
        require_usable_folder(self.folder)
        try:
            if create and not self.folder.is_dir():
                self.folder.mkdir(parents=True, exist_ok=True)
                self.folder.chmod(0o700)
            handle = (self.folder / "lock").open("w", encoding="utf-8")
        except OSError as error:
            raise make_folder_error(self.folder, error) from None
        with handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield


def _suits_sockets(folder: Path) -> bool:
    return len(os.fsencode(folder)) <= _LONGEST_SOCKET_FOLDER and _PLAIN_PATH.fullmatch(str(folder)) is not None
