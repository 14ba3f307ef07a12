"""`status` and `top`: everything on one screen, of any size."""

import os
import pty
import select
import subprocess
import sys
from pathlib import Path

import pytest

from command_line import Run
from harness import Supervisor, start_run, wait_until
from streamworkers.database import Connection
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry


def test_the_exit_code_of_status_is_1_when_something_is_wrong(cli: Run) -> None:
    answer = cli("status")
    assert answer.code == 1
    lines = answer.out.splitlines()
    assert lines[0].split()[0] == "streamworkers"
    assert lines[0].endswith("critical")
    assert "workers: no worker is alive" in lines
    report = cli("status", "--json")
    assert (report.code, report.json["status"]) == (1, "critical")
    assert {row["component"] for row in report.json["components"]} >= {"redis", "postgresql", "workers", "data"}


def test_status_of_a_system_that_is_well_is_0(cli: Run, worker: Supervisor, connection: Connection) -> None:
    connection.execute(
        "INSERT INTO ohlcv_daily VALUES ('A', (now() AT TIME ZONE 'America/New_York')::date, 1, 1, 1, 1, 1)"
    )
    wait_until(lambda: cli("status").code == 0, 60, "the worker is seen")
    report = cli("status", "--json").json
    assert report["status"] == "ok"
    assert report["supervisors"][0]["workers"] == 1


def test_top_once_shows_runs_failures_and_next_ticks(
    cli: Run, connection: Connection, streams: Streams, registry: Registry
) -> None:
    run = start_run(connection, streams, registry, "noop", *(f"S{number}" for number in range(100)))
    connection.execute("UPDATE run_items SET status = 'completed', finished_at = now() WHERE seq < 40")
    connection.execute("UPDATE run_items SET status = 'failed', error = 'no\nbars' WHERE seq = 41")
    cli("schedules", "add", "nightly", "--job", "noop", "--symbols", "A", "--cron", "@hourly")
    connection.execute("UPDATE schedules SET next_run_at = now() + interval '90 minutes'")
    out = cli("top", "--once").out
    (row,) = [line for line in out.splitlines() if line.startswith(f"{run.id} ")]
    assert row.split()[:3] == [str(run.id), "noop", "test"]
    assert row.split()[-3:] == ["41/100", "1", "0"]
    assert "bench" in out
    assert "no bars" in out
    assert "1h 30m" in out or "1h 29m" in out


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (200, 50)])
def test_top_fits_a_terminal_follows_and_ends_with_q(
    columns: int,
    lines: int,
    connection: Connection,
    streams: Streams,
    registry: Registry,
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    for number in range(12):
        start_run(connection, streams, registry, "noop", *(f"S{number}-{index}" for index in range(10)))
    main, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "streamworkers", "top"],
        env=environment | {"TERM": "xterm", "COLUMNS": str(columns), "LINES": str(lines)},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    screen = bytearray()

    def shows(text: bytes) -> bool:
        while select.select([main], [], [], 0)[0]:
            try:
                screen.extend(os.read(main, 65536))
            except OSError:
                break
        return text in screen

    try:
        wait_until(lambda: shows(b"no worker is alive"), 30, "the first screen")
        connection.execute("UPDATE run_items SET status = 'completed' WHERE run_id = 12 AND seq < 7")
        wait_until(lambda: shows(b"7/10"), 60, "the screen follows")
        frame = screen.decode(errors="replace").rpartition("streamworkers ")[2]
        assert frame.count("\r\n") < lines
        os.write(main, b"q")
        wait_until(lambda: shows(b"") and process.poll() is not None, 60, "it ends")
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()
        os.close(main)
