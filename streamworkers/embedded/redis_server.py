"""The embedded Redis: an append-only file, a Unix socket, no port."""

import socket
from pathlib import Path

import psutil

from streamworkers.embedded.account import Account
from streamworkers.embedded.places import relative_path, temporary_folder
from streamworkers.embedded.processes import (
    end_process,
    log_tail,
    process_from_pid_file,
    processes_in,
    wait_until,
)
from streamworkers.embedded.programs import find_redis_server, reachable_redis, remove_copies
from streamworkers.errors import ServiceUnreachableError

START_SECONDS = 60.0
_PID_FILE_SECONDS = 5.0
STOP_SECONDS = 20.0


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
        """Start it unless it is running as its account, and wait until it answers.

        Raises ServiceUnreachableError, with the end of its log, if it does not.
        """
        account = Account.of(self.folder)
        running = self.process()
        if running is not None and not account.runs(running):
            self.stop()  # by a release before, as root
        if self.process() is not None:
            # It may still be loading its file, or be shutting down.
            wait_until(lambda: self.answers() or self.process() is None, START_SECONDS)
        try:
            self._require_answer(account)
        finally:
            if self.process() is None:
                remove_copies(temporary_folder(self.folder))

    def _require_answer(self, account: Account) -> None:
        if self.process() is None:
            self._launch(find_redis_server(self._chosen_program), account)
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
        remove_copies(temporary_folder(self.folder))

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

    def _launch(self, program: Path, account: Account) -> None:
        for folder in (self.folder, self.socket_path.parent):
            account.give(folder)
        # A `start` that was killed may have left a server that has not written its pid file yet.
        wait_until(lambda: self.process() is not None or not processes_in(self.folder, program.name), _PID_FILE_SECONDS)
        if self.process() is not None:
            return
        self.pid_file.unlink(missing_ok=True)
        self.socket_path.unlink(missing_ok=True)
        if account.number is not None:
            program = reachable_redis(program, temporary_folder(self.folder))
        # It daemonizes itself, so that it outlives this process. Paths are relative to its folder: others above it may
        # be closed to its account.
        options = {
            "daemonize": "yes",
            "port": "0",
            "unixsocket": relative_path(self.socket_path, self.folder),
            "unixsocketperm": "700",
            "dir": ".",
            "pidfile": self.pid_file.name,
            "logfile": self.log_file.name,
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
            # Deleting an entry scans its node of the stream; with small nodes that takes a third of the time.
            "stream-node-max-entries": "16",
        }
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        account.run([program, *words], folder=self.folder, timeout_seconds=START_SECONDS)
