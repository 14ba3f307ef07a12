"""`streamworkers demo` as a new user runs it, and as an impatient one ends it."""

import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from harness import wait_until
from patience import patient
from streamworkers.config import Settings
from streamworkers.embedded import EmbeddedServices
from streamworkers.loading.providers.synthetic import generate_bars


@pytest.fixture
def bars_csv(tmp_path: Path) -> Path:
    path = tmp_path / "mine.csv"
    with path.open("w", encoding="utf-8") as handle:
        handle.write("symbol,date,open,high,low,close,volume\n")
        for rows in generate_bars(20, 120, 3):
            columns = (rows.symbols, rows.times, rows.open, rows.high, rows.low, rows.close, rows.volume)
            handle.writelines(",".join(row) + "\n" for row in zip(*columns, strict=True))
        handle.write("BAD,2024-01-02,10,9,8,10,1\n")
    return path


@contextmanager
def _demo(tmp_path: Path, *words: str) -> Iterator["subprocess.Popen[str]"]:
    """The demo as a process; whatever it leaves running is ended."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("STREAMWORKERS_")}
    environment["STREAMWORKERS_DATA_DIR"] = str(tmp_path / "data")
    process = subprocess.Popen(
        [sys.executable, "-m", "streamworkers", "demo", *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()  # SIGKILL would leave what it has started
        process.wait(patient(60))
        EmbeddedServices(Settings(data_dir=tmp_path / "data")).stop()


def _left_running(folder: Path) -> list[str]:
    """Processes that work in the folder or name it."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and str(folder) in f"{process.cwd()} {process.cmdline()}":
                found.append(f"{process.pid} {process.cmdline()}")
        except psutil.Error:
            continue
    return found


def test_the_demo_analyses_the_users_bars_and_leaves_nothing_running(tmp_path: Path, bars_csv: Path) -> None:
    with _demo(tmp_path, "--csv", str(bars_csv)) as process:
        output, _ = process.communicate(timeout=patient(100))
        assert process.returncode == 0, output
        assert "2,400 bars of mine.csv loaded, 1 rejected" in output
        assert "20 of 20 closed" in output
        assert "the strongest patterns" in output
        assert _left_running(tmp_path / "data") == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing_running(tmp_path: Path, bars_csv: Path, number: signal.Signals) -> None:
    log = tmp_path / "data" / "demo-worker.log"
    with _demo(tmp_path, "--csv", str(bars_csv)) as process:
        wait_until(lambda: log.exists() and "supervisor_started" in log.read_text(encoding="utf-8"))
        process.send_signal(number)
        process.communicate(timeout=patient(60))
        assert process.returncode != 0
        assert _left_running(tmp_path / "data") == []


def _lines_of(process: "subprocess.Popen[str]") -> list[str]:
    """What the process prints, as it comes."""
    lines: list[str] = []
    output = process.stdout
    assert output is not None

    def read() -> None:
        with output:
            for line in output:
                lines.append(line)  # noqa: PERF402  # as it comes, for another thread

    threading.Thread(target=read, daemon=True).start()
    return lines


def _status_of(line: str, token: str) -> int:
    """What the API answers to a printed line for a shell."""
    program, option, header, url = shlex.split(line.replace("$TOKEN", token))
    assert (program, option) == ("curl", "-H")
    name, _, value = header.partition(": ")
    return httpx.get(url, headers={name: value}, timeout=patient(30)).status_code


def test_the_alert_of_the_demo_fires_and_the_printed_requests_are_answered(tmp_path: Path) -> None:
    with _demo(tmp_path, "--symbols", "3", "--stay", "30") as process:
        lines = _lines_of(process)
        wait_until(lambda: "for 30 minutes more" in "".join(lines) or process.poll() is not None, 150, "it stays")
        output = "".join(lines)
        assert process.poll() is None, output
        assert "an alert: DEMO1 price > 76.5 day; the symbol is invented, its newest bar is of " in output
        assert "  │ Alert on DEMO1: demo\n  │\n  │ DEMO1: price > 76.5 (day), price 77.26\n" in output
        assert "  │ [Snooze 1 h] [Mute] [Show]\n" in output
        assert (tmp_path / "data" / "demo-chart.png").read_bytes().startswith(b"\x89PNG")
        assert f"its chart: {tmp_path / 'data' / 'demo-chart.png'}\n" in output
        (token,) = re.findall(r"^  export TOKEN=(sw_live_[\w-]+)$", output, re.MULTILINE)
        requests = re.findall(r"^  (curl .+)$", output, re.MULTILINE)
        assert [_status_of(line, token) for line in requests] == [200, 200, 200]
        assert _status_of(requests[0], token[:-1]) == 401
        process.send_signal(signal.SIGINT)
        assert process.wait(patient(60)) == 0
        for log in (tmp_path / "data").glob("*.log"):
            assert token not in log.read_text(encoding="utf-8")
        assert _left_running(tmp_path / "data") == []
