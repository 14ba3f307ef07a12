"""Webhooks of runs with real processes and a receiver that verifies: each end arrives, over deaths and failures."""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness import Scheduler, Supervisor, running_supervisor, wait_until
from streamworkers.database import Connection, fetch_rows
from streamworkers.engine.registry import Registry
from streamworkers_fakes.webhook import FakeReceiver, running_fake_receiver
from submitting import install_jobs, submit

SECRET = b"a secret, long enough"
RUNS = 60


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Ends what a test starts."""
    with ExitStack() as own:
        yield own


@pytest.fixture
def own(environment: dict[str, str]) -> dict[str, str]:
    """The environment of processes that may call this machine, and know the secret."""
    return environment | {"HOOK_SECRET": SECRET.decode(), "STREAMWORKERS_WEBHOOK_PRIVATE": "true"}


def _start(stack: ExitStack, own: dict[str, str], folder: Path) -> tuple[Scheduler, Supervisor]:
    number = len(list(folder.glob("*.log")))
    scheduler = Scheduler(own, folder / f"scheduler-{number}.log", ())
    stack.callback(scheduler.kill_all)
    queues = ("--queue", "tests", "--queue", "notify", "--processes", "1")
    return scheduler, stack.enter_context(running_supervisor(own, folder, *queues))


def _states(connection: Connection) -> dict[int, tuple[str, int, str | None]]:
    rows = fetch_rows(connection, "SELECT ended_run_id, state, attempts, reason FROM deliveries ORDER BY ended_run_id")
    return {row["ended_run_id"]: (row["state"], row["attempts"], row["reason"]) for row in rows}


def test_each_end_arrives_with_one_id_over_deaths(
    stack: ExitStack, own: dict[str, str], connection: Connection, registry: Registry, tmp_path: Path
) -> None:
    install_jobs(connection, registry)
    receiver = stack.enter_context(running_fake_receiver(FakeReceiver([SECRET])))
    hook = {"url": f"{receiver.url}/hooks", "secrets": ["env:HOOK_SECRET"]}
    runs = [submit(connection, "ledger_entry", symbols=[f"S{n}"], webhook=hook) for n in range(RUNS)]
    runs.append(submit(connection, "ledger_entry", symbols=["LAST"], webhook=hook, after=runs[-1]))
    scheduler, supervisor = _start(stack, own, tmp_path)
    wait_until(lambda: len(receiver.taken) > RUNS // 6, 90, "the first ends arrive")
    for pid in supervisor.worker_pids():
        os.kill(pid, signal.SIGKILL)
    os.kill(supervisor.process.pid, signal.SIGKILL)
    os.kill(scheduler.process.pid, signal.SIGKILL)
    _start(stack, own, tmp_path)

    def arrived() -> bool:
        states = _states(connection)
        return len(states) == len(runs) and {state for state, _, _ in states.values()} == {"sent"}

    wait_until(arrived, 150, "all ends have arrived")
    ids: dict[int, Counter[str]] = {}
    for call in receiver.taken:
        data = call.json["data"]
        assert (data["status"], call.fault) == ("COMPLETED", None)
        ids.setdefault(data["id"], Counter())[call.headers["webhook-id"]] += 1
    assert sorted(ids) == sorted(runs)
    assert {len(each) for each in ids.values()} == {1}, "one id for each end, however often it is sent"


def test_what_a_receiver_answers_is_what_is_shown(
    stack: ExitStack, own: dict[str, str], connection: Connection, registry: Registry, tmp_path: Path
) -> None:
    install_jobs(connection, registry)
    answers: dict[tuple[str, ...], tuple[str, str | None]] = {
        ("status=500", "status=200"): ("sent", None),
        ("status=410",): ("dead", "the receiver answered 410"),
        ("redirect=http://127.0.0.1:1/",): ("dead", "the receiver answered 302, and redirects are not followed"),
    }
    receivers, expected = [], dict[int, tuple[str, str | None]]()
    for plans, shown in answers.items():
        receivers.append(receiver := stack.enter_context(running_fake_receiver(FakeReceiver([SECRET]))))
        receiver.receiver.plan(*plans)
        expected[_submit(connection, f"{receiver.url}/hooks")] = shown
    silent = stack.enter_context(running_fake_receiver(FakeReceiver([SECRET])))
    unset = _submit(connection, f"{silent.url}/hooks", "env:NOBODY_HAS_SET_IT")
    expected[unset] = ("dead", "NOBODY_HAS_SET_IT is not set in the environment of this process")
    down = _submit(connection, "http://127.0.0.1:1/hooks")
    _start(stack, own, tmp_path)

    def tried() -> bool:
        states = _states(connection)
        return states.keys() >= {down, *expected} and all(states[run][0] == shown[0] for run, shown in expected.items())

    first_try = ("failed", 1)  # what may be there later is tried again
    wait_until(lambda: _states(connection).get(down, ("", 0))[:2] == first_try, 90, "what is down is tried")
    wait_until(tried, 90, "all are tried")
    states = _states(connection)
    assert {run: (states[run][0], states[run][2]) for run in expected} == expected
    for receiver, plans in zip(receivers, answers, strict=True):
        assert len({call.headers["webhook-id"] for call in receiver.calls}) == 1
        assert len(receiver.calls) == len(plans)
    assert silent.calls == []


def _submit(connection: Connection, url: str, secret: str = "env:HOOK_SECRET") -> int:
    return submit(connection, "ledger_entry", symbols=["A"], webhook={"url": url, "secrets": [secret]})
