"""Both embedded services together: start, stop, status; safe when called twice at once."""

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from streamworkers.config import Settings
from streamworkers.embedded.postgres_server import PostgresServer
from streamworkers.embedded.redis_server import RedisServer
from streamworkers.errors import UsageError

# A Unix socket's path may have 103 bytes on macOS, 107 on Linux; ours end in at most 14 more.
_LONGEST_SOCKET_FOLDER = 88


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """What one service is doing: its process id, or None when it is down, and where clients connect."""

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
        """Start what does not run and wait until both answer. Calling it again changes nothing."""
        with self._lock(create=True):
            for server in (self.redis, self.postgres):
                sockets = (self.redis.socket_path.parent, self.postgres.socket_folder)
                for folder in sockets:
                    folder.parent.mkdir(mode=0o711, exist_ok=True)
                    folder.mkdir(mode=0o700, exist_ok=True)
                server.start()

    def stop(self) -> None:
        """Stop what runs. The data stays, and so does nothing else."""
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
        """The state of both services, found by their pid files."""
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
        if create:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UsageError(f"data folder {str(self.folder)!r} cannot be made: {error.strerror}") from None
            # Root's PostgreSQL runs as another user, who has to get through this folder, not to read it.
            self.folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
        with (self.folder / "lock").open("w", encoding="utf-8") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield


def _socket_folder(folder: Path) -> Path:
    """A folder short enough for sockets: inside the data folder, else one of the temporary folder named after it."""
    inside = folder / "run"
    if len(os.fsencode(inside)) <= _LONGEST_SOCKET_FOLDER:
        return inside
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"streamworkers-{os.getuid()}-{digest}"
