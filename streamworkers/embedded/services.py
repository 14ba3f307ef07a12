"""Starts and stops both embedded services and reports their status. Concurrent calls wait for each other."""

import fcntl
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from streamworkers.config import Settings
from streamworkers.embedded.postgres_server import PostgresServer
from streamworkers.embedded.redis_server import RedisServer
from streamworkers.errors import BadInputError, UsageError

# The path of a Unix socket is limited to 103 bytes on macOS and 107 on Linux; ours end in `/postgres/.s.PGSQL.5432`.
_LONGEST_SOCKET_FOLDER = 80
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
        self.folder = settings.data_dir.expanduser().resolve()
        sockets = _socket_folder(self.folder)
        self.redis = RedisServer(self.folder / "redis", sockets / "redis", settings.embedded_redis_server)
        self.postgres = PostgresServer(self.folder / "postgres", sockets / "postgres", settings.embedded_postgres_bin)

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
        with self._lock(create=True):
            for folder in (self.redis.socket_path.parent, self.postgres.socket_folder):
                _make_own_folder(folder.parent)
                folder.mkdir(mode=0o700, exist_ok=True)
            self.redis.start()
            self.postgres.start()

    def stop(self) -> None:
        """Stop the services that are running. Their data is kept, their sockets are removed."""
        if not self.folder.is_dir():
            return
        with self._lock(create=False):
            self.redis.stop()
            self.postgres.stop()
            sockets = (self.redis.socket_path.parent, self.postgres.socket_folder)
            for folder in (*sockets, sockets[0].parent):
                if folder.is_dir() and not any(folder.iterdir()):
                    folder.rmdir()

    def status(self) -> list[ServiceStatus]:
        """The state of both services, Redis first."""
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

    @contextmanager
    def _lock(self, *, create: bool) -> Iterator[None]:
        try:
            if create and not self.folder.is_dir():
                self.folder.mkdir(parents=True, exist_ok=True)
                # For root, PostgreSQL runs as another user, who has to pass through this folder but not list it.
                self.folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
            handle = (self.folder / "lock").open("w", encoding="utf-8")
        except OSError as error:
            raise UsageError(f"data folder {str(self.folder)!r} cannot be used: {error.strerror}") from None
        with handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield


def _make_own_folder(folder: Path) -> None:
    """Create the folder if it is missing. Raises UsageError if another user owns it, who could use the sockets."""
    folder.mkdir(mode=0o711, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
        raise UsageError(f"folder {str(folder)!r} belongs to another user: remove it, or choose a shorter data folder")


def _socket_folder(folder: Path) -> Path:
    """The folder of the sockets: `run` in the data folder, or a temporary one if that path does not suit a socket."""
    inside = folder / "run"
    if len(os.fsencode(inside)) <= _LONGEST_SOCKET_FOLDER and _PLAIN_PATH.fullmatch(str(inside)):
        return inside
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"streamworkers-{os.getuid()}-{digest}"
