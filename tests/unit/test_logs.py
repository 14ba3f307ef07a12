"""Logs: events with fields on standard error, from a level on."""

import json
from collections.abc import Iterator

import pytest
import structlog

from streamworkers.logs import configure_logs


@pytest.fixture(autouse=True)
def _reset() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def test_logs_are_json_on_standard_error_when_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("info", "auto")
    structlog.get_logger().info("item_retried", symbol="AAPL", attempt=2)
    captured = capsys.readouterr()
    assert captured.out == ""
    line = json.loads(captured.err)
    assert (line["event"], line["symbol"], line["attempt"], line["level"]) == ("item_retried", "AAPL", 2, "info")
    assert line["timestamp"].endswith("Z")


def test_an_exception_is_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("info", "json")
    try:
        raise ValueError("bad bar")
    except ValueError:
        structlog.get_logger().exception("item_failed")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "bad bar" in json.loads(lines[0])["exception"]


def test_what_is_below_the_level_is_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("warning", "json")
    structlog.get_logger().info("worker_started")
    assert capsys.readouterr().err == ""


def test_console_logs_are_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("debug", "console")
    structlog.get_logger().debug("worker_started", pid=7)
    text = capsys.readouterr().err
    assert "worker_started" in text
    assert not text.startswith("{")


@pytest.mark.parametrize("style", ["json", "console"])
def test_no_log_holds_a_secret(style: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("info", style)
    try:
        raise ValueError("no answer of redis://me:hunter2@host")
    except ValueError:
        structlog.get_logger().exception("item_failed", error="password=hunter2", url="postgresql://me:hunter2@host")
    text = capsys.readouterr().err
    assert "host" in text
    assert "hunter2" not in text
