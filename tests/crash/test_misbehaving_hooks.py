"""Whatever a hook does, the run is what it would be without it, and the log and the metrics name the hook."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from harness import effects_of, install_hooks, items_of, running_supervisor, start_run, wait_for_end, wait_until
from patience import patient
from streamworkers.database import Connection
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry

_SYMBOLS = [f"S{number:03}" for number in range(200)]
_CAUGHT = ("raise", "exit", "fork", "child", "mess", "hang")
_FATAL = ("end", "die", "hang on", "freeze")
_WORDS = ("--processes", "1", "--queue", "tests", "--metrics-port", "0")


def _install(environment: dict[str, str], folder: Path, event: str, kinds: tuple[str, ...]) -> dict[str, str]:
    (folder / "marks").mkdir()
    words = {"IN": event, "DOES": ",".join(kinds), "MARKS": str(folder / "marks"), "LOG": str(folder / "told.jsonl")}
    hooks = install_hooks(
        environment, folder, misbehaving="sample_hooks:Misbehaving", recording="sample_hooks:Recording"
    )
    return {**hooks, **{f"SAMPLE_HOOKS_{name}": word for name, word in words.items()}}


def _told(folder: Path, event: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "told.jsonl").read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line["event"] == event]


def _count(metrics: str, name: str, **labels: str) -> float:
    found = re.findall(rf"^{name}{{(.*)}} (.*)$", metrics, re.MULTILINE)
    wanted = {f'{label}="{value}"' for label, value in labels.items()}
    return sum(float(value) for given, value in found if wanted <= set(given.split(",")))


@pytest.mark.parametrize("event", ["init", "on_start", "on_success"])
def test_what_a_hook_does_changes_nothing_for_items(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    quick_environment: dict[str, str],
    tmp_path: Path,
    event: str,
) -> None:
    environment = _install(quick_environment, tmp_path, event, _CAUGHT[:1] if event == "init" else _CAUGHT)
    environment["STREAMWORKERS_HOOK_SECONDS"] = f"{patient(0.5):g}"
    run = start_run(connection, streams, registry, "inspecting", *_SYMBOLS)
    with running_supervisor(environment, tmp_path, *_WORDS) as supervisor:
        assert wait_for_end(connection, run, 60) == "COMPLETED"
        wait_until(lambda: sum(len(line["items"]) for line in _told(tmp_path, "on_success")) == len(_SYMBOLS))
        metrics = httpx.get(f"{supervisor.metrics_url()}/metrics").text
        (pid,) = supervisor.worker_pids()
        assert psutil.Process(pid).children() == []
        assert supervisor.stop() == 0
    assert set(items_of(connection, run).values()) == {("completed", 1, None)}
    assert effects_of(connection, run) == _SYMBOLS
    failures = supervisor.events("hook_failed")
    errors = ["ValueError: the statistics are away", "SystemExit: 3", "did not return within"]
    expected = errors[:1] if event == "init" else errors
    assert [line["error"][: len(error)] for line, error in zip(failures, expected, strict=True)] == expected
    assert {(line["hook"], line["hook_event"]) for line in failures} == {("misbehaving", event)}
    assert _count(metrics, "streamworkers_hook_errors_total", hook="misbehaving", event=event) == len(expected)
    assert _count(metrics, "streamworkers_hook_skips_total", hook="misbehaving") > 0
    told = [(key, attempt) for line in _told(tmp_path, "on_success") for key, attempt, _ in line["items"]]
    assert sorted(told) == [(symbol, 1) for symbol in _SYMBOLS]
    assert [len(_told(tmp_path, name)) for name in ("init", "close")] == [1, 1]


@pytest.mark.parametrize("event", ["on_start", "on_success"])
def test_a_hook_that_ends_its_worker_costs_no_item_an_attempt(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    quick_environment: dict[str, str],
    tmp_path: Path,
    event: str,
) -> None:
    environment = _install(quick_environment, tmp_path, event, _FATAL)
    environment["STREAMWORKERS_HOOK_SECONDS"] = f"{patient(0.5):g}"
    run = start_run(connection, streams, registry, "ledger_entry", *_SYMBOLS, max_attempts=1)
    alone = start_run(connection, streams, registry, "ledger_entry", "ALONE", max_attempts=1)
    with running_supervisor(environment, tmp_path, *_WORDS) as supervisor:
        for each in (run, alone):
            assert wait_for_end(connection, each, 120) == "COMPLETED"
        wait_until(lambda: len(supervisor.events("worker_ended")) == len(_FATAL))
        metrics = httpx.get(f"{supervisor.metrics_url()}/metrics").text
        assert supervisor.stop() == 0
    assert set(items_of(connection, run).values()) == {("completed", 1, None)}
    assert effects_of(connection, run) == _SYMBOLS
    assert [line["reason"] for line in supervisor.events("worker_ended")][: len(_FATAL)] == [
        f"hook misbehaving: worker exited with code 0 during {event}",
        f"hook misbehaving: killed by signal 9 during {event}",
        f"hook misbehaving: {event} did not return",
        f"hook misbehaving: {event} did not return",
    ]
    assert _count(metrics, "streamworkers_worker_ends_total", cause="hook") == len(_FATAL)
    # What a hook is told of is told once, or, where a worker was killed before, not at all.
    told = [key for line in _told(tmp_path, "on_success") for key, _, _ in line["items"]]
    assert len(told) == len(set(told))
    assert (set(told) == {*_SYMBOLS, "ALONE"}) == (event == "on_start")


def test_a_hook_that_hangs_at_the_end_does_not_keep_its_worker(
    quick_environment: dict[str, str], database_url: str, tmp_path: Path
) -> None:
    environment = _install(quick_environment, tmp_path, "close", ("hang",))
    environment["STREAMWORKERS_HOOK_SECONDS"] = "0.2"
    assert database_url
    with running_supervisor(environment, tmp_path, *_WORDS) as supervisor:
        wait_until(lambda: (tmp_path / "told.jsonl").exists())
        wait_until(lambda: supervisor.worker_pids())
        assert supervisor.stop() == 0
    assert [line["hook_event"] for line in supervisor.events("hook_failed")] == ["close"]
    assert len(_told(tmp_path, "close")) == 1


def test_a_hook_that_does_not_load_ends_the_start(quick_environment: dict[str, str], tmp_path: Path) -> None:
    environment = install_hooks(quick_environment, tmp_path, statistics_server="nowhere:Hook")
    ended = subprocess.run(
        [sys.executable, "-m", "streamworkers", "worker"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=patient(60),
        check=False,
    )
    assert ended.returncode == 2
    error = "hook 'statistics_server' (nowhere:Hook) does not load: ModuleNotFoundError: No module named 'nowhere'"
    assert error in ended.stderr
    assert "Traceback" not in ended.stderr
