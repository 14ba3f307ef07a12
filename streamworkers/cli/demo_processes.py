"""The processes of `streamworkers demo`: workers, a scheduler, the API, a fake of Telegram; each ends with its part."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from streamworkers.cli.session import Session
from streamworkers.errors import ServiceUnreachableError
from streamworkers.installed import entry_points

_READY_SECONDS = 60.0
_FAKE = "fake-bot-api"
# Of the fake alone, so that the demo never sends anything to a chat of Telegram.
_TOKEN = "1:demo"  # noqa: S105  # of the fake


@contextmanager
def running_workers(session: Session, processes: int, telegram: str | None) -> Iterator[str]:
    """Run a supervisor until the block ends; yields the URL of its metrics."""
    words = ("worker", "--processes", str(processes), "--metrics-port", "0")
    log_path = session.settings.data_dir / "demo-worker.log"
    with _running(session, words, log_path, telegram) as process:
        yield f"http://127.0.0.1:{_read_port(process, log_path, 'metrics_port')}/metrics"


@contextmanager
def running_api(session: Session) -> Iterator[str | None]:
    """Run the HTTP API until the block ends; yields its URL, or None where its extra is not installed."""
    if find_spec("uvicorn") is None or find_spec("starlette") is None:
        yield None
        return
    log_path = session.settings.data_dir / "demo-api.log"
    with _running(session, ("api", "--host", "127.0.0.1", "--port", "0"), log_path, None) as process:
        yield f"http://127.0.0.1:{_read_port(process, log_path, 'port')}"


@contextmanager
def running_scheduler(session: Session, telegram: str | None) -> Iterator[None]:
    """Run a scheduler until the block ends; nobody waits until it is ready."""
    with _running(session, ("scheduler",), session.settings.data_dir / "demo-scheduler.log", telegram):
        yield


@contextmanager
def running_telegram() -> Iterator[str | None]:
    """Run a fake of Telegram's Bot API until the block ends; yields its URL, or None where it is not installed."""
    if not any(point.name == _FAKE for point in entry_points(group="streamworkers.commands")):
        yield None
        return
    words = [sys.executable, "-m", "streamworkers", _FAKE, "--token", _TOKEN]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True)  # noqa: S603  # ours
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip() or None
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


@contextmanager
def _running(
    session: Session, words: tuple[str, ...], log_path: Path, telegram: str | None
) -> Iterator["subprocess.Popen[bytes]"]:
    with log_path.open("wb") as log_file:
        process = subprocess.Popen(  # noqa: S603  # our own command, no shell
            [sys.executable, "-m", "streamworkers", *words],
            env=_environment(session, telegram),
            stderr=log_file,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait()


def _environment(session: Session, telegram: str | None) -> Mapping[str, str]:
    return {
        **os.environ,
        "STREAMWORKERS_REDIS_URL": session.redis_url,
        "STREAMWORKERS_DATABASE_URL": session.database_url,
        "STREAMWORKERS_LOG_FORMAT": "json",
        "STREAMWORKERS_LOG_LEVEL": "info",
        **(
            {} if telegram is None else {"STREAMWORKERS_TELEGRAM_URL": telegram, "STREAMWORKERS_TELEGRAM_TOKEN": _TOKEN}
        ),
    }


def _read_port(process: "subprocess.Popen[bytes]", log_path: Path, field: str) -> str:
    """The port that a process has logged under a field, when it has."""
    deadline = time.monotonic() + _READY_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        found = re.search(rf'"{field}": (\d+)', log_path.read_text(encoding="utf-8"))
        if found:
            return found[1]
        time.sleep(0.02)
    raise ServiceUnreachableError(f"no process started within {_READY_SECONDS:g} s; see its log {log_path}")
