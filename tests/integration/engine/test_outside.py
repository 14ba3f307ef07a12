"""Calls to the outside: the rules of `call_outside`, and the example of the guide, with a real server."""

import re
import threading
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg
import pytest
import structlog

from consumer import Consumer
from harness import items_of, start_run, wait_until
from patience import patient
from streamworkers.config import Settings
from streamworkers.database import Connection, connect
from streamworkers.engine.outside import (
    MOST_THREADS,
    Answer,
    Claim,
    Late,
    Later,
    NotDoneError,
    Outside,
    Policy,
    Reply,
    Result,
    call_outside,
)
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry

GUIDE = Path(__file__).parent.parent.parent.parent / "docs" / "guides" / "writing-jobs.md"


class Things(Outside[str, str]):
    """Things in a table, whose call does what their name says."""

    def __init__(self) -> None:
        self.called: list[str] = []
        self.before_record: Callable[[], object] = lambda: None

    def claim(self, connection: Connection, thing: str, token: uuid.UUID) -> Claim:
        row = connection.execute(
            "UPDATE things t SET claim = %s FROM (SELECT name, claim FROM things WHERE name = %s AND state = 'new'"
            " FOR UPDATE) old WHERE t.name = old.name RETURNING old.claim IS NOT NULL",
            (token, thing),
        ).fetchone()
        return Claim.CLOSED if row is None else Claim.TAKEN if row[0] else Claim.FREE

    def call(self, thing: str, token: uuid.UUID) -> str:
        self.called.append(thing)
        if thing == "REFUSED":
            raise NotDoneError("no such address")
        if thing == "LOST":
            raise TimeoutError("no answer")
        if thing == "INTERRUPTED":
            raise KeyboardInterrupt
        return thing.lower()

    def record(self, connection: Connection, thing: str, token: uuid.UUID, reply: Reply[str]) -> bool:
        self.before_record()
        statement = "UPDATE things SET state = %s, claim = NULL WHERE name = %s AND claim = %s"
        return connection.execute(statement, (str(reply.answer), thing, token)).rowcount == 1


@pytest.fixture
def things(connection: Connection) -> Things:
    """The table, with every thing that the tests call for."""
    connection.execute("CREATE TABLE things (name text PRIMARY KEY, state text NOT NULL DEFAULT 'new', claim uuid)")
    for name in ("GOOD", "REFUSED", "LOST", "INTERRUPTED"):
        connection.execute("INSERT INTO things (name) VALUES (%s)", (name,))
    return Things()


def _states(connection: Connection) -> dict[str, str]:
    return dict(connection.execute("SELECT name, state FROM things").fetchall())


@pytest.mark.parametrize("threads", [1, 3])
def test_every_answer_is_yes_no_or_unknown_and_is_recorded(
    threads: int, connection: Connection, things: Things
) -> None:
    names = ["GOOD", "REFUSED", "LOST", "INTERRUPTED"]
    with structlog.testing.capture_logs() as logs:
        results = call_outside(connection, things, names, policy="retry", threads=threads)
    errors = {result.thing: result.reply.error for result in results if result.reply is not None}
    assert isinstance(errors.pop("REFUSED"), NotDoneError)
    assert set(errors.values()) == {None}
    plain = [result._replace(reply=result.reply and result.reply._replace(error=None)) for result in results]
    assert sorted(plain) == sorted(
        [
            Result("GOOD", Reply(Answer.YES, "good")),
            Result("REFUSED", Reply(Answer.NO, None, "NotDoneError: no such address")),
            Result("LOST", Reply(Answer.UNKNOWN, None, "TimeoutError: no answer", ambiguous=True)),
            Result("INTERRUPTED", Reply(Answer.UNKNOWN, None, "KeyboardInterrupt", ambiguous=True)),
        ]
    )
    assert _states(connection) == {"GOOD": "yes", "REFUSED": "no", "LOST": "unknown", "INTERRUPTED": "unknown"}
    assert sorted(line["thing"] for line in logs if line["event"] == "call_ambiguous") == ["INTERRUPTED", "LOST"]
    assert call_outside(connection, things, ["GOOD"], policy="retry") == [Result("GOOD", None)]
    assert sorted(things.called) == sorted(names)


