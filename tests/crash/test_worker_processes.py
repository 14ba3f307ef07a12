"""Real supervisors and workers, killed with real signals in the middle of real runs."""

import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from harness import (
    Supervisor,
    effects_of,
    is_running,
    items_of,
    run_status,
    running_supervisor,
    start_run,
    wait_for_end,
    wait_until,
)
from patience import paced, patient
from streamworkers.admin import runs as operations
from streamworkers.database import Connection, fetch_value
from streamworkers.engine import ledger
from streamworkers.engine.ledger import Run
from streamworkers.engine.redis.heartbeats import UndecidedItem
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry

TESTS = ("--queue", "tests")
SLOW = {"milliseconds": paced(10.0)}


@pytest.fixture
def environment(quick_environment: dict[str, str]) -> dict[str, str]:
    """Everything here is about the engine."""
    return quick_environment


def _symbols(count: int) -> list[str]:
    return [f"S{number:04}" for number in range(count)]


def _is_under_way(connection: Connection, run: Run, done: int) -> bool:
    return ledger.count_items(connection, run).get("completed", 0) >= done


def _finished(supervisor: Supervisor) -> dict[str, float]:
    counts: dict[str, float] = {}
    with urllib.request.urlopen(f"{supervisor.metrics_url()}/metrics", timeout=patient(30)) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith("streamworkers_items_finished_total{"):
                labels, _, value = line.rpartition(" ")
                if not float(value):
                    continue
                outcome = labels.split('outcome="')[1].split('"')[0]
                counts[outcome] = counts.get(outcome, 0) + float(value)
    return counts


