"""SIGKILL of the API: clients that send one request with one key until it is answered have one effect."""

import threading
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

import httpx

from harness import Service, wait_until
from patience import Deadline, patient
from streamworkers.actor import LOCAL
from streamworkers.admin.tokens import create_token
from streamworkers.database import Connection, connect
from streamworkers.engine.registry import Registry
from submitting import install_jobs

CLIENTS = 8
_BODY = {"job": "ledger_entry", "symbols": ["A"]}


class _Api(Service):
    """A `streamworkers api`."""

    command: ClassVar[str] = "api"

    @property
    def url(self) -> str:
        """Where it answers, once it does."""
        wait_until(lambda: self.events("api_listens") or self.process.poll() is not None, 60, "the API listens")
        assert self.process.poll() is None, self.log.read_text(encoding="utf-8")
        return f"http://127.0.0.1:{self.events('api_listens')[0]['port']}/api/v1/runs"


class _Clients:
    """Clients that send the same request to wherever the API is, until it is answered."""

    def __init__(self, token: str) -> None:
        self.url = ""
        self.answers: list[tuple[int, bool]] = []  # the run's number, and whether the answer was a kept one
        self.statuses: list[int] = []
        self.errors = 0
        self._headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": "once"}
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._send_on, daemon=True) for _ in range(CLIENTS)]

    def start(self) -> None:
        """Start all of them."""
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Wait until each has its answer, or has given up."""
        for thread in self._threads:
            thread.join()

    def _send_on(self) -> None:
        deadline = Deadline(60)
        with httpx.Client(headers=self._headers, timeout=patient(10)) as client:
            while not deadline.has_passed():
                try:
                    answer = client.post(self.url, json=_BODY)
                except httpx.TransportError:
                    with self._lock:
                        self.errors += 1
                    threading.Event().wait(0.02)
                    continue
                with self._lock:
                    self.statuses.append(answer.status_code)
                    if answer.status_code == 202:
                        self.answers.append((answer.json()["id"], "idempotency-replayed" in answer.headers))
                        return
                threading.Event().wait(0.02)


def _count_waiting(connection: Connection) -> int:
    statement = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'runs'::regclass"
    row = connection.execute(statement).fetchone()
    assert row is not None
    return int(row[0])


def test_clients_with_one_key_start_one_run_though_the_api_is_killed(
    connection: Connection, database_url: str, registry: Registry, environment: dict[str, str], tmp_path: Path
) -> None:
    install_jobs(connection, registry)
    clients = _Clients(create_token(connection, LOCAL, "desk", "ann", ["run"]).text)
    environment = {
        **environment,
        "STREAMWORKERS_API_STATEMENT_SECONDS": "60",
        "STREAMWORKERS_API_REQUEST_SECONDS": "120",
    }
    with ExitStack() as stack:

        def start(number: int) -> _Api:
            api = _Api(environment, tmp_path / f"api-{number}.log", ("--port", "0"))
            stack.callback(api.kill_all)
            clients.url = api.url
            return api

        api = start(1)
        with connect(database_url, application="test") as other, other.transaction():
            other.execute("LOCK TABLE runs IN SHARE MODE")  # no run can be added: the first request is in the middle
            clients.start()
            wait_until(lambda: _count_waiting(connection) == 1, what="a request is in the middle of its effect")
            wait_until(lambda: 409 in clients.statuses, what="another one is rejected meanwhile")
            api.kill_all()
        api = start(2)
        wait_until(lambda: clients.answers, what="a client has its answer")
        api.kill_all()
        start(3)
        clients.join()
    assert len(clients.answers) == CLIENTS
    assert set(clients.statuses) <= {202, 409, 503}
    assert len({run for run, _ in clients.answers}) == 1
    assert sum(not is_kept for _, is_kept in clients.answers) <= 1
    assert connection.execute("SELECT count(*) FROM runs").fetchone() == (1,)
    started = "SELECT count(*) FROM audit_log WHERE action = 'run.submit' AND outcome = 'ok'"
    assert connection.execute(started).fetchone() == (1,)
