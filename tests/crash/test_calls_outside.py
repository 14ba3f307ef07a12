"""Workers killed between claim, call and record: no call is lost, and a second one is only for what was named."""

import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from harness import Supervisor, items_of, running_supervisor, start_run, wait_for_end
from streamworkers.database import Connection
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry

SYMBOLS = (
    *("PLAIN-1", "CLAIMED-1", "PLAIN-2", "DURING-1", "CALLED-1", "PLAIN-3", "RECORDED-1", "REFUSED-1"),
    *("DURING-2", "PLAIN-4", "CALLED-2", "CLAIMED-2", "RECORDED-2", "PLAIN-5"),
)


@pytest.fixture
def environment(quick_environment: dict[str, str]) -> dict[str, str]:
    """Everything here is about the engine."""
    return quick_environment


class Receiver:
    """A server that counts requests by name, and kills who asks for a name with DURING the first time."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self._lock = threading.Lock()

    def receive(self, name: str, pid: int) -> str:
        """Count a call, and answer it."""
        with self._lock:
            self.calls[name] += 1
            is_first = self.calls[name] == 1
        if name.startswith("DURING") and is_first:
            os.kill(pid, signal.SIGKILL)
        return "refused" if name.startswith("REFUSED") else "thanks"


@contextmanager
def _serving(receiver: Receiver) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text = receiver.receive(self.path[1:], int(self.headers["X-Pid"])).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None: ...

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None: ...  # who asked is dead

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def _find_damage(connection: Connection, receiver: Receiver) -> tuple[set[str], set[str]]:
    """The letters that were lost, and those that were sent twice and not named ambiguous."""
    letters = {
        name: (state, ambiguous)
        for name, state, ambiguous in connection.execute("SELECT name, state, ambiguous FROM letters")
    }
    lost = {name for name, (state, _) in letters.items() if state in ("new", "sending") or not receiver.calls[name]}
    doubled = {name for name, (_, ambiguous) in letters.items() if receiver.calls[name] > 1 + ambiguous}
    return lost, doubled


@pytest.fixture
def letters(connection: Connection, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    """The table of letters, with a row for each item of a run."""
    monkeypatch.syspath_prepend(environment["PYTHONPATH"])
    from calling import LETTERS

    connection.execute(LETTERS)
    connection.cursor().executemany("INSERT INTO letters (name) VALUES (%s)", [(name,) for name in SYMBOLS])


def _named(supervisor: Supervisor) -> Counter[str]:
    return Counter(event["thing"] for event in supervisor.events("call_ambiguous"))


@pytest.mark.usefixtures("letters")
@pytest.mark.parametrize("threads", [1, 4])
def test_no_call_is_lost_and_a_second_one_is_of_a_thing_that_was_named(
    threads: int,
    connection: Connection,
    streams: Streams,
    registry: Registry,
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    receiver = Receiver()
    with (
        _serving(receiver) as url,
        running_supervisor(environment, tmp_path, "--processes", "2", "--queue", "tests") as supervisor,
    ):
        words = {"url": url, "folder": str(tmp_path), "threads": threads}
        run = start_run(connection, streams, registry, "calling", *SYMBOLS, parameters=words, max_attempts=3)
        assert wait_for_end(connection, run, 90) == "COMPLETED_WITH_ERRORS"
        named = _named(supervisor)
        # Threads of one worker may die together.
        assert len(supervisor.events("worker_ended")) >= (6 if threads == 1 else 1)
    assert _find_damage(connection, receiver) == (set(), set())
    items = items_of(connection, run)
    assert items.pop("REFUSED-1")[::2] == ("failed", "no: NotDoneError: the receiver refuses")
    assert {state for state, _, _ in items.values()} == {"completed"}
    # A thing is named before it is called again, so with any number of threads the log accounts for every call.
    assert all(receiver.calls[name] <= 1 + named[name] for name in SYMBOLS)
    assert all(receiver.calls[name] >= 2 for name in ("DURING-1", "DURING-2", "CALLED-1", "CALLED-2"))
    assert named["CLAIMED-1"] >= 1
    assert named["CLAIMED-2"] >= 1
    assert sum(receiver.calls.values()) <= len(SYMBOLS) + named.total()
    if threads == 1:
        for name in ("DURING-1", "DURING-2", "CALLED-1", "CALLED-2"):
            assert (receiver.calls[name], named[name]) == (2, 1)
        for name in ("CLAIMED-1", "CLAIMED-2"):
            assert (receiver.calls[name], named[name]) == (1, 1)
        for name in ("RECORDED-1", "RECORDED-2"):
            assert receiver.calls[name] == 1 + named[name]
        # Nothing is ambiguous that was not being called for when a worker died.
        assert sorted(named) == ["CALLED-1", "CALLED-2", "CLAIMED-1", "CLAIMED-2", "DURING-1", "DURING-2"]


@pytest.mark.usefixtures("letters")
def test_what_is_ambiguous_is_held_where_the_policy_says_so(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    receiver = Receiver()
    with (
        _serving(receiver) as url,
        running_supervisor(environment, tmp_path, "--processes", "1", "--queue", "tests"),
    ):
        words = {"url": url, "folder": str(tmp_path), "policy": "hold"}
        run = start_run(connection, streams, registry, "calling", *SYMBOLS, parameters=words, max_attempts=3)
        assert wait_for_end(connection, run, 90) == "COMPLETED_WITH_ERRORS"
    held = {name for (name,) in connection.execute("SELECT name FROM letters WHERE state = 'held'")}
    assert held == {"CLAIMED-1", "CLAIMED-2", "DURING-1", "DURING-2", "CALLED-1", "CALLED-2"}
    assert max(receiver.calls.values()) == 1
    reason = "unknown: claimed by another worker that did not record an answer"
    assert {error for name, (_, _, error) in items_of(connection, run).items() if name in held} == {reason}


@pytest.mark.usefixtures("letters")
def test_without_the_claim_a_letter_is_sent_twice_and_nobody_says_so(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    receiver = Receiver()
    with (
        _serving(receiver) as url,
        running_supervisor(environment, tmp_path, "--processes", "1", "--queue", "tests") as supervisor,
    ):
        words = {"url": url, "folder": str(tmp_path), "claims": False}
        run = start_run(connection, streams, registry, "calling", *SYMBOLS, parameters=words, max_attempts=3)
        wait_for_end(connection, run, 90)
        assert not _named(supervisor)
    lost, doubled = _find_damage(connection, receiver)
    assert (lost, doubled) == (set(), {"DURING-1", "DURING-2", "CALLED-1", "CALLED-2"})