def _probe(supervisor: Supervisor, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"{supervisor.metrics_url()}{path}", timeout=patient(30)) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_workers_killed_in_mid_run_lose_nothing_and_double_nothing(
    connection: Connection, streams: Streams, registry: Registry, environment: dict[str, str], tmp_path: Path
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", *_symbols(400), parameters=SLOW)
    with running_supervisor(environment, tmp_path, "--processes", "2", "--metrics-port", "0", *TESTS) as supervisor:
        for done in (20, 60, 120, 200, 280):
            wait_until(lambda done=done: _is_under_way(connection, run, done))  # type: ignore[misc]
            os.kill(supervisor.worker_pids()[0], signal.SIGKILL)
        assert wait_for_end(connection, run) == "COMPLETED"
        assert effects_of(connection, run) == _symbols(400)
        assert {attempt for _, attempt, _ in items_of(connection, run).values()} == {1}
        wait_until(lambda: _finished(supervisor) == {"completed": 400.0}, 60, "the counters add up to the work")
        assert len([e for e in supervisor.events("worker_ended") if e["reason"] == "killed by signal 9"]) == 5
        assert supervisor.stop() == 0
    assert streams.inspector.read_consumers("tests") == {}
    assert streams.inspector.read_heartbeats() == {}


POISON = {
    "HANG": "timeout after {} s",
    "SIGKILL": "killed by signal 9",
    "FORK_AND_DIE": "killed by signal 9",
    "EXIT": "worker exited with code 3",
    "EXIT_0": "worker exited with code 0 during the call",
    "RAISE": "ValueError: RAISE cannot be computed",
    "NO_MEMORY": "MemoryError",
    "SAVE_HANGS": "timeout after {} s",
    "SAVE_EXIT_0": "worker exited with code 0 during the call",
    "SAVE_OS_EXIT_0": "worker exited with code 0 during the call",
    "SAVE_SIGKILL": "killed by signal 9",
}


def test_a_poisonous_item_dies_with_its_reason_and_its_neighbours_complete(
    connection: Connection, streams: Streams, registry: Registry, environment: dict[str, str], tmp_path: Path
) -> None:
    """One kind after another in one pool, each with neighbours and an honest run."""
    executions = tmp_path / "executions"
    environment["SAMPLE_JOBS_EXECUTIONS"] = str(executions)
    with running_supervisor(environment, tmp_path, "--processes", "1", "--metrics-port", "0", *TESTS) as supervisor:
        for count, (symbol, text) in enumerate(POISON.items(), 1):
            reason = text.format(environment["SAMPLE_JOBS_TIMEOUT_SECONDS"])
            run = start_run(connection, streams, registry, "misbehaving", "A", "B", symbol, "C", max_attempts=2)
            honest = start_run(connection, streams, registry, "inspecting", "D")
            assert wait_for_end(connection, run) == "COMPLETED_WITH_ERRORS", symbol
            assert wait_for_end(connection, honest) == "COMPLETED", symbol
            # Two attempts on its own, and one in a batch with its neighbours, unless a worker read it alone at first.
            assert executions.read_text(encoding="utf-8").count(f" {symbol}\n") in (2, 3)
            items = items_of(connection, run)
            assert items.pop(symbol) == ("failed", 2, reason)
            assert items == dict.fromkeys("ABC", ("completed", 1, None))
            assert effects_of(connection, run) == ["A", "B", "C"]
            dead = [(event["symbol"], event["error"]) for event in supervisor.events("item_dead")]
            assert (dead[-1], len(dead)) == ((symbol, reason), 2 * count - 1), "each once, and once when replayed"
            counts = {"completed": 4.0 * count, "failed": 2.0 * count - 1}
            wait_until(lambda counts=counts: _finished(supervisor) == counts, 60)  # type: ignore[misc]
            operations.replay(connection, streams, [(run.id, 2)])
            assert wait_for_end(connection, run) == "COMPLETED_WITH_ERRORS"
            assert items_of(connection, run)[symbol] == ("failed", 2, reason)
            row = connection.execute("SELECT count(*) FROM run_items WHERE jsonb_array_length(history) >= 2").fetchone()
            assert row == (count,)
            wait_until(lambda count=count: len(supervisor.events("item_dead")) == 2 * count, 60)  # type: ignore[misc]


def test_a_handler_that_forks_and_returns_twice_has_one_effect_and_one_worker(
    connection: Connection, streams: Streams, registry: Registry, environment: dict[str, str], tmp_path: Path
) -> None:
    with running_supervisor(environment, tmp_path, "--processes", "1", *TESTS) as supervisor:
        for symbol in ("FORK_TWICE", "FORK_AND_RAISE", "FORK_AND_EXIT", "SAVE_FORKS", "SAVE_FORK_AND_RAISE"):
            run = start_run(connection, streams, registry, "misbehaving", "A", symbol, "B")
            assert wait_for_end(connection, run) == "COMPLETED", symbol
            # The fence would keep a second worker from a second effect, but it would go on and read entries.
            (worker,) = supervisor.worker_pids()
            wait_until(lambda worker=worker: not _children(worker), what="the handler's children end")  # type: ignore[misc]
            honest = start_run(connection, streams, registry, "inspecting", "C")
            assert wait_for_end(connection, honest) == "COMPLETED", symbol
            assert effects_of(connection, run) == ["A", "B", symbol]
            assert supervisor.events("worker_ended") == []
        assert supervisor.stop() == 0


def test_what_a_handler_leaves_behind_ends_no_worker_and_fails_no_other_run(
    connection: Connection, streams: Streams, registry: Registry, environment: dict[str, str], tmp_path: Path
) -> None:
    symbols = _symbols(10)
    with running_supervisor(environment, tmp_path, "--processes", "1", *TESTS) as supervisor:
        for symbol in ("LEAVES_A_PROCESS", "LEAVES_A_SESSION", "LEAVES_AN_ALARM", "LEAVES_A_THREAD"):
            run = start_run(connection, streams, registry, "misbehaving", "A", symbol, "B")
            honest = start_run(connection, streams, registry, "inspecting", *symbols, parameters={"milliseconds": 50.0})
            assert wait_for_end(connection, run) == "COMPLETED", symbol
            assert wait_for_end(connection, honest) == "COMPLETED", symbol
            effects = effects_of(connection, run), effects_of(connection, honest)
            assert effects == (sorted(["A", "B", symbol]), symbols)
            assert supervisor.events("worker_ended") == []
        assert supervisor.stop() == 0


def test_an_item_without_a_decision_is_seen_while_it_lasts_and_fails_with_its_reason(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    run = start_run(connection, streams, registry, "misbehaving", "ENDS_SESSION", max_attempts=1)
    honest = start_run(connection, streams, registry, "inspecting", "A")
    with running_supervisor(environment, tmp_path, "--processes", "1", "--metrics-port", "0", *TESTS) as supervisor:
        wait_until(lambda: 'streamworkers_items_undecided{queue="tests"} 1.0' in _probe(supervisor, "/metrics")[1])
        wait_until(lambda: _undecided(streams), what="the heartbeat names the item")
        (item,) = _undecided(streams)
        assert (item.queue, item.job, item.run_id, item.symbol) == ("tests", "misbehaving", run.id, "ENDS_SESSION")
        assert item.times >= 2
        assert item.error.startswith("AdminShutdown: terminating connection due to administrator command")
        assert wait_for_end(connection, run) == "FAILED"
        assert wait_for_end(connection, honest) == "COMPLETED"
        error = items_of(connection, run)["ENDS_SESSION"][2]
        assert error is not None
        assert error.startswith("executed 5 times without a decision: AdminShutdown: terminating connection")
        wait_until(lambda: not _undecided(streams), what="the heartbeat names no item any more")
        assert 'streamworkers_items_undecided{queue="tests"} 0.0' in _probe(supervisor, "/metrics")[1]


def test_when_a_supervisor_is_killed_its_workers_end_and_another_finishes_the_run(
    connection: Connection, streams: Streams, registry: Registry, environment: dict[str, str], tmp_path: Path
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", *_symbols(300), parameters=SLOW)
    with running_supervisor(environment, tmp_path, "--processes", "2", *TESTS) as first:
        wait_until(lambda: _is_under_way(connection, run, 40))
        workers = first.worker_pids()
        first.process.kill()
        first.process.wait()
        wait_until(lambda: not any(is_running(pid) for pid in workers), 60, "the workers notice and end")
    assert run_status(connection, run) == "RUNNING"
    with running_supervisor(environment, tmp_path, "--processes", "2", *TESTS) as second:
        assert wait_for_end(connection, run) == "COMPLETED"
        assert second.stop() == 0
    assert effects_of(connection, run) == _symbols(300)


def test_sigterm_finishes_the_batch_in_hand_and_hands_the_rest_back(
    connection: Connection, streams: Streams, registry: Registry, environment: dict[str, str], tmp_path: Path
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", *_symbols(300), parameters=SLOW)
    with running_supervisor(environment, tmp_path, "--processes", "2", *TESTS) as supervisor:
        wait_until(lambda: _is_under_way(connection, run, 20))
        assert supervisor.stop() == 0
    done = ledger.count_items(connection, run)["completed"]
    assert 20 <= done < 300
    backlog = streams.inspector.read_backlog("tests")
    assert (backlog.waiting, backlog.pending) == (300 - done, 0)
    assert streams.inspector.read_consumers("tests") == {}
    with running_supervisor(environment, tmp_path, "--processes", "2", *TESTS):
        assert wait_for_end(connection, run) == "COMPLETED"
    assert {attempt for _, attempt, _ in items_of(connection, run).values()} == {1}
    assert effects_of(connection, run) == _symbols(300)


def test_a_batch_that_outlasts_the_grace_time_is_handed_back_without_costing_an_attempt(
    connection: Connection, streams: Streams, registry: Registry, environment: dict[str, str], tmp_path: Path
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", "A", parameters={"milliseconds": 1000 * patient(50)})
    words = ("--processes", "1", "--grace-seconds", "0.2", *TESTS)
    with running_supervisor(environment, tmp_path, *words) as supervisor:
        # One that has read a batch and not begun it hands it back in time.
        beats = streams.inspector.read_heartbeats
        wait_until(lambda: any(worker.busy for beat in beats().values() for worker in beat.workers))
        assert supervisor.stop(10) == 0
        assert [event["end"] for event in supervisor.events("worker_ended")] == ["stop_timeout"]
    backlog = streams.inspector.read_backlog("tests")
    assert (backlog.waiting, backlog.pending) == (1, 0)
    assert items_of(connection, run) == {"A": ("pending", 0, None)}


def test_a_worker_that_stands_still_is_killed_after_its_timeout_and_replaced(
    connection: Connection, streams: Streams, registry: Registry, environment: dict[str, str], tmp_path: Path
) -> None:
    run = start_run(connection, streams, registry, "misbehaving", "STOP")
    with running_supervisor(environment, tmp_path, "--processes", "1", *TESTS) as supervisor:
        assert wait_for_end(connection, run) == "COMPLETED"
        assert [event["reason"] for event in supervisor.events("worker_ended")] == [
            f"timeout after {environment['SAMPLE_JOBS_TIMEOUT_SECONDS']} s"
        ]
    assert items_of(connection, run) == {"STOP": ("completed", 2, None)}
    assert effects_of(connection, run) == ["STOP"]


def test_a_pool_that_slept_past_its_leases_and_wakes_has_no_second_effect(
    connection: Connection, streams: Streams, registry: Registry, environment: dict[str, str], tmp_path: Path
) -> None:
    run = start_run(connection, streams, registry, "stopping", "A", "STOP", "B")
    with running_supervisor(environment, tmp_path, "--processes", "1", *TESTS) as sleeper:
        wait_until(lambda: sleeper.worker_pids() and _is_stopped(sleeper.worker_pids()[0]), what="the worker stops")
        (worker,) = sleeper.worker_pids()
        sleeper.process.send_signal(signal.SIGSTOP)
        with running_supervisor(environment, tmp_path, "--processes", "1", *TESTS) as other:
            # A reclaimed item runs alone in its first attempt still, and stops that worker too.
            wait_until(lambda: other.worker_pids() and _is_stopped(other.worker_pids()[0]), what="the other stops")
            os.kill(other.worker_pids()[0], signal.SIGCONT)
            assert wait_for_end(connection, run) == "COMPLETED"
            os.kill(worker, signal.SIGCONT)
            sleeper.process.send_signal(signal.SIGCONT)
            assert sleeper.stop() == 0
    assert effects_of(connection, run) == ["A", "B", "STOP"]


def test_a_run_completes_when_redis_is_emptied_in_the_middle(
    connection: Connection, streams: Streams, registry: Registry, environment: dict[str, str], tmp_path: Path
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", *_symbols(300), parameters=SLOW)
    with running_supervisor(environment, tmp_path, "--processes", "2", *TESTS) as supervisor:
        wait_until(lambda: _is_under_way(connection, run, 60))
        streams.client.raw.flushall()
        assert wait_for_end(connection, run) == "COMPLETED"
        assert supervisor.events("items_added_again")
        assert supervisor.stop() == 0
    assert effects_of(connection, run) == _symbols(300)


def test_a_run_completes_when_its_database_connections_are_cut(
    connection: Connection, streams: Streams, registry: Registry, environment: dict[str, str], tmp_path: Path
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", *_symbols(300), parameters=SLOW)
    with running_supervisor(environment, tmp_path, "--processes", "2", *TESTS) as supervisor:
        for done in (40, 120, 200):
            wait_until(lambda done=done: _is_under_way(connection, run, done))  # type: ignore[misc]
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        assert wait_for_end(connection, run) == "COMPLETED"
        assert supervisor.events("worker_ended") == []
    assert effects_of(connection, run) == _symbols(300)
    assert {attempt for _, attempt, _ in items_of(connection, run).values()} == {1}


def test_a_handler_sees_that_its_run_was_cancelled_and_its_result_is_not_saved(
    connection: Connection, streams: Streams, registry: Registry, environment: dict[str, str], tmp_path: Path
) -> None:
    run = start_run(connection, streams, registry, "stopping", "WAIT_FOR_CANCEL")
    with running_supervisor(environment, tmp_path, "--processes", "1", *TESTS) as supervisor:
        wait_until(lambda: run_status(connection, run) == "RUNNING")
        operations.cancel(connection, streams, run.id)
        wait_until(lambda: streams.inspector.read_backlog("tests").pending == 0, 60, "the handler comes back")
        assert supervisor.events("worker_ended") == []
    assert effects_of(connection, run) == []
    assert items_of(connection, run) == {"WAIT_FOR_CANCEL": ("cancelled", 0, None)}


def test_a_worker_is_replaced_after_its_number_of_items(
    connection: Connection, streams: Streams, registry: Registry, environment: dict[str, str], tmp_path: Path
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", *_symbols(60), parameters=SLOW)
    words = ("--processes", "1", "--max-items", "20", *TESTS)
    with running_supervisor(environment, tmp_path, *words) as supervisor:
        assert wait_for_end(connection, run) == "COMPLETED"
        assert len(supervisor.events("worker_started")) >= 2
    assert effects_of(connection, run) == _symbols(60)
    assert {attempt for _, attempt, _ in items_of(connection, run).values()} == {1}


def test_the_probes_and_metrics_tell_how_the_pool_is(
    connection: Connection, streams: Streams, environment: dict[str, str], tmp_path: Path
) -> None:
    del connection
    with running_supervisor(environment, tmp_path, "--processes", "1", "--metrics-port", "0", *TESTS) as supervisor:
        wait_until(lambda: _probe(supervisor, "/readyz")[0] == 200)
        assert _probe(supervisor, "/livez") == (200, "ok\n")
        assert _probe(supervisor, "/nothing")[0] == 404
        (heartbeat,) = streams.inspector.read_heartbeats().values()
        assert "tests" in heartbeat.queues
        os.kill(supervisor.worker_pids()[0], signal.SIGSTOP)
        assert _probe(supervisor, "/livez")[0] == 200
        os.kill(supervisor.worker_pids()[0], signal.SIGCONT)
        assert supervisor.stop() == 0


def test_an_idle_worker_that_stands_still_is_replaced(
    connection: Connection, streams: Streams, registry: Registry, environment: dict[str, str], tmp_path: Path
) -> None:
    with _idle_pool(connection, environment, tmp_path) as supervisor:
        frozen, other = supervisor.worker_pids()
        os.kill(frozen, signal.SIGSTOP)
        wait_until(lambda: supervisor.events("worker_ended"), 40, "the idle worker is missed")
        (ended,) = supervisor.events("worker_ended")
        assert (ended["pid"], ended["end"]) == (frozen, "silent")
        assert ended["reason"] == f"worker was silent for {paced(10.0):g} s"
        run = start_run(connection, streams, registry, "ledger_entry", "A", "B")
        assert wait_for_end(connection, run) == "COMPLETED"
        assert other in supervisor.worker_pids()


def test_a_pause_of_the_whole_pool_ends_no_worker(
    connection: Connection, streams: Streams, registry: Registry, environment: dict[str, str], tmp_path: Path
) -> None:
    with _idle_pool(connection, environment, tmp_path) as supervisor:
        pids = [supervisor.process.pid, *supervisor.worker_pids()]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(paced(10.0) + 2)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        run = start_run(connection, streams, registry, "ledger_entry", "A", "B")
        assert wait_for_end(connection, run) == "COMPLETED"
        wait_until(lambda: supervisor.events("supervisor_stood_still"), what="the pause is seen")
        assert supervisor.events("worker_ended") == []


@contextmanager
def _idle_pool(connection: Connection, environment: dict[str, str], folder: Path) -> Iterator[Supervisor]:
    """Two workers that have started and wait, and are missed after ten seconds."""
    idle = {**environment, "STREAMWORKERS_IDLE_SILENCE_SECONDS": f"{paced(10.0):g}"}
    with running_supervisor(idle, folder, "--processes", "2", *TESTS) as supervisor:
        wait_until(lambda: _count_connected_workers(connection) == 2, what="both have started")
        yield supervisor


def _count_connected_workers(connection: Connection) -> int:
    count: int = fetch_value(
        connection,
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name ~ '[.][0-9]+$'",
    )
    return count


def _undecided(streams: Streams) -> list[UndecidedItem]:
    heartbeats = streams.inspector.read_heartbeats().values()
    return [item for heartbeat in heartbeats for worker in heartbeat.workers for item in worker.undecided]


def _children(pid: int) -> list[psutil.Process]:
    return [child for child in psutil.Process(pid).children() if child.status() != psutil.STATUS_ZOMBIE]


def _is_stopped(pid: int) -> bool:
    return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