def test_a_claim_is_committed_before_the_call_and_an_answer_before_the_next_claim(
    connection: Connection, database_url: str, things: Things, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []
    with psycopg.connect(database_url, autocommit=True) as witness:

        def look(self: Things, thing: str, token: uuid.UUID) -> str:
            row = witness.execute(
                "SELECT count(*) FILTER (WHERE claim = %s), count(*) FILTER (WHERE state = 'yes') FROM things", (token,)
            ).fetchone()
            assert row is not None
            seen.append(row)
            return thing

        monkeypatch.setattr(Things, "call", look)
        call_outside(connection, things, ["GOOD", "REFUSED", "LOST"], policy="hold")
    assert seen == [(1, 0), (1, 1), (1, 2)]


@pytest.mark.parametrize(
    ("policy", "called", "answer"), [("retry", ["GOOD"], Answer.YES), ("hold", [], Answer.UNKNOWN)]
)
def test_a_thing_that_another_claimed_is_ambiguous_and_called_or_held(
    policy: Any, called: list[str], answer: Answer, connection: Connection, things: Things
) -> None:
    things.claim(connection, "GOOD", uuid.uuid4())
    (result,) = call_outside(connection, things, ["GOOD"], policy=policy)
    assert result.reply is not None
    assert (things.called, result.reply.answer, result.reply.ambiguous) == (called, answer, True)


def test_an_answer_to_a_thing_that_another_claimed_meanwhile_is_not_recorded(
    connection: Connection, things: Things
) -> None:
    things.before_record = lambda: things.claim(connection, "GOOD", uuid.uuid4())
    (result,) = call_outside(connection, things, ["GOOD"], policy="retry")
    assert (result.recorded, _states(connection)["GOOD"]) == (False, "new")


def test_after_an_error_of_the_database_the_calls_under_way_are_recorded(
    connection: Connection, things: Things, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = Things.claim

    def fail(self: Things, connection: Connection, thing: str, token: uuid.UUID) -> Claim:
        if thing == "LOST":
            connection.execute("SELECT 1 / 0")
        return claim(self, connection, thing, token)

    monkeypatch.setattr(Things, "claim", fail)
    with pytest.raises(psycopg.errors.DivisionByZero):
        call_outside(connection, things, ["GOOD", "REFUSED", "LOST"], policy="retry", threads=3)
    assert _states(connection) == {"GOOD": "yes", "REFUSED": "no", "LOST": "new", "INTERRUPTED": "new"}


def test_nothing_more_is_claimed_when_it_should_stop(connection: Connection, things: Things) -> None:
    results = call_outside(
        connection, things, ["GOOD", "REFUSED"], policy="retry", should_stop=lambda: bool(things.called)
    )
    assert [result.thing for result in results] == ["GOOD"]
    assert _states(connection)["REFUSED"] == "new"


def test_while_no_thing_is_due_calls_that_end_are_recorded(connection: Connection, things: Things) -> None:
    recorded: list[dict[str, str]] = []

    def due() -> Iterator[str | Later]:
        yield Later(0.0)
        yield "GOOD"
        while _states(connection)["GOOD"] == "new":
            yield Later(patient(10))
        recorded.append(_states(connection))
        yield "REFUSED"

    results = call_outside(connection, things, due(), policy="retry", threads=2)
    assert [result.thing for result in results] == ["GOOD", "REFUSED"]
    assert (recorded[0]["GOOD"], recorded[0]["REFUSED"]) == ("yes", "new")


class Leaving(Things):
    """Calls for LOST and INTERRUPTED wait; each is left at once, if it may be."""

    leaves_after = 0.0

    def __init__(self, url: str, may_be_left: bool = True) -> None:
        super().__init__()
        self.url, self.may_be_left = url, may_be_left
        self.goes_on, self.asked = threading.Event(), 0

    def call(self, thing: str, token: uuid.UUID) -> str:
        if thing in ("LOST", "INTERRUPTED"):
            assert self.goes_on.wait(patient(30))
        return super().call(thing, token)

    def leave(self, connection: Connection, thing: str, token: uuid.UUID) -> Late[str, str] | None:
        if thing not in ("LOST", "INTERRUPTED"):
            return None
        self.asked += 1
        if not self.may_be_left:
            self.goes_on.set()
        return Late(self, lambda: connect(self.url)) if self.may_be_left else None


def test_calls_that_take_long_are_left_and_recorded_when_they_end(
    connection: Connection, database_url: str, things: Things
) -> None:
    """Also with one thread, of which the others have need."""
    leaving = Leaving(database_url)
    with structlog.testing.capture_logs() as logs:
        results = call_outside(connection, leaving, ["LOST", "INTERRUPTED", "GOOD"], policy="retry")
        assert [each.thing for each in results] == ["GOOD"]
        assert _states(connection)["LOST"] == "new"
        leaving.goes_on.set()
        wait_until(lambda: "new" not in {state for name, state in _states(connection).items() if name != "REFUSED"})
        wait_until(lambda: sum(line["event"] == "call_ambiguous" for line in logs) == 2, what="both are named")
    assert _states(connection) == {"GOOD": "yes", "LOST": "unknown", "INTERRUPTED": "unknown", "REFUSED": "new"}


def test_a_call_that_may_not_be_left_is_waited_for(connection: Connection, database_url: str, things: Things) -> None:
    leaving = Leaving(database_url, may_be_left=False)
    (result,) = call_outside(connection, leaving, ["LOST"], policy="retry")
    assert (result.thing, result.recorded, leaving.asked) == ("LOST", True, 1)
    assert _states(connection)["LOST"] == "unknown"


def test_a_late_answer_that_cannot_be_recorded_leaves_the_claim_to_the_next(
    connection: Connection, database_url: str, things: Things
) -> None:
    leaving = Leaving("postgresql://nobody@127.0.0.1:1/nowhere")
    with structlog.testing.capture_logs() as logs:
        call_outside(connection, leaving, ["LOST"], policy="retry")
        leaving.goes_on.set()
        wait_until(lambda: [line["thing"] for line in logs if line["event"] == "late_answer_lost"] == ["LOST"])
        call_outside(connection, things, ["LOST"], policy="retry")
    assert [line["reason"] for line in logs if line["event"] == "call_ambiguous"] == [
        "claimed by another worker that did not record an answer"
    ]


def test_each_thing_may_have_a_policy_of_its_own(connection: Connection, things: Things) -> None:
    for name in ("GOOD", "LOST"):
        things.claim(connection, name, uuid.uuid4())
    policies: dict[str, Policy] = {"GOOD": "retry", "LOST": "hold"}
    call_outside(connection, things, ["GOOD", "LOST"], policy=lambda thing: policies[thing])
    assert things.called == ["GOOD"]


def test_it_is_rejected_where_a_claim_could_be_rolled_back(connection: Connection, things: Things) -> None:
    message = "call_outside cannot commit: it was called in save, or in an open transaction"
    with pytest.raises(RuntimeError, match=message), connection.transaction():
        call_outside(connection, things, ["GOOD"], policy="retry")
    connection.autocommit = False
    with pytest.raises(RuntimeError, match=message):
        call_outside(connection, things, ["GOOD"], policy="retry")
    assert things.called == []


@pytest.mark.parametrize("threads", [0, MOST_THREADS + 1])
def test_a_number_of_threads_out_of_range_is_rejected(threads: int, connection: Connection, things: Things) -> None:
    with pytest.raises(ValueError, match=f"{threads} threads is not between 1 and {MOST_THREADS}"):
        call_outside(connection, things, ["GOOD"], policy="retry", threads=threads)


def test_an_unknown_policy_is_rejected(connection: Connection, things: Things) -> None:
    policy: Any = "perhaps"
    with pytest.raises(ValueError, match="policy 'perhaps' is neither 'retry' nor 'hold'"):
        call_outside(connection, things, ["GOOD"], policy=policy)


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """The URL of a server, and the paths that were asked for; it has no letter `BROKEN`."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(500 if self.path == "/BROKEN" else 200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        thread = threading.Thread(target=serving.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}", paths
        serving.shutdown()
        thread.join()


def test_the_example_of_the_guide_sends_each_letter_once(
    connection: Connection, streams: Streams, settings: Settings, server: tuple[str, list[str]]
) -> None:
    section = GUIDE.read_text(encoding="utf-8").partition("## Calling the outside")[2]
    table, code = (re.search(rf"```{kind}\n(.*?)```", section, re.DOTALL) for kind in ("sql", "python"))
    assert table is not None
    assert code is not None
    connection.execute(table[1].encode())
    names: dict[str, Any] = {}
    exec(compile(code[1], str(GUIDE), "exec"), names)
    registry = Registry([names["SendLetters"]()])
    letters = ("A", "BROKEN", "C")
    for letter in letters:
        connection.execute("INSERT INTO letters (name) VALUES (%s)", (letter,))
    url, paths = server
    run = start_run(connection, streams, registry, "send_letters", *letters, parameters={"url": url})
    Consumer(settings, registry, streams, connection, "one").work_until_empty("letters")
    error = "HTTPError: HTTP Error 500: Internal Server Error"
    assert items_of(connection, run) == {
        "A": ("completed", 1, None),
        "BROKEN": ("failed", 1, error),
        "C": ("completed", 1, None),
    }
    assert sorted(paths) == ["/A", "/BROKEN", "/C"]
    rows = connection.execute("SELECT name, state, claim, answer FROM letters ORDER BY name").fetchall()
    assert rows == [("A", "sent", None, "ok"), ("BROKEN", "held", None, error), ("C", "sent", None, "ok")]
